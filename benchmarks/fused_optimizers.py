"""The time of an optimizer's update with and without torch's fused kernels, and whether the weights are the same bits.

    python benchmarks/fused_optimizers.py [--rounds 9]

Both update the weights of the same networks with the same random gradients, in turn, with one thread. The output is CPU
time per update, the medians over blocks.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
from in_turn import take_turns
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    for table in TABLES:
        for sizes, block in SIZES.items():
            made = {fused: updates(sizes, table | {"fused": fused}) for fused in (False, True)}
            times = take_turns({str(fused): steps for fused, (steps, _) in made.items()}, block, rounds)
            plain, fused = (statistics.median(times[str(each)]) * 1e6 for each in (False, True))
            same = all(map(torch.equal, *(weights() for _, weights in made.values())))
            print(f"{table} {sizes}: {plain:.1f} us, fused {fused:.1f} us, {'the same' if same else 'other'} bits")
