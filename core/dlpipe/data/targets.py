"""What every learner of targets agrees on."""

from __future__ import annotations

import torch
from torch import Tensor

from dlpipe.protocols import Batch

#: A target that does not count: torch's own default ``ignore_index``.
IGNORE_INDEX = -100


def count_targets(batch: Batch) -> Tensor:
    """Return over how much the loss of a batch is a mean: its targets, or its examples where it has none."""
    targets = batch.get("targets")
    if targets is None:
        first = next(iter(batch.values()))
        return torch.tensor(float(len(first)), device=first.device)
    return (targets != IGNORE_INDEX).sum().float()
