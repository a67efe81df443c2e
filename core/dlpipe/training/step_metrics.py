"""The metrics of steps: those on an accelerator stay there until many are read at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dlpipe.ranks import Ranks

#: The metrics of one step by name: numbers, or tensors without axes on an accelerator.
Metrics = dict[str, float | Tensor]
#: By name: which of some steps have the metric, counted from 0, and its values (S,) on the CPU.
StepMetrics = dict[str, tuple[list[int], Tensor]]
#: The metric that is the loss of a step; those of an algorithm with several are called ``<name>_loss``.
LOSS = "loss"


def stacked(steps: Sequence[Metrics], ranks: Ranks) -> StepMetrics:
    """Read the metrics of steps; where several ranks train together, their mean."""
    columns: StepMetrics = {}
    for name in dict.fromkeys(name for metrics in steps for name in metrics):
        positions = [position for position, metrics in enumerate(steps) if name in metrics]
        columns[name] = positions, ranks.mean(_column([steps[position][name] for position in positions])).cpu()
    return columns


def _column(values: Sequence[float | Tensor]) -> Tensor:
    kept = next((value for value in values if isinstance(value, Tensor)), None)
    if kept is None:
        return torch.tensor(values, dtype=torch.float64)
    # Numbers among tensors come from a checkpoint.
    return torch.stack([value if isinstance(value, Tensor) else kept.new_tensor(value) for value in values]).detach()


def first_broken(columns: StepMetrics) -> tuple[str, int, float] | None:
    """Return the first metric that is not finite, its step, counted from 0, and its value; None if all are finite."""
    broken = {
        name: int((~values.isfinite()).nonzero()[0])
        for name, (positions, values) in columns.items()
        if not all_finite(values)
    }
    if not broken:
        return None
    name, index = min(broken.items(), key=lambda item: columns[item[0]][0][item[1]])
    at, found = columns[name]
    return name, at[index], float(found[index])


def with_losses(sums: Mapping[str, tuple[float, int]], steps: StepMetrics, start: int) -> dict[str, tuple[float, int]]:
    """Return the sum of each loss and the number of steps that have it, with further steps.

    Args:
        steps: those with the losses to add.
        start: the first of them, counted from 0.
    """
    added = dict(sums)
    for name, (positions, values) in steps.items():
        new = [value for position, value in zip(positions, values.tolist(), strict=True) if position >= start]
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
