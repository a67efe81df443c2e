"""Conventions for targets, shared by trainers, evaluators and data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dlpipe.errors import InputError
from dlpipe.protocols import Batch

#: Classes with this value are ignored, numbers are not; the default ``ignore_index`` of torch.
IGNORE_INDEX = -100
#: The column of a training split that says how often each example is drawn (``sampling = "sample_weights"``).
SAMPLE_WEIGHTS = "sample_weights"
#: Columns that are no inputs of a model.
NO_INPUTS = ("targets", SAMPLE_WEIGHTS)


def count_targets(batch: Batch, class_weights: Tensor | None = None) -> Tensor:
    """Return the number of terms in the mean loss of a batch: its targets, or its examples if it has no targets.

    Args:
        class_weights: (K,), how much a target of each class counts; 1 by default.
    """
    if not batch:  # the part of a process that has none of the examples
        return torch.tensor(0.0)
    targets = batch.get("targets")
    if targets is None:
        first = next(iter(batch.values()))
        return torch.full((), float(len(first)), device=first.device)
    if targets.is_floating_point():
        return torch.full((), float(targets.numel()), device=targets.device)
    known = targets != IGNORE_INDEX
    return (known if class_weights is None else known * class_weights[targets.clamp(min=0)]).sum().float()


def cross_entropy(
    logits: Any, targets: Tensor, label_smoothing: float = 0.0, class_weights: Tensor | None = None
) -> Tensor:
    """Return the mean cross-entropy of logits (…, K) and classes (…).

    Args:
        class_weights: (K,), for a weighted mean.

    Raises:
        InputError: these are not logits and classes, or there is not one weight for each class.
    """
    if targets.is_floating_point():
        kind = str(targets.dtype).removeprefix("torch.")
        raise InputError(f'cross-entropy is for classes, but the targets are {kind}; for numbers use loss = "mse"')
    if not isinstance(logits, Tensor) or logits.shape[:-1] != targets.shape:
        found = f"outputs of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(
            f"the model returns {found} for targets of shape {tuple(targets.shape)}; cross-entropy needs a score for "
            f"each class, ({', '.join(map(str, targets.shape))}, K): choose a model that classifies, or another "
            "trainer or evaluator"
        )
    if class_weights is not None and len(class_weights) != logits.size(-1):
        raise InputError(
            f"class_weights has {len(class_weights)} weights, but the model scores {logits.size(-1)} classes; expected "
            "one for each"
        )
    if targets.dim() != 1:
        logits, targets = logits.flatten(0, -2), targets.flatten()
    return F.cross_entropy(logits, targets, class_weights, ignore_index=IGNORE_INDEX, label_smoothing=label_smoothing)


def cross_entropies(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy of each example (B,), NaN without targets, and the number of its targets (B,).

    The arguments are those that `cross_entropy` accepts.
    """
    flat = logits.reshape(-1, logits.shape[-1])
    losses = F.cross_entropy(flat, targets.reshape(-1), ignore_index=IGNORE_INDEX, reduction="none").double()
    counts = (targets != IGNORE_INDEX).reshape(len(targets), -1).sum(1)
    return losses.reshape(len(targets), -1).sum(1) / counts, counts


def require_targets(columns: Iterable[str], what: str) -> None:
    """Raise an `InputError` if data without targets has these columns; `what` needs them."""
    if "targets" not in columns:
        raise InputError(
            f"{what} needs the column 'targets', but the data has {', '.join(columns)}; choose data with targets, or a "
            "model or trainer that needs none"
        )
