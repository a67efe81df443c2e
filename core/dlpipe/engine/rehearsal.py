"""Trying everything that a run will need, once and in small, before it begins.

A component that is wrong is usually wrong at once: a metric that is missing, a state that cannot be saved, a figure
that cannot be drawn. A rehearsal takes one step with components of its own, saves and restores them, and lets the
evaluators see one batch, so that such a mistake costs a second and not the night after which it would be noticed.
"""

from __future__ import annotations

import json
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, cast, get_args

import torch
from torch import Tensor
from torch.nn.modules.module import register_module_forward_pre_hook

from dlpipe.compute import Compute, randomness, restore_randomness, seed_everything
from dlpipe.config.pipeline import Stage, table_name
from dlpipe.config.settings import Settings
from dlpipe.engine.build import FindModel, TrainingComponents, build_data, build_for_training, build_for_use
from dlpipe.engine.judged_splits import try_on_train
from dlpipe.engine.restore import restore_trainer
from dlpipe.errors import CheckpointError, NonFiniteError, PluginError, errors_in, in_words
from dlpipe.evaluation.evaluate import evaluate
from dlpipe.evaluation.example_scores import disagreement
from dlpipe.evaluation.examples import Examples
from dlpipe.messages import shown
from dlpipe.protocols import (
    Data,
    Evaluator,
    Goal,
    SupportsClose,
    SupportsSamples,
    Trainer,
)
from dlpipe.report_items import ReportItem, record_items
from dlpipe.runs.checkpoint import Checkpoints, load_weights
from dlpipe.runs.plain_state import PLAIN, difference, unsavable
from dlpipe.splits import DEV, SPLITS, TEST, TRAIN
from dlpipe.training.nan_search import first_non_finite
from dlpipe.training.trainer_state import caveats_of, metric_weights_of, own_total_steps, state_blocks_of

ENDED: Any = object()
#: Seconds of a step; another two are rehearsed only if it took no longer.
FAST = 0.3
#: A longer list of a trainer is not searched for optimizers: it may be a replay buffer.
MAX_OPTIMIZERS = 20
#: On which of its splits an evaluator is tried.
JUDGED_FIRST = (DEV, TEST, TRAIN)


@dataclass(frozen=True)
class Rehearsal:
    """What a rehearsal has found.

    Args:
        components: that were built, and are closed.
        metrics: of the first step.
        caveats: of a trainer that was restored, which may know more of them than one that was not.
    """

    components: TrainingComponents
    metrics: Mapping[str, Tensor]
    caveats: Sequence[str]


def rehearse(settings: Settings, stage: Stage, find_model: FindModel, data: Data) -> Rehearsal:
    """Take one step, save and restore it, and evaluate on one batch.

    The model is not compiled, which would take longer than the rest.

    Args:
        data: the data of the stage, which is not closed.

    Raises:
        DlpipeError: something would fail in the run; the message names the table and what was expected.
    """
    settings = replace(settings, compile=False)
    with (
        build_for_training(settings, stage, find_model, starts=True, data=data) as components,
        tempfile.TemporaryDirectory(prefix="dlpipe-") as folder,
    ):
        _check_data(settings, stage, find_model, components.data)
        seed_everything(settings.seed)
        steps, metrics, seconds = _first_step(settings, stage, components)
        _check_finite(settings, stage, find_model, components, metrics)
        # Elsewhere than on the CPU, a step taken twice need not give the same bits.
        repeatable = components.compute.device.type == "cpu" or settings.deterministic
        # One process may be fast and another one slow: both take the next steps, or none does.
        fast = components.compute.ranks.from_leader(lambda: seconds < FAST)
        following = steps if fast and repeatable else None
        caveats = _check_restoring(settings, stage, find_model, components, Path(folder), following)
    return Rehearsal(components, metrics, caveats)


