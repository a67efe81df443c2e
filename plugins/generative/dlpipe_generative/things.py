"""The things of a split, all at once, as a model sees them when it is judged.

Axes: N things (B of a batch), whatever their shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from dlpipe.compute import Compute
from dlpipe.data import Batches, Columns
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
    """Return the things of a split (N, …) and their classes (N,), None where there are none.

    Args:
        who: wants them, for the message where there are none.
        limit: so many, evenly from all over the split (whose first ones may be easier than the others, as those of
            MNIST are); all if not given.
    """
    chosen = data.split(split) if limit is None else _spread(data.split(split), limit)
    found, classes = [], []
    for batch in Batches(chosen, BATCH, Compute(device), training=False).epoch(0):
        found.append(batch[column_of([*batch], who)])
        if "targets" in batch:
            classes.append(batch["targets"])
    return torch.cat(found), torch.cat(classes) if classes else None


def _spread(split: Columns | Dataset[Any], limit: int) -> Columns | Dataset[Any]:
    """Return so many examples of a split, evenly from all over it."""
    count = len(split)  # type: ignore[arg-type]
    if count <= limit:
        return split
    rows = torch.linspace(0, count - 1, limit).long()
    if isinstance(split, Columns):
        return Columns(split.batch(rows), prepare=split.prepare)
    chosen = Subset(split, rows.tolist())
    chosen.prepare = getattr(split, "prepare", None)  # type: ignore[attr-defined]
    return chosen


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
