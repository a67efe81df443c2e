"""The metrics of steps: those on an accelerator stay there until many are read at once."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dlpipe.ranks import Ranks

#: The metrics of one step by name: numbers, or tensors without axes on an accelerator.
Metrics = dict[str, float | Tensor]
#: By name: which of some steps have the metric, counted from 0, and its values.
StepMetrics = dict[str, tuple[list[int], list[float]]]
#: The metric that is the loss of a step; those of an algorithm with several are called ``<name>_loss``.
LOSS = "loss"


def columns_of(steps: Sequence[Metrics], ranks: Ranks) -> StepMetrics:
    """Read the metrics of steps; where several ranks train together, their mean."""
    columns: StepMetrics = {}
    for name in dict.fromkeys(name for metrics in steps for name in metrics):
        positions = [position for position, metrics in enumerate(steps) if name in metrics]
        columns[name] = positions, _read([steps[position][name] for position in positions], ranks)
    return columns


def _read(values: Sequence[float | Tensor], ranks: Ranks) -> list[float]:
    kept = next((value for value in values if isinstance(value, Tensor)), None)
    if kept is not None:
        # Numbers among tensors come from a checkpoint.
        tensors = [value if isinstance(value, Tensor) else kept.new_tensor(value) for value in values]
        return ranks.mean(torch.stack(tensors).detach()).tolist()
    if ranks.size > 1:
        return ranks.mean(torch.tensor(values, dtype=torch.float64)).tolist()
    return list(values)  # type: ignore[arg-type]  # none is a tensor


def wait_for(metrics: Metrics) -> None:
    """Wait for the accelerator that computes the metrics of a step: for these and all that it was given so far."""
    kept = next((value for value in metrics.values() if isinstance(value, Tensor)), None)
    if kept is not None:
        kept.item()


def first_broken(columns: StepMetrics) -> tuple[str, int, float] | None:
    """Return the first metric that is not finite, its step, counted from 0, and its value; None if all are finite."""
    broken = [
        (position, name, value)
        for name, (positions, values) in columns.items()
        for position, value in zip(positions, values, strict=True)
        if not math.isfinite(value)
    ]
    if not broken:
        return None
    position, name, value = min(broken, key=lambda found: found[0])
    return name, position, value


def weighted_means(steps: StepMetrics, weights: Mapping[str, str]) -> dict[str, float]:
    """Return the mean of each metric over the steps that have it; none if all of them count 0.

    Args:
        weights: by name, the metric that says how much a step counts, which itself is left out.
    """
    means: dict[str, float] = {}
    for name, (positions, values) in steps.items():
        counts = dict(zip(*steps.get(weights.get(name, ""), ((), ())), strict=True))
        weight = [counts.get(position, 1.0) for position in positions]
        if name not in weights.values() and (total := sum(weight)):
            means[name] = sum(map(operator.mul, values, weight)) / total
    return means


def with_losses(sums: Mapping[str, tuple[float, int]], steps: StepMetrics, start: int) -> dict[str, tuple[float, int]]:
    """Return the sum of each loss and the number of steps that have it, with further steps.

    Args:
        steps: those with the losses to add.
        start: the first of them, counted from 0.
    """
    added = dict(sums)
    for name, (positions, values) in steps.items():
        new = [value for position, value in zip(positions, values, strict=True) if position >= start]
        if new and (name == LOSS or name.endswith(f"_{LOSS}")):
            total, count = added.get(name, (0.0, 0))
            added[name] = sum(new, start=total), count + len(new)
    return added


def mean_losses(sums: Mapping[str, tuple[float, int]]) -> dict[str, float]:
    """Return the mean of ``loss`` or, where an algorithm has no single loss, of each."""
    shown = [LOSS] if LOSS in sums else list(sums)
    return {name: sums[name][0] / sums[name][1] for name in shown}


def all_finite(*tensors: Tensor) -> bool:
    """Return whether all numbers are finite, waiting for the device once."""
    return not tensors or bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())
