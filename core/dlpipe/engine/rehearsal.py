"""Trying everything that a run will need, once and in small, before it begins.

A component that is wrong is usually wrong at once: a metric that is missing, a state that cannot be saved, a figure
that cannot be drawn. A rehearsal takes one step with components of its own, saves and restores them, and lets the
evaluators see one batch, so that such a mistake costs a second and not the night after which it would be noticed.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, get_args

import torch
from torch import Tensor, nn

from dlpipe.compute import seed_everything
from dlpipe.config.pipeline import Stage, table_name
from dlpipe.config.settings import Settings
from dlpipe.engine.build import FindModel, StageComponents
from dlpipe.engine.restore import restore_trainer
from dlpipe.errors import PluginError, errors_in
from dlpipe.evaluation.evaluate import evaluate
from dlpipe.evaluation.examples import Examples
from dlpipe.messages import shown
from dlpipe.protocols import Data, Evaluator, Goal, SupportsSamples, SupportsStateBlocks, Trainer
from dlpipe.runs.checkpoint import Checkpoints

#: Splits that the core knows; others are allowed only if an evaluator names them.
SPLITS = ("train", "dev", "test")


def rehearse(
    settings: Settings, stage: Stage, find_model: FindModel, data: Data | None = None
) -> tuple[StageComponents, Mapping[str, Tensor]]:
    """Take one step, save and restore it, and evaluate on one batch; return the components and the step's metrics.

    Args:
        data: the data of the stage, if it has been built already.

    Raises:
        DlpipeError: something would fail in the run; the message names the table and what was expected.
    """
    components = StageComponents(settings, stage, find_model, data=data)
    try:
        with tempfile.TemporaryDirectory(prefix="dlpipe-") as folder:
            _check_data(stage, components.data)
            seed_everything(settings.seed)
            metrics = _first_step(stage, components)
            _check_restoring(settings, stage, find_model, components, Path(folder))
            _check_evaluators(stage, components, Path(folder))
    finally:
        components.close(keep_data=data is not None)
    return components, metrics


def _check_data(stage: Stage, data: Data) -> None:
    table = stage.data.table
    if unknown := [name for name in data.splits if name not in SPLITS and not _named(stage, name)]:
        _refuse(table, f"has the split {shown(unknown[0])}; expected {', '.join(SPLITS)}")
    with errors_in(table):
        state = data.state()
    try:
        read = json.loads(json.dumps(state))
    except (TypeError, ValueError) as error:
        _refuse(table, f"state() cannot be written as JSON ({error}); expected numbers, texts, lists and dicts")
    if different := _difference(state, read):
        _refuse(
            table,
            f"state(){different} is not the same after it was written as JSON and read; expected numbers, texts, lists "
            "and dicts whose keys are texts",
        )


def _first_step(stage: Stage, components: StageComponents) -> Mapping[str, Tensor]:
    """Take a step, and see that every parameter that gets a gradient is known to an optimizer."""
    trainer, table = components.trainer, stage.trainer.table
    assert trainer is not None
    before = {name for name, _ in trainer.model.named_parameters()}
    with errors_in(table, data_table=stage.data.table):
        metrics = next(iter(trainer.steps()), None)
    if metrics is None:
        _refuse(table, "steps() ended before the first step; expected an endless iterator")
    for name, value in metrics.items():
        if not isinstance(value, Tensor) or value.numel() != 1:
            found = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            _refuse(table, f"steps() gives {shown(name)} as {found}; expected a tensor with one number")
    if late := [name for name, _ in trainer.model.named_parameters() if name not in before]:
        _refuse(
            table_name(stage.name, "model"),
            f"the parameter {shown(late[0])} appeared in the first step, when the trainer had chosen what to train; "
            "expected all parameters from the start",
        )
    optimized = _optimized(trainer)
    for name, parameter in trainer.model.named_parameters() if optimized else ():
        if parameter.requires_grad and parameter.grad is not None and id(parameter) not in optimized:
            _refuse(
                table,
                f"the parameter {shown(name)} of the model gets a gradient, but no optimizer of the trainer has it; "
                "pass it to one, or set requires_grad_(False)",
            )
    return metrics


def _optimized(trainer: Trainer) -> set[int]:
    """Return the ids of the parameters of all optimizers that are attributes of the trainer."""
    optimizers = [value for value in vars(trainer).values() if isinstance(value, torch.optim.Optimizer)]
    return {id(parameter) for each in optimizers for group in each.param_groups for parameter in group["params"]}


def _check_restoring(
    settings: Settings, stage: Stage, find_model: FindModel, components: StageComponents, folder: Path
) -> None:
    """Save a checkpoint, restore it into a fresh build, and compare."""
    trainer, table = components.trainer, stage.trainer.table
    assert trainer is not None
    with errors_in(table):
        state = trainer.state_dict()
        blocks = trainer.state_blocks() if isinstance(trainer, SupportsStateBlocks) else {}
    if found := _unsavable(state):
        _refuse(table, f"state_dict(){found}; expected tensors, numbers, texts, lists and dicts, which no code is in")
    saved = Checkpoints(folder / "checkpoints").save(
        1, trainer.model, {"loop": {}, "trainer": state}, best=True, blocks=blocks
    )
    fresh = StageComponents(settings, stage, find_model, data=components.data)
    try:
        assert fresh.trainer is not None
        with errors_in(table):
            restore_trainer(fresh.trainer, saved)
            restored = fresh.trainer.state_dict()
        if different := _difference(state, restored):
            _refuse(table, f"state_dict(){different} is not the same after load_state_dict() of a fresh trainer")
        if different := _difference(_weights(trainer.model), _weights(fresh.trainer.model)):
            _refuse(
                table_name(stage.name, "model"),
                f"state_dict(){different} is not the same after it was saved and loaded; expected independent tensors",
            )
    finally:
        fresh.close(keep_data=True)


def _unsavable(state: Any, place: str = "") -> str:
    """Return which part of a state is neither a tensor nor plain data, in words; an empty string if none is."""
    if isinstance(state, Mapping):
        return next(filter(None, (_unsavable(part, f"{place}[{key!r}]") for key, part in state.items())), "")
    if isinstance(state, (list, tuple)):
        return next(filter(None, (_unsavable(part, f"{place}[{n}]") for n, part in enumerate(state))), "")
    plain = state is None or isinstance(state, (Tensor, int, float, str))
    return "" if plain else f"{place} is of type {type(state).__name__}"


def _weights(model: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}


def _check_evaluators(stage: Stage, components: StageComponents, folder: Path) -> None:
    """Evaluate on one batch of each split that an evaluator is for, and let it write."""
    for name, evaluator in components.evaluators.items():
        table = table_name(stage.name, "evaluators", name)
        splits = stage.evaluators[name].values["splits"]
        if evaluator.primary is not None and evaluator.goal not in get_args(Goal):
            _refuse(table, f'goal is {shown(evaluator.goal)}; expected "max" or "min"')
        for split in [split for split in ("dev", "test") if split in splits and split in components.data.splits][:1]:
            examples = Examples(components.data, split, components.compute, limit=1)
            metrics = evaluate(components.trained_model, {name: evaluator}, examples, stage=stage.name)
            if evaluator.primary is not None and f"{split}/{name}/{evaluator.primary}" not in metrics:
                found = ", ".join(metric.split("/", 2)[2] for metric in metrics) or "nothing"
                _refuse(table, f"primary is {shown(evaluator.primary)}, but evaluate() returns {found}")
            _check_files(table, evaluator, folder / name)


def _check_files(table: str, evaluator: Evaluator, folder: Path) -> None:
    folder.mkdir()
    with errors_in(table):
        if isinstance(evaluator, SupportsSamples):
            evaluator.sample(folder, 1)
        evaluator.write(folder)


def _named(stage: Stage, split: str) -> bool:
    return any(split in (config.values["splits"] or ()) for config in stage.evaluators.values())


def _difference(one: Any, other: Any, place: str = "") -> str:
    """Return where two states differ, such as ``["optimizer"]["step"]``, or an empty string."""
    if isinstance(one, Tensor):
        same = isinstance(other, Tensor) and one.shape == other.shape and one.dtype == other.dtype
        return "" if same and _equal(one.cpu(), other.cpu()) else place or " "
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if one.keys() != other.keys():
            return f"{place}[{next(iter([*(one.keys() - other.keys()), *(other.keys() - one.keys())]))!r}]"
        found = (_difference(one[key], other[key], f"{place}[{key!r}]") for key in one)
        return next(filter(None, found), "")
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        if len(one) != len(other):
            return place or " "
        found = (_difference(a, b, f"{place}[{n}]") for n, (a, b) in enumerate(zip(one, other, strict=True)))
        return next(filter(None, found), "")
    return "" if one == other or (one != one and other != other) else place or " "


def _equal(one: Tensor, other: Tensor) -> bool:
    return bool(((one == other) | ((one != one) & (other != other))).all())  # a NaN equals a NaN


def _refuse(table: str, problem: str) -> NoReturn:
    raise PluginError(f"{table} {problem}")
