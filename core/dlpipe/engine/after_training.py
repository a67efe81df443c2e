"""What follows the training of a stage: the best checkpoint on the test split, figures, baselines, the profile."""

from __future__ import annotations

import time
from collections.abc import Mapping

from dlpipe.config.pipeline import table_name
from dlpipe.engine.baselines import Baselines, tell
from dlpipe.engine.build import StageComponents
from dlpipe.engine.flops import count_flops
from dlpipe.engine.measure import stepper
from dlpipe.engine.profiling import TRACE, StepProfiler
from dlpipe.engine.stage_context import StageContext
from dlpipe.errors import in_words
from dlpipe.evaluation.evaluate import evaluate, write_files
from dlpipe.evaluation.example_scores import write_predictions
from dlpipe.evaluation.examples import Examples
from dlpipe.messages import relative
from dlpipe.protocols import SupportsReport
from dlpipe.report.run_view import FIGURES
from dlpipe.runs.checkpoint import load_weights, step_of
from dlpipe.runs.folder import BASELINES, PREDICTIONS
from dlpipe.training.callbacks import Callbacks
from dlpipe.training.monitor import DEV

TEST = "test"
#: The folder of a stage with its profile.
PROFILE = "profile"


def write_of_trainer(context: StageContext, components: StageComponents) -> None:
    """Let the trainer write what it has to show."""
    if isinstance(components.trainer, SupportsReport):
        folder, table = context.shown / FIGURES / "trainer", context.stage.trainer.table
        write_files(components.trainer.write, folder, table, context.progress.warning)


def evaluate_on_test(context: StageContext, components: StageComponents, last_step: int, callbacks: Callbacks) -> None:
    """Evaluate the best checkpoint on the test split, once, and write predictions, figures and tables."""
    evaluators, examples = context.evaluators_on(TEST, components), context.examples(TEST, components)
    if examples is None or not evaluators:
        _compare(context, components, context.examples(DEV, components), {})
        return
    best = context.ranks.from_leader(context.checkpoints.best)
    if best is not None:
        load_weights(best, components.trained_model)
    metrics = evaluate(components.trained_model, evaluators, examples, stage=context.stage.name)
    step = step_of(best) if best else last_step
    context.log.append({"step": step, **metrics, "time": round(time.time(), 3)})
    callbacks.call("dlpipe_evaluated", step=step, split=TEST, metrics=metrics)
    write_predictions(
        context.shown / PREDICTIONS,
        evaluators,
        components.data,
        TEST,
        stage=context.stage.name,
        notice=context.progress.message,
        warn=context.progress.warning,
    )
    for name, evaluator in evaluators.items():
        table = table_name(context.stage.name, "evaluators", name)
        write_files(evaluator.write, context.shown / FIGURES / name, table, context.progress.warning)
    primary = {f"{TEST}/{name}/{each.primary}" for name, each in evaluators.items() if each.primary}
    context.progress.tested(step, metrics, primary, context.log.path)
    _compare(context, components, examples, metrics)


def _compare(
    context: StageContext, components: StageComponents, examples: Examples | None, metrics: Mapping[str, float]
) -> None:
    """Evaluate the baselines of the evaluators and record what they reach; not in a fast run."""
    if examples is None or context.limit is not None or not context.run.writes:
        return
    baselines = Baselines(context.stage, components, examples, context.find_model, context.settings.seed)
    if found := baselines.found(metrics):
        context.run.record(context.folder / BASELINES, lambda _: found)
        tell(found, components, examples.split, metrics, context.progress)


def write_profile(context: StageContext, profiler: StepProfiler) -> None:
    """Write what was recorded; whatever fails is a warning, as the run itself has ended well."""
    folder = context.shown / PROFILE
    try:
        context.progress.message(profiler.write(folder, lambda: _count_flops(context)))
        context.progress.message(f"{relative(folder / TRACE)} can be opened in https://ui.perfetto.dev")
    except Exception as error:
        context.progress.warning(f"the profile could not be written: {in_words(error)}")


def _count_flops(context: StageContext) -> int:
    """Return the floating-point operations of a step, taken by a trainer of its own."""
    components = StageComponents(context.settings, context.stage, context.find_model, data=context.data)
    try:
        assert components.trainer is not None
        take_step = stepper(context.stage, components.trainer)
        take_step()  # a trainer may prepare something in its first step
        return count_flops(take_step)
    finally:
        components.close(keep_data=True)
