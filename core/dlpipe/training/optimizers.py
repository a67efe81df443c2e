"""Optimizers and schedules by name, of torch and of plugins, built from the tables of a pipeline file."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from torch import nn
from torch.optim import LBFGS, Optimizer

from dlpipe.config.tables import target_of
from dlpipe.errors import InputError
from dlpipe.messages import shown
from dlpipe.registry.targets import load_target
from dlpipe.training.eager_optimizers import eager

#: Optimizers of torch with fused kernels for CUDA.
FUSED = {"adam", "adamw", "sgd"}
#: Options of torch's optimizers that choose an implementation, or rule some out.
IMPLEMENTATIONS = {"fused", "foreach", "differentiable"}
#: The entry of each parameter group with the values that it was built with: schedules and some optimizers change them.
BUILT_WITH = "built_with"


def build_optimizer(
    parameters: Iterable[nn.Parameter | dict[str, Any]], table: Mapping[str, Any], *, closure: bool = False
) -> Optimizer:
    """Build the optimizer that a table such as ``{"use": "adam", "lr": 1e-3}`` selects.

    On a CUDA GPU, the kernels are fused unless the table says otherwise. On a CPU they are neither fused, which gives
    other last bits, nor grouped (``foreach``), as torch would decide again in each step.

    Args:
        parameters: of which those are optimized that require a gradient; or groups of such, each a table with "params".
        closure: the trainer passes ``step`` a function that computes the loss again, which lbfgs needs.

    Raises:
        InputError: there are no parameters, all are frozen, torch refuses a value, or lbfgs gets no closure.
    """
    listed = [each for each in parameters if isinstance(each, dict) or each.requires_grad]
    members = [each for group in listed for each in (group["params"] if isinstance(group, dict) else [group])]
    if not members:
        raise InputError(
            "there is no parameter to optimize; choose a model with parameters of which not all are frozen, or "
            "core.no_training"
        )
    optimizer = build_by_name("optimizer", table, listed, **_implementation(table, members))
    if not isinstance(optimizer, Optimizer) or "lr" not in optimizer.param_groups[0]:
        raise InputError(f"optimizer {table['use']} is no torch.optim.Optimizer with a learning rate lr in its groups")
    if isinstance(optimizer, LBFGS) and not closure:
        raise InputError(
            f"optimizer {table['use']} computes the loss several times per step, which this trainer does not support; "
            "choose another optimizer"
        )
    for group in optimizer.param_groups:
        group[BUILT_WITH] = {name: value for name, value in group.items() if name != "params"}
    return optimizer


def load_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Load what ``state_dict()`` of an optimizer of the same kind returned, but keep the values that the file changed.

    ``optimizer.load_state_dict`` alone would bring back every hyperparameter of the checkpoint. What has the value that
    the checkpoint's optimizer was built with comes from the checkpoint, since a schedule may have moved it since.

    Args:
        optimizer: from `build_optimizer`, before its first step.
    """
    built = [group[BUILT_WITH] for group in optimizer.param_groups]
    groups = [_merged(saved, now) for saved, now in zip(state["param_groups"], built, strict=True)]
    # With the groups as they will be: by their implementation, torch decides on which device it counts the steps.
    optimizer.load_state_dict({**state, "param_groups": groups})


def _merged(saved: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return a parameter group of a checkpoint with the values that the file changed since."""
    # Without the entry, an earlier version of dlpipe wrote the checkpoint; such a run cannot be changed.
    then = saved.get(BUILT_WITH, now)
    changed = {name: value for name, value in now.items() if name not in then or then[name] != value}
    return {**saved, **changed, BUILT_WITH: now}


def _implementation(table: Mapping[str, Any], parameters: Iterable[nn.Parameter]) -> dict[str, bool]:
    """Return the option that chooses one of torch's implementations of an optimizer, unless the table does."""
    target = load_target(target_of("optimizer", table))
    if not _is_of_torch(target) or IMPLEMENTATIONS & table.keys():
        return {}
    if "foreach" in inspect.signature(target).parameters and all(parameter.is_cpu for parameter in parameters):
        return {"foreach": False}
    on_cuda = all(parameter.is_cuda and parameter.is_floating_point() for parameter in parameters)
    return {"fused": True} if on_cuda and table["use"] in FUSED else {}


def _is_of_torch(target: object) -> bool:
    return isinstance(target, type) and f"{target.__module__}.".startswith("torch.optim.")


def build_by_name(
    kind: Literal["optimizer", "schedule"], table: Mapping[str, Any], first: Any, **filled_in: Any
) -> Any:
    """Build the optimizer or schedule that a table selects.

    Args:
        first: its first argument: the parameters, or the optimizer.
        filled_in: arguments that the table does not give.

    Raises:
        InputError: torch refuses a value.
    """
    options = {key: value for key, value in table.items() if key != "use"}
    target = load_target(target_of(kind, table))
    if kind == "optimizer" and _is_of_torch(target):
        target = eager(target)
    with refusals_of(kind, table):
        return target(first, **{**options, **filled_in})


@contextmanager
def refusals_of(kind: Literal["optimizer", "schedule"], table: Mapping[str, Any]) -> Iterator[None]:
    """Raise an `InputError` that names the optimizer or schedule for what torch raises about its values."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{kind} {table['use']}: {error}") from error
    except ArithmeticError as error:  # of the formula, which does not know that it is the user's values that are odd
        values = ", ".join(f"{key} = {shown(value)}" for key, value in table.items() if key != "use")
        raise InputError(f"{kind} {table['use']} with {values}: {error}; choose other values") from error
