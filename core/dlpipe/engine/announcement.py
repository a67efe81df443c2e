"""What is said before a stage is trained: its data, its model, and what may surprise."""

from __future__ import annotations

from collections.abc import Sequence

from dlpipe.data.split_report import split_report
from dlpipe.engine.build import TrainingComponents
from dlpipe.engine.judged_splits import notes_on_train
from dlpipe.engine.memory import memory_in_use
from dlpipe.engine.stage_context import StageContext, size_of
from dlpipe.errors import errors_in
from dlpipe.figures import missing_font
from dlpipe.protocols import Data, SupportsNotes
from dlpipe.runs.folder import PROVENANCE
from dlpipe.training.loop import Loop
from dlpipe.training.trainer_state import caveats_of


def announce(
    context: StageContext, components: TrainingComponents, loop: Loop, seconds: float, caveats: Sequence[str]
) -> None:
    """Say what is going to be trained and on what, and what the trainer has to say about it.

    Args:
        caveats: those that the rehearsal has found.
    """
    stage, progress = context.stage, context.progress
    data, trainer, model = components.data, components.trainer, components.trained_model
    count = f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters"
    if stage.model and stage.model.values.get("freeze"):
        count += f", {sum(each.numel() for each in model.parameters() if each.requires_grad):,} of them trained,"
    with errors_in(stage.data.table, data_table=stage.data.table):
        sizes = ", ".join(f"{split} {size_of(data.split(split)) or ''}".strip() for split in data.splits)
    heading = f"{stage.data.component.name}: {sizes};  {type(model).__name__}: {count} on {components.compute.device}"
    progress.message(heading, once=True, aside=f";  ready in {seconds:.1f} s")
    if components.start:
        progress.message(components.start, once=True)
    notes, warnings = split_report(data)
    for note in notes:
        progress.message(f"{stage.data.component.name}: {note}", once=True)
    for warning in warnings:
        progress.warning(f"{stage.data.table} {warning}")
    _check_splits(context, data)
    for note in notes_on_train(stage, components):
        progress.message(note)
    _check_fonts(context, data)
    for config, component in ((stage.model, components.model), (stage.trainer, trainer)):
        if config and isinstance(component, SupportsNotes):
            for note in component.notes:
                progress.message(f"{config.component.name}: {note}", once=True)
    if known := list(dict.fromkeys([*caveats_of(trainer), *caveats])):
        _record_caveats(context, known)
    memory = memory_in_use(components.compute.device)
    position = lambda: loop.state.step  # noqa: E731
    progress.start(position, loop.total_steps, stage=context.title, left=loop.seconds_left, memory=memory)


def _check_splits(context: StageContext, data: Data) -> None:
    """Warn of evaluators that are never called, since the data has none of their splits."""
    for config in context.stage.evaluators.values():
        splits = config.values["splits"]
        if not set(splits) & set(data.splits):
            context.progress.warning(
                f"{config.table} judges {' and '.join(splits)}, but the data has only {', '.join(data.splits)}: "
                "nothing says how good the model is on other examples; hold some out for dev and test"
            )


def _check_fonts(context: StageContext, data: Data) -> None:
    """Warn if figures cannot show the names of the classes."""
    labels = [str(label) for label in data.facts.get("labels", ())]
    draws = any("matplotlib" in config.component.spec.requires for config in context.stage.evaluators.values())
    if draws and (missing := missing_font(labels)):
        context.progress.warning(missing)  # in the words of a figure, as a text is shown once


def _record_caveats(context: StageContext, caveats: list[str]) -> None:
    """Warn of what may make a resumed run differ from an uninterrupted one, and record it."""
    table = context.stage.trainer.table
    for caveat in caveats:
        context.progress.warning(f"{table} a resumed run may differ: {caveat}")
    context.run.record(
        context.run.path / PROVENANCE,
        lambda recorded: recorded | {"caveats": recorded.get("caveats", {}) | {table: caveats}},
    )