def _check_data(settings: Settings, stage: Stage, find_model: FindModel, data: Data) -> None:
    """See that the splits have names that are used, and that what was learned can be saved and restored."""
    table = stage.data.table
    if unknown := [name for name in data.splits if name not in SPLITS and not _named(stage, name)]:
        _refuse(table, f"has the split {shown(unknown[0])}; expected {', '.join(SPLITS)}")
    with errors_in(table):
        state = data.state()
    if not isinstance(state, dict):
        _refuse(table, f"state() returns {type(state).__name__}; expected a dict, empty if nothing was learned")
    try:
        read = json.loads(json.dumps(state, allow_nan=False))
    except (TypeError, ValueError) as error:
        _refuse(table, f"state() cannot be written as JSON ({error}); expected numbers, strings, lists and dicts")
    if different := difference(state, read):
        _refuse(
            table,
            f"state(){different} is not the same after it was written as JSON and read; expected numbers, strings, "
            "lists and dicts whose keys are strings",
        )
    if not state:
        return
    fresh = build_data(settings, stage, find_model)
    with errors_in(table):
        fresh.restore(read)
        restored = fresh.state()
    if isinstance(fresh, SupportsClose):
        fresh.close()
    if different := difference(read, restored):
        _refuse(table, f"state(){different} is not the same after restore() of fresh data, which predictions would use")


def _first_step(
    settings: Settings, stage: Stage, components: TrainingComponents
) -> tuple[Iterator[Mapping[str, Tensor]], Mapping[str, Tensor], float]:
    """Take a step, and see that every parameter that gets a gradient is known to an optimizer.

    Returns:
        the steps to come, the metrics of the first one, and how many seconds it took.
    """
    trainer, table = components.trainer, stage.trainer.table
    for name, count in {"steps_per_epoch": trainer.steps_per_epoch, "total_steps": own_total_steps(trainer)}.items():
        if count is not None and (not isinstance(count, int) or count < 1):
            _refuse(table, f"{name} is {count!r}; expected a whole number above 0, or None")
    before = {name for name, _ in trainer.model.named_parameters()}
    weights = _weights(trainer)
    started = time.monotonic()
    with errors_in(table, data_table=stage.data.table):
        steps = trainer.steps()
        if not isinstance(steps, Iterator):
            _refuse(table, f"steps() returns {type(steps).__name__}; expected an iterator, such as a generator")
        with _autocast_seen(components.compute) as seen:
            metrics = next(steps, ENDED)
    if metrics is ENDED:
        _refuse(table, "steps() ended before the first step; expected an endless iterator")
    seconds = time.monotonic() - started
    _check_metrics(table, trainer, metrics)
    if seen == {False}:
        warnings.warn(
            f"{table} precision = {shown(settings.precision)} has no effect on training: steps() does not call the "
            "model under compute.autocast()",
            stacklevel=2,
        )
    if late := [name for name, _ in trainer.model.named_parameters() if name not in before]:
        _refuse(
            table_name(stage.name, "model"),
            f"the parameter {shown(late[0])} appeared in the first step, when the trainer had chosen what to train; "
            "expected all parameters from the start",
        )
    _check_optimizers(table, trainer, weights)
    return steps, metrics, seconds


@contextmanager
def _autocast_seen(compute: Compute) -> Iterator[set[bool]]:
    """Collect whether modules are called under autocast, if the precision is not float32."""
    seen: set[bool] = set()
    if compute.dtype is torch.float32:
        yield seen
        return
    hook = register_module_forward_pre_hook(lambda *_: seen.add(torch.is_autocast_enabled(compute.device.type)))
    try:
        yield seen
    finally:
        hook.remove()


