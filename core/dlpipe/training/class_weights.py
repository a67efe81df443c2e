"""Weights of classes, for the loss and for the choice of examples, where some classes are rare.

Axes: N examples of the training split, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from dlpipe.data.class_targets import ClassTargets, class_targets
from dlpipe.errors import InputError
from dlpipe.fields import PositiveFloat
from dlpipe.messages import nearest, shown
from dlpipe.protocols import Data

#: All classes together count the same, or the weight of each class that is not 1.
ClassWeights = Literal["balanced"] | Mapping[str, PositiveFloat]


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


def example_weights(option: str, wanted: ClassWeights, data: Data) -> Tensor:
    """Return the weight of each example of the training split (N,), float64: that of its class.

    Raises:
        InputError: as `class_weights`; or an example has several targets, or none.
    """
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
