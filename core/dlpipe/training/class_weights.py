"""Weights of classes, for the loss and for the choice of examples, where some classes are rare.

Axes: N examples of the training split, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor
from torch.utils.data import IterableDataset

from dlpipe.data.class_targets import ClassTargets, class_targets
from dlpipe.data.columns import Columns
from dlpipe.data.targets import SAMPLE_WEIGHTS
from dlpipe.errors import InputError
from dlpipe.fields import PositiveFloat
from dlpipe.messages import nearest, shown
from dlpipe.protocols import Data

Weight = Annotated[PositiveFloat, Field(allow_inf_nan=False)]
ByName = Annotated[
    Mapping[str, Weight],
    Field(min_length=1, description="a table of weights above 0 by the names of classes, such as { cat = 2.0 }"),
]
#: All classes together count the same, or the weight of each class that is not 1.
ClassWeights = Literal["balanced"] | ByName
#: Which examples an epoch has.
Sampling = Literal["uniform", "balanced", "sample_weights"] | ByName


def class_weights(option: str, wanted: ClassWeights, data: Data) -> Tensor:
    """Return the weight of each class (K,), float32.

    Args:
        option: the name of the option, for messages.
        wanted: "balanced" for M / (K · number of targets of the class), of M targets of the training split, as
            scikit-learn defines it; or weights by the name of the class, of others 1.

    Raises:
        InputError: the training split has no classes in memory; "balanced", and a class has no target; there is no such
            class.
    """
    found = _classes(option, wanted, data)
    if isinstance(wanted, str):
        counts = found.counts
        if missing := [label for label, count in zip(found.labels, counts.tolist(), strict=True) if not count]:
            raise InputError(
                f'{option} = "balanced": the training split has no example of {", ".join(missing[:5])}, whose weight '
                "would be infinite; give the weights of the other classes by name, or add examples"
            )
        return counts.sum() / (len(counts) * counts.float())
    names = list(found.labels)
    for name in wanted:
        if name not in names:
            raise InputError(f"{option} = {_shown(wanted)}: the data has no class {shown(name)}.{nearest(name, names)}")
    return torch.tensor([float(wanted.get(name, 1.0)) for name in names])


def example_weights(option: str, wanted: Sampling, data: Data) -> Tensor | None:
    """Return how often each example of the training split is drawn, relative to the others (N,), float64.

    That is the weight of its class, or its own. None for "uniform".

    Raises:
        InputError: as `class_weights`; or an example has several targets, or none; or there are no weights of examples,
            or not such that some can be drawn.
    """
    if wanted == "uniform":
        return None
    if wanted == SAMPLE_WEIGHTS:
        return _own_weights(f"{option} = {shown(wanted)}", data.split("train"))
    wanted = cast("ClassWeights", wanted)
    found = _classes(option, wanted, data)
    if found.several:
        raise InputError(
            f"{option} = {_shown(wanted)}: each example of this data has several targets; expected one class for each. "
            "class_weights weighs the targets"
        )
    weights = class_weights(option, wanted, data).double()
    if bool(((found.targets < 0) | (found.targets >= len(weights))).any()):
        raise InputError(f"{option} = {_shown(wanted)}: some training examples have no class; expected one for each")
    return weights[found.targets]


def _own_weights(what: str, split: Any) -> Tensor:
    """Return the column of weights of a split (N,), float64."""
    weights = split.columns.get(SAMPLE_WEIGHTS) if isinstance(split, Columns) else getattr(split, SAMPLE_WEIGHTS, None)
    if not isinstance(weights, Tensor) or weights.dim() != 1 or isinstance(split, IterableDataset):
        raise InputError(
            f'{what}: the training split has no column "{SAMPLE_WEIGHTS}" in memory with a number for each example; '
            'expected data that has it (core.table: sample_weights = "COLUMN"), no stream'
        )
    weights = weights.double().cpu()
    wrong = (~(weights.isfinite() & (weights >= 0))).nonzero().flatten().tolist()
    if wrong:
        raise InputError(f"{what}: example {wrong[0]} has the weight {float(weights[wrong[0]])}; expected 0 or more")
    if not weights.any():
        raise InputError(f"{what}: all {len(weights):,} examples have the weight 0; expected one above 0")
    return weights


def _classes(option: str, wanted: ClassWeights, data: Data) -> ClassTargets:
    found = class_targets(data.facts, data.split("train"))
    if found is None:
        raise InputError(
            f"{option} = {_shown(wanted)}: the training split has no classes that could be counted; expected data with "
            "the fact labels or num_classes, whose targets are in memory: no stream, and no numbers"
        )
    return found


def _shown(wanted: ClassWeights) -> str:
    return shown(wanted if isinstance(wanted, str) else dict(wanted))
