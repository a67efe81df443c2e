"""The time of an optimizer's update with and without torch's fused kernels, and whether the weights are the same bits.

    python benchmarks/fused_optimizers.py [--rounds 9] [--write]

Both update the weights of the same networks with the same random gradients, in turn, with one thread. The output is CPU
time per update, the medians over blocks.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch
from in_turn import duration, run, take_turns
from step_cost import Net
from torch import Tensor

from dlpipe.training import build_optimizer

TABLES: list[dict[str, Any]] = [{"use": "adam"}, {"use": "adamw"}, {"use": "sgd"}, {"use": "sgd", "momentum": 0.9}]
SIZES = {(8, 1): 1000, (64, 50, 10): 1000, (784, 500, 500, 10): 60}


def updates(sizes: tuple[int, ...], table: dict[str, Any]) -> tuple[Callable[[int], None], Callable[[], list[Tensor]]]:
    """Return a function that takes updates, and one that returns the weights."""
    torch.manual_seed(1)
    model = Net(sizes)
    optimizer = build_optimizer(model.parameters(), table)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)

    def steps(count: int) -> None:
        for _ in range(count):
            optimizer.step()

    return steps, lambda: [parameter.detach() for parameter in model.parameters()]


def measure(rounds: int) -> str:
    """Return the table; print the medians and whether the weights are the same bits."""
    lines = ["| | " + " | ".join("-".join(map(str, sizes)) for sizes in SIZES) + " |", "|---" * (1 + len(SIZES)) + "|"]
    for table in TABLES:
        cells: dict[bool, list[str]] = {False: [], True: []}
        for sizes, block in SIZES.items():
            made = {fused: updates(sizes, table | {"fused": fused}) for fused in (False, True)}
            times = take_turns({str(fused): steps for fused, (steps, _) in made.items()}, block, rounds)
            for fused, cell in cells.items():
                cell.append(duration(statistics.median(times[str(fused)])))
            same = all(map(torch.equal, *(weights() for _, weights in made.values())))
            print(
                f"{table} {sizes}: {cells[False][-1]}, fused {cells[True][-1]}, {'the same' if same else 'other'} bits"
            )
        lines += [f"| `{table}` | {' | '.join(cells[False])} |", f"| … `fused = true` | {' | '.join(cells[True])} |"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run(__doc__, measure, 9)
