"""Learning rates of parts of a model, as factors on that of the rest: the option ``rates`` of ``core.supervised``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from dlpipe.errors import InputError
from dlpipe.training.named_parts import in_part, require_part

#: The entry of a parameter group with its factor; only groups of a part have one.
FACTOR = "lr_factor"


def parameter_groups(model: nn.Module, rates: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return the trained parameters of a model in groups: those of no part first, then those of each part.

    Args:
        rates: factors above 0 by the name of a part; of several that a parameter belongs to, the longest name counts.

    Raises:
        InputError: there is no such part, or it has no parameter that is trained with its factor.
    """
    for part in rates:
        require_part("rates", part, model)
    by_length = sorted(rates, key=len, reverse=True)
    members: dict[str, list[nn.Parameter]] = {"": [], **{part: [] for part in rates}}
    part_of: dict[nn.Parameter, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):  # tied weights have several names
        if parameter.requires_grad:
            found = next((part for part in by_length if in_part(name, part)), "")
            part_of[parameter] = max(part_of.get(parameter, ""), found, key=len)
    for parameter, part in part_of.items():
        members[part].append(parameter)
    for part in rates:
        if not members[part]:
            raise InputError(
                f"rates.{part} = {rates[part]}: no parameter is trained with it, since {part} is frozen, has no "
                "parameters, or has other rates for all of them; remove it"
            )
    return [{"params": members[""]}, *({"params": members[part], FACTOR: rates[part]} for part in rates)]


def apply_factors(optimizer: Optimizer) -> None:
    """Set the learning rate of each part to that of the rest times its factor, after a schedule has changed it."""
    first, *parts = optimizer.param_groups
    for group in parts:
        group["lr"] = first["lr"] * group[FACTOR]