def _check_metrics(table: str, trainer: Trainer, metrics: Any) -> None:
    """See that a step gives tensors with one number by name, without their graph, and the trainer numbers to log."""
    if not isinstance(metrics, Mapping):
        _refuse(table, f"steps() gives {type(metrics).__name__}; expected a dict of tensors by the name of the metric")
    for name, value in metrics.items():
        if not isinstance(name, str):
            _refuse(table, f"steps() gives a metric named {name!r}; expected a string")
        if not isinstance(value, Tensor) or value.numel() != 1:
            found = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            _refuse(table, f"steps() gives {shown(name)} as {found}; expected a tensor with one number")
        if value.requires_grad:
            _refuse(table, f"steps() gives {shown(name)} with its graph, which would use up the memory; detach() it")
    _check_weights(table, trainer, metrics)
    with errors_in(table):
        logged = trainer.log_values()
    if not isinstance(logged, Mapping):
        _refuse(table, f"log_values() returns {type(logged).__name__}; expected a dict of numbers by name")
    for name, number in logged.items():
        if not isinstance(number, (int, float)):
            _refuse(table, f"log_values() gives {shown(name)} as {type(number).__name__}; expected a number")
        if name in metrics:
            _refuse(table, f"log_values() gives {shown(name)}, which steps() gives, too; rename one of them")


def _check_weights(table: str, trainer: Trainer, metrics: Mapping[str, Tensor]) -> None:
    """See that the names in ``metric_weights`` are those of metrics, as far as one step tells: none may be due yet."""
    with errors_in(table):
        weights = metric_weights_of(trainer)
    if not isinstance(weights, Mapping) or not all(isinstance(name, str) for pair in weights.items() for name in pair):
        _refuse(
            table, f"metric_weights is {weights!r}; expected a dict from names of metrics to those of their weights"
        )
    for name, weight in weights.items():
        if (name in metrics) != (weight in metrics):
            given, missing = (name, weight) if name in metrics else (weight, name)
            _refuse(
                table,
                f"metric_weights has {shown(name)} weighted by {shown(weight)}, but steps() gives {shown(given)} "
                f"without {shown(missing)}; it gives {', '.join(metrics)}. Expected both, or neither",
            )


def _check_optimizers(table: str, trainer: Trainer, weights: Mapping[str, Tensor]) -> None:
    """See that what gets a gradient is updated."""
    optimized = _optimized([*vars(trainer).values()]) if hasattr(trainer, "__dict__") else set()
    with_gradient = {
        name: parameter
        for name, parameter in trainer.model.named_parameters()
        if parameter.requires_grad and parameter.grad is not None
    }
    for name, parameter in with_gradient.items() if optimized else ():
        if id(parameter) not in optimized:
            _refuse(
                table,
                f"the parameter {shown(name)} of the model gets a gradient, but no optimizer of the trainer has it; "
                "pass it to one, or set requires_grad_(False)",
            )
    moving = any(parameter.grad is not None and parameter.grad.any() for parameter in with_gradient.values())
    if moving and not difference(weights, _weights(trainer)):
        warnings.warn(
            f"{table} the parameters have gradients, but the first step changed none of them: does steps() call "
            "optimizer.step()?",
            stacklevel=2,
        )


def _optimized(values: Iterable[Any]) -> set[int]:
    """Return the ids of the parameters of all optimizers among the attributes of a trainer, or in lists of them."""
    found: set[int] = set()
    for value in values:
        if isinstance(value, torch.optim.Optimizer):
            found |= {id(parameter) for group in value.param_groups for parameter in group["params"]}
        elif isinstance(value, (list, tuple, dict)) and len(value) <= MAX_OPTIMIZERS:
            found |= _optimized(value.values() if isinstance(value, dict) else value)
    return found


def _check_finite(
    settings: Settings,
    stage: Stage,
    find_model: FindModel,
    components: TrainingComponents,
    metrics: Mapping[str, Tensor],
) -> None:
    """Say where the first NaN comes from, if the first step gives one."""
    broken = [name for name, value in metrics.items() if not bool(value.isfinite().all())]
    if not broken:
        return
    with build_for_training(settings, stage, find_model, starts=True, data=components.data) as again:
        seed_everything(settings.seed)
        where = first_non_finite(again.trainer, again.live_model, 0, 1)
    raise NonFiniteError(f"{stage.trainer.table} {shown(broken[0])} is {float(metrics[broken[0]])} in step 1. {where}")


