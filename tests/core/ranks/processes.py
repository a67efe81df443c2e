"""Starting several processes that train together, as torchrun does, and waiting for all of them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Of the longest test; a rank that waits forever must not hold up the others.
TIMEOUT = 300


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    output: str


def free_port() -> int:
    """Return a port of this machine that nobody uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def start_together(size: int, *arguments: str, environment: Mapping[str, str] | None = None) -> list[Ended]:
    """Run ``python ARGUMENTS`` in `size` processes that find each other, and return how each of them ended."""
    port = free_port()
    processes = []
    for rank in range(size):
        variables = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": size,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        processes.append(
            subprocess.Popen(
                [sys.executable, *arguments],
                env={**os.environ, **{name: str(value) for name, value in variables.items()}, **(environment or {})},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    try:
        outputs = [process.communicate(timeout=TIMEOUT)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [Ended(process.returncode, output) for process, output in zip(processes, outputs, strict=True)]


def run_all(files: Sequence[Path], runs: Path) -> None:
    """Run pipelines one after the other in the processes that this one belongs to, so that torch is imported once."""
    from dlpipe.config.check import load_pipeline
    from dlpipe.engine.execute import run
    from dlpipe.ranks import joined
    from dlpipe.registry.loading import load_plugins

    registry = load_plugins()
    with joined("ddp"):
        for file in files:
            run(load_pipeline(file, registry, allow_local_plugins=True), registry, runs)


if __name__ == "__main__":
    run_all([Path(argument) for argument in sys.argv[2:]], Path(sys.argv[1]))
