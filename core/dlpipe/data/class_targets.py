"""The targets of a split that is made of classes: which class each example has, and how many there are of each.

Axes: N examples of a split, M targets of all of them, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dlpipe.data.columns import Columns, Ragged


@dataclass(frozen=True)
class ClassTargets:
    """The class numbers of a split.

    Args:
        labels: the names of the K classes.
        targets: (M,) int64; what is not from 0 to K - 1 has no class.
        several: whether an example has several targets, as the tokens of a sentence are; if not, M = N.
    """

    labels: Sequence[str]
    targets: Tensor
    several: bool

    @property
    def counts(self) -> Tensor:
        """The number of targets of each class (K,)."""
        known = (self.targets >= 0) & (self.targets < len(self.labels))
        return self.targets[known].bincount(minlength=len(self.labels))


def class_targets(facts: Mapping[str, Any], split: Any) -> ClassTargets | None:
    """Return the classes of a split.

    None for data without the facts ``labels`` or ``num_classes``, and for a split whose targets are not class numbers
    (N,), or sequences of them, in memory.
    """
    labels = [str(label) for label in facts.get("labels", range(facts.get("num_classes", 0)))]
    found = split.columns.get("targets") if isinstance(split, Columns) else getattr(split, "targets", None)
    targets = found.concatenated() if isinstance(found, Ragged) else found
    if not labels or not isinstance(targets, Tensor) or targets.dim() != 1 or targets.is_floating_point():
        return None
    return ClassTargets(labels, targets.to(torch.int64), isinstance(found, Ragged))