def _check_restoring(
    settings: Settings,
    stage: Stage,
    find_model: FindModel,
    components: TrainingComponents,
    folder: Path,
    steps: Iterator[Mapping[str, Tensor]] | None,
) -> list[str]:
    """Save a checkpoint, restore it into a fresh build, compare, and evaluate what was restored.

    The state of a trainer with caveats is not compared: it says itself, perhaps only when it is restored, that a
    resumed run may differ.

    Args:
        steps: if given, their next one is compared, too.

    Returns:
        the caveats of the restored trainer.
    """
    trainer, table = components.trainer, stage.trainer.table
    with errors_in(table):
        state = trainer.state_dict()
        blocks = state_blocks_of(trainer)
        content = _content(trainer)
    if not isinstance(state, dict):
        _refuse(table, f"state_dict() returns {type(state).__name__}; expected a dict")
    if found := unsavable(state):
        _refuse(table, f"state_dict(){found}; expected {PLAIN}")
    saved = Checkpoints(folder / "checkpoints").save(
        1, trainer.model, {"loop": {}, "trainer": state}, best=True, blocks=blocks
    )
    random_numbers = randomness()
    _check_use(settings, stage, find_model, components.data, saved)
    with build_for_training(settings, stage, find_model, data=components.data) as fresh:
        with errors_in(table):
            _restore(fresh.trainer, saved)
            restored = fresh.trainer.state_dict()
            restored_blocks = _content(fresh.trainer)
            caveats = caveats_of(fresh.trainer)
            repeatable = not (caveats or caveats_of(trainer))
        if repeatable and (different := difference(state, restored)):
            _refuse(table, f"state_dict(){different} is not the same after load_state_dict() of a fresh trainer")
        if repeatable and (different := difference(content, restored_blocks)):
            _refuse(table, f"state_blocks(){different} is not the same after load_state_blocks() of a fresh trainer")
        if different := difference(trainer.model.state_dict(), fresh.trainer.model.state_dict()):
            _refuse(
                table_name(stage.name, "model"),
                f"state_dict(){different} is not the same after it was saved and loaded; expected independent tensors",
            )
        with errors_in(stage.data.table, data_table=stage.data.table):
            for split in components.data.splits:  # here, as data may say once only what is odd in a split
                if _named(stage, split):
                    components.data.split(split)
        with warnings.catch_warnings(action="ignore"):  # they are about a model of one step and scores of one batch
            scores = _check_evaluators(stage, components, fresh.trainer, folder)
        fresh.trainer.model.train(trainer.model.training)
        if steps is not None and repeatable:
            with errors_in(table, data_table=stage.data.table):
                _compare_next_steps(table, random_numbers, (trainer, steps), (fresh.trainer, fresh.trainer.steps()))
        with errors_in(table):
            for score, goal in scores:
                fresh.trainer.on_score(score, goal)
    return caveats


def _check_use(settings: Settings, stage: Stage, find_model: FindModel, data: Data, checkpoint: Path) -> None:
    """See that the weights of the trainer's model fit the model that is built without the trainer, to be used."""
    if stage.model is None:
        return
    with build_for_use(settings, stage, find_model, data=data) as built:
        try:
            load_weights(checkpoint, built.trained_model)
        except CheckpointError as error:
            _refuse(
                stage.trainer.table,
                f"the weights of its `model` do not fit {stage.model.table}, which gets them when the run is used: "
                f"{in_words(error.__cause__ or error)}. Expected weights of the same names and shapes: the model "
                "itself, or a copy of it",
            )


def _restore(trainer: Trainer, checkpoint: Path) -> None:
    """Restore a trainer; the checkpoint is right, so what the trainer raises is a mistake of its own."""
    try:
        restore_trainer(trainer, checkpoint)
    except CheckpointError as error:
        raise (error.__cause__ or error) from None


