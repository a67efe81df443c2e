"""What follows the training of a stage: the best checkpoint on the test split, figures, baselines, the profile."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from dlpipe.config.pipeline import table_name
from dlpipe.engine.baselines import Baselines, tell
from dlpipe.engine.build import StageComponents, TrainingComponents, build_for_training
from dlpipe.engine.flops import count_flops
from dlpipe.engine.measure import stepper
from dlpipe.engine.profiling import TRACE, StepProfiler
from dlpipe.engine.stage_context import StageContext
from dlpipe.errors import in_words
from dlpipe.evaluation.evaluate import evaluate, write_files
from dlpipe.evaluation.example_scores import write_predictions
from dlpipe.evaluation.examples import Examples
from dlpipe.messages import relative
from dlpipe.protocols import Evaluator, SupportsReport
from dlpipe.runs.checkpoint import load_weights, step_of
from dlpipe.runs.files import read_json
from dlpipe.runs.folder import BASELINES, ENDED, FIGURES, PREDICTIONS
from dlpipe.splits import DEV, TEST
from dlpipe.training.callbacks import Callbacks

#: The folder of a stage with its profile.
PROFILE = "profile"


def evaluate_stage(
    context: StageContext, components: TrainingComponents, ended: Mapping[str, Any], callbacks: Callbacks
) -> None:
    """Do what follows the training: the best checkpoint on the test split, once, with figures; then the baselines.

    A signal may end the process anywhere. The resumed run evaluates again unless that was complete, and compares with
    the baselines that are left.

    Args:
        ended: how the training ended; see `dlpipe.runs.files.Ended`.
    """
    examples, evaluators = context.examples(TEST, components), context.evaluators_on(TEST, components)
    tests = examples is not None and bool(evaluators)
    if not context.tested:
        context.record(ENDED, ended)
        if context.run.writes:
            (context.folder / BASELINES).unlink(missing_ok=True)
        _write_of_trainer(context, components)
    metrics: dict[str, float] = {}
    if examples is not None and tests:
        if context.tested:
            step, metrics = _last_metrics(context)
        else:
            step, metrics = _evaluate_on_test(context, components, examples, evaluators, ended["step"], callbacks)
        primary = {f"{TEST}/{name}/{each.primary}" for name, each in evaluators.items() if each.primary}
        context.progress.tested(step, metrics, primary, context.log.path)
    context.record(ENDED, {**ended, "tested": context.log.sync()})
    _compare(context, components, examples if tests else context.examples(DEV, components), metrics)


def _write_of_trainer(context: StageContext, components: TrainingComponents) -> None:
    """Let the trainer write what it has to show."""
    if isinstance(components.trainer, SupportsReport):
        context.phase("drawing the figures of the trainer")
        folder, table = context.shown / FIGURES / "trainer", context.stage.trainer.table
        write_files(components.trainer.write, folder, table, context.progress.warning)


def _evaluate_on_test(
    context: StageContext,
    components: StageComponents,
    examples: Examples,
    evaluators: Mapping[str, Evaluator],
    last_step: int,
    callbacks: Callbacks,
) -> tuple[int, dict[str, float]]:
    """Evaluate the best checkpoint on the test split, and write predictions, figures and tables.

    Returns:
        the step of the checkpoint, and the metrics.
    """
    best = context.ranks.from_leader(context.checkpoints.best)
    step = step_of(best) if best else last_step
    context.phase(f"testing the checkpoint of step {step}")
    if best is not None:
        load_weights(best, components.trained_model)
    metrics = evaluate(components.trained_model, evaluators, examples, stage=context.stage.name)
    context.log.append({"step": step, **metrics, "time": round(time.time(), 3)})
    callbacks.call("dlpipe_evaluated", step=step, split=TEST, metrics=metrics)
    context.phase("writing the predictions")
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
        context.phase(f"drawing the figures of {name}")
        table = table_name(context.stage.name, "evaluators", name)
        write_files(evaluator.write, context.shown / FIGURES / name, table, context.progress.warning)
    return step, metrics


def _last_metrics(context: StageContext) -> tuple[int, dict[str, float]]:
    """Return what an earlier process found on the test split; null is NaN."""
    record = context.log.records()[-1]
    found = {name: value for name, value in record.items() if name.startswith(f"{TEST}/")}
    return record["step"], {name: math.nan if value is None else value for name, value in found.items()}


def _compare(
    context: StageContext, components: StageComponents, examples: Examples | None, metrics: Mapping[str, float]
) -> None:
    """Evaluate the baselines of the evaluators and record what they reach, one by one; not in a fast run."""
    if examples is None or context.limit is not None or not context.run.writes:
        return
    file = context.folder / BASELINES
    baselines = Baselines(
        context.stage,
        components,
        examples,
        context.find_model,
        context.settings.seed,
        known=read_json(file) if file.is_file() else {},
        begins=lambda name: context.phase(f"comparing with the baseline {name}"),
        found=lambda found: context.run.record(file, lambda _: found),
    )
    if found := baselines.compare(metrics):
        tell(found, components, examples.split, metrics, context.progress)


def write_profile(context: StageContext, profiler: StepProfiler) -> None:
    """Write what was recorded; whatever fails is a warning, as the run itself has ended well."""
    context.phase("writing the profile")
    folder = context.shown / PROFILE
    try:
        context.progress.message(profiler.write(folder, lambda: _count_flops(context)))
        context.progress.message(f"{relative(folder / TRACE)} can be opened in https://ui.perfetto.dev")
    except Exception as error:
        context.progress.warning(f"the profile could not be written: {in_words(error)}")


def _count_flops(context: StageContext) -> int:
    """Return the floating-point operations of a step, taken by a trainer of its own."""
    with build_for_training(context.settings, context.stage, context.find_model, data=context.data) as components:
        take_step = stepper(context.stage, components.trainer)
        take_step()  # a trainer may prepare something in its first step
        return count_flops(take_step)
