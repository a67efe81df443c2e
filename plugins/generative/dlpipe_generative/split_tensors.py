"""A whole split as tensors, prepared as for evaluation, and helpers for large batches and isolated randomness.

Axes: N samples of a split.
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
from dlpipe_generative.protocols import sample_column

#: Batch size for evaluation.
BATCH = 500


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model."""
    return next(model.parameters()).device


def split_tensors(
    data: Data, split: str, device: torch.device, who: str, limit: int | None = None
) -> tuple[Tensor, Tensor | None]:
    """Return the samples of a split (N, …) and their classes (N,), None if the data has no classes.

    Args:
        who: the component that needs them, for the message if there are none.
        limit: at most this many, spread evenly over the split (its first examples may be easier than the others, as
            those of MNIST are); all if None.
    """
    chosen = data.split(split) if limit is None else _spread(data.split(split), limit)
    samples, classes = [], []
    for batch in Batches(chosen, BATCH, Compute(device), training=False).epoch(0):
        samples.append(batch[sample_column([*batch], who)])
        if "targets" in batch:
            classes.append(batch["targets"])
    return torch.cat(samples), torch.cat(classes) if classes else None


def class_names(data: Data, classes: Tensor | None) -> list[str]:
    """Return the names of classes (N,), their numbers if the data has no names; empty if there are no classes."""
    if classes is None:
        return []
    labels = data.facts.get("labels")
    return [str(number if labels is None else labels[number]) for number in classes.tolist()]


def _spread(split: Columns | Dataset[Any], limit: int) -> Columns | Dataset[Any]:
    """Return at most `limit` examples of a split, spread evenly over it."""
    count = len(split)  # type: ignore[arg-type]
    if count <= limit:
        return split
    rows = torch.linspace(0, count - 1, limit).long()
    if isinstance(split, Columns):
        return Columns(split.batch(rows), prepare=split.prepare)
    chosen = Subset(split, rows.tolist())
    chosen.prepare = getattr(split, "prepare", None)  # type: ignore[attr-defined]
    return chosen


def standard_normal(count: int, latent_dim: int, seed: int, device: torch.device) -> Tensor:
    """Return N(0, 1) latent vectors (count, latent_dim), the same for a seed on every device."""
    return torch.randn(count, latent_dim, generator=torch.Generator().manual_seed(seed)).to(device)


def batched(*tensors: Tensor | None) -> Iterator[tuple[Tensor | None, ...]]:
    """Split tensors of N rows into batches; None stays None."""
    count = len(next(tensor for tensor in tensors if tensor is not None))
    for start in range(0, count, BATCH):
        yield tuple(None if tensor is None else tensor[start : start + BATCH] for tensor in tensors)


@contextmanager
def isolated_rng(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators inside the context, and restore them afterwards.

    Random numbers of an evaluator must not change those of the training that follows.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
