"""Conditioning a model on classes.

Axes: B samples of a batch, F features, K classes, Z latent dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dlpipe.protocols import Batch


def conditioned_classes(model: str, conditional: bool, num_classes: int | None) -> int | None:
    """Return the number of classes that a model is conditioned on; None if it is unconditional.

    Raises:
        ValueError: it should be conditional, but the data has no classes.
    """
    if conditional and num_classes is None:
        raise ValueError(
            f"conditional = true: {model} needs the number of classes, but the data has no classes (no fact "
            "num_classes); set conditional = false, or choose data with classes"
        )
    return num_classes if conditional else None


def append_class(features: Tensor, targets: Tensor | None, num_classes: int | None) -> Tensor:
    """Append one-hot classes to features (B, F): (B, F + K); return the features alone if num_classes is None.

    Raises:
        ValueError: the model is conditional, and there are no targets.
    """
    if num_classes is None:
        return features
    if targets is None:
        raise ValueError(
            f"this model is conditional: expected targets ({len(features)},) from 0 to {num_classes - 1}, got None"
        )
    return torch.cat([features, F.one_hot(targets, num_classes).to(features.dtype)], dim=1)


def generator_inputs(batch: Batch, latent_dim: int, num_classes: int | None) -> dict[str, Tensor]:
    """Return random latent vectors (B, Z), and the classes (B,) of a batch if the generator is conditioned on them."""
    latent = torch.randn(len(next(iter(batch.values()))), latent_dim)
    return {"latent": latent} if num_classes is None else {"latent": latent, "targets": batch["targets"]}
