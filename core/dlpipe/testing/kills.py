"""Real processes, killed at random moments, end like one that nobody disturbed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import resume, run
from dlpipe.registry.loading import load_plugins
from dlpipe.runs.checkpoint import TEMPORARY
from dlpipe.runs.folder import METRICS, RunFolder
from dlpipe.testing.resume import assert_same_outcome


def check_kills(
    pipeline: str | Path,
    folder: Path,
    *,
    assignments: Iterable[str] = (),
    kills: int = 10,
    seed: int = 0,
    allow_local_plugins: bool = False,
) -> Counter[str]:
    """Check that runs that are killed (SIGKILL) at random moments end like an uninterrupted one.

    Each run is a process that is started again and again as by ``dlpipe run FILE --resume auto``, and killed
    at a random moment: at any time, as it begins or resumes, while a checkpoint is being written, just
    after something was logged.

    Args:
        pipeline: a pipeline file whose run takes seconds and saves checkpoints often.
        folder: where runs may be kept; empty.
        assignments: changes to the pipeline, such as ``"trainer.steps=200"``.
        kills: the minimum number of kills; if a run ends before it is killed, another one follows.
        seed: of the random moments.
        allow_local_plugins: let the pipeline run Python files that it names.

    Returns:
        how many processes were killed at which moments.

    Raises:
        AssertionError: naming the first difference; or a run failed, or none could be killed.
    """
    work = (Path(pipeline).absolute(), [*assignments], allow_local_plugins, dict(os.environ))
    stages = load_pipeline(pipeline, load_plugins(), [*assignments], allow_local_plugins=allow_local_plugins).stages
    started = time.monotonic()
    _end_well(_start(folder / "whole", *work), folder / "whole")
    seconds = time.monotonic() - started
    draw, moments, runs = random.Random(seed), Counter[str](), 0
    while moments.total() < kills:
        assert runs < 10 * kills, (
            f"{moments.total()} of {runs} runs could be killed before they ended; take longer ones"
        )
        runs += 1
        place = folder / f"killed-{runs}"
        while moment := _killed(_start(place, *work), place, seconds, draw):
            moments[moment] += 1
        for name in stages:
            assert_same_outcome(
                _newest(folder / "whole", name), _newest(place, name), f"run {runs}, {name or 'killed'}"
            )
    return moments


def _start(runs: Path, *work: Any) -> BaseProcess:
    """Start a process that runs a pipeline, or resumes its unfinished run."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dlpipe.testing.kills"])  # imported once, not once per kill
    runs.mkdir(parents=True, exist_ok=True)
    process = context.Process(target=_run_or_resume, args=(runs, torch.get_num_threads(), *work))
    process.start()
    return process


def _run_or_resume(
    runs: Path, threads: int, file: Path, assignments: list[str], allowed: bool, environment: Mapping[str, str]
) -> None:
    os.environ.update(environment)
    torch.set_num_threads(threads)
    output = os.open(runs / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    registry = load_plugins()
    pipeline = load_pipeline(file, registry, assignments, allow_local_plugins=allowed)
    unfinished = RunFolder.unfinished(runs, pipeline)
    if unfinished:
        resume(unfinished, load_plugins(), allow_local_plugins=allowed)
    else:
        run(pipeline, registry, runs, fresh=True)


def _end_well(process: BaseProcess, runs: Path) -> None:
    process.join()
    assert process.exitcode == 0, f"a run ended with {process.exitcode}: {(runs / 'output.txt').read_text()[-2000:]}"


def _killed(process: BaseProcess, runs: Path, seconds: float, draw: random.Random) -> str:
    """Kill a process at a random moment, and return which; an empty string if it ended before."""
    moments = ["at any time", "as it began", "in a save", "after a line was logged"]
    name = draw.choice(moments)
    if name in moments[2:]:
        look = _saving if name == "in a save" else _logged
        for _ in range(draw.choice([1, 1, 2, 5])):  # one of the first such moments, or a later one
            before = look(runs)
            while process.is_alive() and look(runs) in (before, ""):
                time.sleep(0.0002)
    process.join(draw.uniform(0, {"at any time": seconds, "as it began": seconds / 5}.get(name, 0.003)))
    if process.is_alive():
        process.kill()
        process.join()
    if process.exitcode == -signal.SIGKILL:
        return name
    _end_well(process, runs)
    return ""


def _saving(runs: Path) -> str:
    """Return the names of the checkpoints that are being written, an empty string if there are none."""
    with contextlib.suppress(OSError):  # folders come and go meanwhile
        folders = [*runs.glob("*/latest/checkpoints"), *runs.glob("*/latest/stages/*/checkpoints")]
        names = [name for folder in folders for name in os.listdir(folder)]  # noqa: PTH208  fast, as it is asked often
        return " ".join(name for name in names if name.startswith(TEMPORARY))
    return ""


def _logged(runs: Path) -> str:
    """Return the sizes of the metrics files, an empty string if there are none."""
    with contextlib.suppress(OSError):
        files = [*runs.glob(f"*/latest/{METRICS}"), *runs.glob(f"*/latest/stages/*/{METRICS}")]
        return " ".join(str(path.stat().st_size) for path in files)
    return ""


def _newest(runs: Path, stage: str) -> Path:
    return RunFolder.open(next(runs.glob("*/latest"))).stage(stage)
