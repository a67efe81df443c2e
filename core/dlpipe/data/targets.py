"""Conventions for targets, shared by trainers, evaluators and data."""

from __future__ import annotations

import torch
from torch import Tensor

from dlpipe.protocols import Batch

#: Targets with this value are ignored; the default ``ignore_index`` of torch.
IGNORE_INDEX = -100


def count_targets(batch: Batch) -> Tensor:
    """Return the number of terms in the mean loss of a batch: its targets, or its examples if it has no targets."""
    targets = batch.get("targets")
    if targets is None:
        first = next(iter(batch.values()))
        return torch.tensor(float(len(first)), device=first.device)
    return (targets != IGNORE_INDEX).sum().float()