def _compare_next_steps(
    table: str, random_numbers: Mapping[str, Any], *both: tuple[Trainer, Iterator[Mapping[str, Tensor]]]
) -> None:
    """Warn if a restored trainer takes another step than the one that was saved."""
    taken = []
    for trainer, steps in both:
        restore_randomness(random_numbers)
        metrics = next(steps, ENDED)
        if metrics is ENDED:
            _refuse(table, "steps() ended after the first step; expected an endless iterator")
        taken.append({"metric": dict(metrics), "weight": _weights(trainer)})
    if different := difference(taken[0], taken[1]):
        warnings.warn(
            f"{table} a resumed run would differ: after a checkpoint, a restored trainer takes another step than the "
            f"one that was saved ({different}). state_dict() must return everything that the next step depends on, "
            "such as the optimizer and the position in the data; if that is impossible, say why in `caveats`",
            stacklevel=2,
        )


def _content(trainer: Trainer) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of a trainer's state blocks."""
    return {name: dict(block.tensors) for name, block in state_blocks_of(trainer).items()}


def _weights(trainer: Trainer) -> dict[str, Tensor]:
    """Return copies of the weights of the trainer's model."""
    return {name: tensor.detach().clone() for name, tensor in trainer.model.state_dict().items()}


def _check_evaluators(
    stage: Stage, components: TrainingComponents, trainer: Trainer, folder: Path
) -> list[tuple[float, Goal]]:
    """Evaluate on one batch of each split that an evaluator is for, let it write, and return the primary metrics."""
    scores: list[tuple[float, Goal]] = []
    try_on_train(stage, components, trainer.model)
    for name, evaluator in components.evaluators.items():
        table = table_name(stage.name, "evaluators", name)
        splits = stage.evaluators[name].values["splits"]
        if not isinstance(evaluator.primary, (str, type(None))):
            _refuse(table, f"primary is {evaluator.primary!r}; expected the name of a metric, or None")
        if evaluator.primary is not None and evaluator.goal not in get_args(Goal):
            _refuse(table, f'goal is {shown(evaluator.goal)}; expected "max" or "min"')
        judged = [split for split in JUDGED_FIRST if split in splits and split in components.data.splits]
        for split in judged[:1]:
            examples = Examples(components.data, split, components.compute, limit=1)
            weights = _weights(trainer)
            metrics = evaluate(trainer.model, {name: evaluator}, examples, stage=stage.name)
            if different := difference(weights, _weights(trainer)):
                _refuse(table, f"evaluate() changes the weights of the model: {different}; change a copy of it")
            primary = f"{split}/{name}/{evaluator.primary}"
            if evaluator.primary is not None and primary not in metrics:
                found = ", ".join(metric.split("/", 2)[2] for metric in metrics) or "nothing"
                _refuse(table, f"primary is {shown(evaluator.primary)}, but evaluate() returns {found}")
            if evaluator.primary is not None:
                scores.append((metrics[primary], cast(Goal, evaluator.goal)))
                with errors_in(table):
                    different = disagreement(evaluator, metrics[primary])
                if different:
                    _refuse(table, f"example_scores() does not fit the metric: {different}")
            _check_files(table, evaluator, folder / name)
    return scores


def _check_files(table: str, evaluator: Evaluator, folder: Path) -> None:
    folder.mkdir()
    with errors_in(table):
        if isinstance(evaluator, SupportsSamples):
            _check_items(table, "sample", folder, evaluator.sample(folder, 1))
        _check_items(table, "write", folder, evaluator.write(folder))


def _check_items(table: str, method: str, folder: Path, items: Sequence[ReportItem] | None) -> None:
    try:
        record_items(folder, items or ())
    except PluginError as error:
        _refuse(table, f"{method}(): {error}")


def _named(stage: Stage, split: str) -> bool:
    return any(split in (config.values["splits"] or ()) for config in stage.evaluators.values())


def _refuse(table: str, problem: str) -> NoReturn:
    raise PluginError(f"{table} {problem}")
