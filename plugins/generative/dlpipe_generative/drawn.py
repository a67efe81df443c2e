"""What a model draws when it is asked for many things at once.

Axes: N things, Z numbers each is drawn from.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlpipe_generative.contracts import Draws, require
from dlpipe_generative.things import device_of, normal, parts


def classes_in_turn(count: int, num_classes: int | None, device: torch.device) -> Tensor | None:
    """Return the classes 0, 1, 2, … 0, 1, … of `count` things (N,), or None where there are none."""
    return None if num_classes is None else torch.arange(count, device=device) % num_classes


def drawn(model: nn.Module, latent: Tensor, targets: Tensor | None, who: str) -> Tensor:
    """Return things (N, …) drawn from numbers (N, Z), in parts; the model is in evaluation mode then."""
    draws = require(model, Draws, who)  # type: ignore[type-abstract]
    model.eval()
    with torch.inference_mode():
        return torch.cat([draws.draw(some, wishes) for some, wishes in parts(latent, targets)])  # type: ignore[arg-type]


def drawn_at_random(model: nn.Module, count: int, seed: int, who: str) -> tuple[Tensor, Tensor | None]:
    """Return `count` things, the same for a seed, and the classes they should be of (in turn), if any."""
    draws, device = require(model, Draws, who), device_of(model)  # type: ignore[type-abstract]
    targets = classes_in_turn(count, draws.num_classes, device)
    return drawn(model, normal(count, draws.latent_dim, seed, device), targets, who), targets
