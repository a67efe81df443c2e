"""What a run costs on a machine that is busy with something else, with and without a limit on how long threads spin.

    python benchmarks/busy_machine.py [--rounds 3] [--write]

A thread of torch that waits for another one spins, which takes the core from whoever would let it go on; two variables
of the environment limit that. Each measurement is a process of its own that takes steps with a thread for each core,
once alone and once beside as many processes that do nothing but count: of a small CNN (16 and 32 channels on 64
images of 28×28), and of an MLP (784-500-500-10 on 100 images), whose computations are shorter. The settings alternate;
the output is the median of steps per second over all rounds. The last setting is what ``dlpipe run`` chooses: it looks
at the machine while it starts.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

from in_turn import run

CHOSEN = "as `dlpipe run` chooses"
#: OpenMP's default, fewer spins, none; `CHOSEN` has those of `dlpipe.spinning`.
SETTINGS: dict[str, dict[str, str]] = {
    "torch's default": {},
    "GOMP_SPINCOUNT = 10000": {"GOMP_SPINCOUNT": "10000"},
    "GOMP_SPINCOUNT = 1000": {"GOMP_SPINCOUNT": "1000"},
    "OMP_WAIT_POLICY = PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    CHOSEN: {},
}
#: What ``dlpipe run`` does before it imports torch.
CHOOSE = """
from dlpipe.spinning import limit_spinning, observe
observe()
import dlpipe.cli
limit_spinning(None)
"""
#: Processes that count: one for each core.
NEIGHBORS = len(os.sched_getaffinity(0))
STEPS = """
import os, sys, time, torch
from torch import nn
torch.manual_seed(0)
torch.set_num_threads(len(os.sched_getaffinity(0)))
nets = {}
nets["CNN"] = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1),
                    nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 49, 10))
nets["MLP"] = nn.Sequential(nn.Flatten(), nn.Linear(784, 500), nn.ReLU(), nn.Linear(500, 500), nn.ReLU(),
                            nn.Linear(500, 10))
net, size = nets[sys.argv[1]], {"CNN": 64, "MLP": 100}[sys.argv[1]]
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
images, targets = torch.randn(size, 1, 28, 28), torch.randint(10, (size,))
def step():
    optimizer.zero_grad(); nn.functional.cross_entropy(net(images), targets).backward(); optimizer.step()
for _ in range(5): step()
count, start = 0, time.perf_counter()
while time.perf_counter() - start < 4: step(); count += 1
print(count / (time.perf_counter() - start))
"""


def steps_per_second(net: str, setting: str, neighbors: int) -> float:
    """Measure a new process with one of `SETTINGS` while this many busy processes (`neighbors`) run."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(neighbors)]
    try:
        command = [sys.executable, "-c", CHOOSE * (setting == CHOSEN) + STEPS, net]
        variables = environment | SETTINGS[setting]
        measured = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
        return float(measured.stdout)
    finally:
        for process in busy:
            process.kill()
            process.wait()


def measure(rounds: int) -> str:
    """Return the table."""
    found: dict[tuple[str, str, int], list[float]] = {}
    cases = [(net, count) for net in ("CNN", "MLP") for count in (0, NEIGHBORS)]
    for _ in range(rounds):
        for net, count in cases:
            for name in SETTINGS:
                found.setdefault((net, name, count), []).append(steps_per_second(net, name, count))
    print("\n".join(f"{key}: {' '.join(f'{rate:.1f}' for rate in rates)}" for key, rates in found.items()))
    lines = [
        f"| steps per second | CNN alone | … beside {NEIGHBORS} | MLP alone | … beside {NEIGHBORS} |",
        "|---" * 5 + "|",
    ]
    for name in SETTINGS:
        cells = [f"{statistics.median(found[net, name, count]):.1f}" for net, count in cases]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run(__doc__, measure, 3, threads=None)
