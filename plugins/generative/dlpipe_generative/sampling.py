"""Generate many samples in batches.

Axes: N samples, Z latent dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlpipe.compute import derived_seed
from dlpipe.evaluation import Examples
from dlpipe_generative.protocols import GenerativeModel, require
from dlpipe_generative.split_tensors import batched, device_of, standard_normal


def latent_seed(seed: int, split: str) -> int:
    """Return the seed of the latent vectors for a split: other ones on dev, which chooses the model, than on test."""
    return seed if split == "test" else derived_seed(seed, "latent", split)


def sample_count(count: int, examples: Examples) -> int:
    """Return `count`, or less if only some batches are tried out: that many examples.

    Other than `Examples.at_most`, it counts no examples of the split: ``train_examples`` does not limit these samples.
    """
    return count if examples.limit is None else min(count, examples.limit * examples.compute.evaluation_batch_size)


def cycled_classes(count: int, num_classes: int | None, device: torch.device) -> Tensor | None:
    """Return the classes 0, 1, 2, … 0, 1, … for `count` samples (N,), or None if num_classes is None."""
    return None if num_classes is None else torch.arange(count, device=device) % num_classes


def generate_samples(model: nn.Module, latent: Tensor, targets: Tensor | None, who: str) -> Tensor:
    """Return samples (N, …) for latent vectors (N, Z), generated in batches; sets the model to evaluation mode."""
    generative = require(model, GenerativeModel, who)  # type: ignore[type-abstract]
    model.eval()
    with torch.inference_mode():
        return torch.cat([generative.generate(some, classes) for some, classes in batched(latent, targets)])  # type: ignore[arg-type]


def random_samples(model: nn.Module, count: int, seed: int, who: str) -> tuple[Tensor, Tensor | None]:
    """Return `count` samples, the same for a seed, and the classes (N,) that they were conditioned on, if any."""
    generative, device = require(model, GenerativeModel, who), device_of(model)  # type: ignore[type-abstract]
    targets = cycled_classes(count, generative.num_classes, device)
    return generate_samples(model, standard_normal(count, generative.latent_dim, seed, device), targets, who), targets
