"""Telling a model which class to draw.

Axes: B things of a batch, F numbers, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def classes_told(model: str, conditional: bool, num_classes: int | None) -> int | None:
    """Return how many classes a model is told; None where it is told none.

    Raises:
        ValueError: it should be told, but the data has no classes.
    """
    if conditional and num_classes is None:
        raise ValueError(f"{model} conditional = true: the data has no classes (no fact num_classes); set it to false")
    return num_classes if conditional else None


def with_class(numbers: Tensor, targets: Tensor | None, num_classes: int | None) -> Tensor:
    """Put a one-hot class beside numbers (B, F): (B, F + K); the numbers alone where there are no classes.

    Raises:
        ValueError: a class is needed and not told.
    """
    if num_classes is None:
        return numbers
    if targets is None:
        raise ValueError(f"this model draws by class: expected targets (B,) from 0 to {num_classes - 1}, got none")
    return torch.cat([numbers, F.one_hot(targets, num_classes).to(numbers.dtype)], dim=1)
