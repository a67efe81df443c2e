"""The things of a split, all at once, as a model sees them when it is judged.

Axes: N things (B of a batch), whatever their shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dlpipe.batches import Batches
from dlpipe.compute import Compute
from dlpipe.protocols import Data
from dlpipe_generative.contracts import column_of

#: Things that are looked at together.
BATCH = 500


def device_of(model: nn.Module) -> torch.device:
    """Return where a model is."""
    return next(model.parameters()).device


def things(
    data: Data, split: str, device: torch.device, who: str, limit: int | None = None
) -> tuple[Tensor, Tensor | None]:
    """Return the first things of a split (N, …) and their classes (N,), None where there are none.

    Args:
        who: wants them, for the message where there are none.
        limit: so many; all if not given.
    """
    found, classes, count = [], [], 0
    for batch in Batches(data.split(split), BATCH, Compute(device), training=False).epoch(0):
        found.append(batch[column_of([*batch], who)])
        if "targets" in batch:
            classes.append(batch["targets"])
        count += len(found[-1])
        if limit is not None and count >= limit:
            break
    return torch.cat(found)[:limit], torch.cat(classes)[:limit] if classes else None


def normal(count: int, latent_dim: int, seed: int, device: torch.device) -> Tensor:
    """Return numbers N(0, 1), (count, latent_dim), the same for a seed on every device."""
    return torch.randn(count, latent_dim, generator=torch.Generator().manual_seed(seed)).to(device)


def parts(*tensors: Tensor | None) -> Iterator[tuple[Tensor | None, ...]]:
    """Cut tensors of N rows into batches; None stays None."""
    count = len(next(tensor for tensor in tensors if tensor is not None))
    for start in range(0, count, BATCH):
        yield tuple(None if tensor is None else tensor[start : start + BATCH] for tensor in tensors)


@contextmanager
def isolated(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from torch's global generators as if just seeded, and put them back afterwards.

    What an evaluator draws must not change what the training draws next.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
