"""Checks for authors of plugins: does a pipeline keep the promises that dlpipe makes.

Use them in tests of your own::

    def test_my_trainer_resumes_exactly(tmp_path):
        check_resume("pipelines/mine.toml", tmp_path, assignments=["trainer.steps=12"])

    def test_my_trainer_survives_kills(tmp_path):
        check_kills("pipelines/mine.toml", tmp_path, assignments=["trainer.steps=200"], kills=10)
"""

from __future__ import annotations

import contextlib
import json
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
from dlpipe.config.pipeline import Pipeline
from dlpipe.engine.execute import resume, run
from dlpipe.errors import Preempted
from dlpipe.registry.hooks import hookimpl
from dlpipe.registry.loading import Registry, load_plugins
from dlpipe.runs.checkpoint import TEMPORARY, WEIGHTS, Checkpoints
from dlpipe.runs.folder import METRICS, RunFolder
from dlpipe.runs.metrics_log import MetricsLog

__all__ = [
    "assert_same_outcome",
    "check_kills",
    "check_resume",
    "comparable_metrics",
]

#: Keys of ``metrics.jsonl`` that depend on the clock.
WALL_CLOCK = ("time", "seconds", "steps_per_second")


class _StopAt:
    """Asks this process to save and stop, as a batch system would, after one step."""

    def __init__(self, step: int) -> None:
        self._step = step

    @hookimpl
    def dlpipe_step_logged(self, step: int) -> None:
        if step == self._step:
            os.kill(os.getpid(), signal.SIGUSR1)


def check_resume(
    pipeline: str | Path,
    folder: Path,
    *,
    assignments: Iterable[str] = (),
    stops: Iterable[int] = (1, 2, 5),
    allow_local_plugins: bool = False,
) -> None:
    """Check that a run which is stopped and resumed ends as if it had not been.

    Everything that the next step depends on must be in the trainer's ``state_dict``, or follow from
    the seed and the step; what is forgotten shows as a difference here.

    Args:
        pipeline: a pipeline file whose run takes seconds.
        folder: where runs may be kept; empty.
        assignments: changes to the pipeline, such as ``"trainer.steps=12"``.
        stops: steps after which a run is stopped, one run for each.
        allow_local_plugins: let the pipeline run Python files that it names.

    Raises:
        AssertionError: naming the stage, the stop, and the first metric or the weights that differ.
    """
    changes = [*assignments]

    def loaded() -> tuple[Pipeline, Registry]:
        registry = load_plugins()
        return load_pipeline(pipeline, registry, changes, allow_local_plugins=allow_local_plugins), registry

    stages = loaded()[0].stages
    changes += [f"{f'stages.{name}.' if name else ''}trainer.log_every=1" for name in stages]
    whole = run(*loaded(), folder / "whole", fresh=True)
    for step in stops:
        try:
            run(*loaded(), folder / f"stopped-{step}", fresh=True, callbacks={"stop": _StopAt(step)})
        except Preempted:
            stopped = RunFolder.unfinished(folder / f"stopped-{step}", loaded()[0])
            assert stopped is not None
            resume(stopped, load_plugins(), allow_local_plugins=allow_local_plugins)
            for name in stages:
                assert_same_outcome(
                    whole.stage(name), stopped.stage(name), f"stopped after step {step}{' of ' + name if name else ''}"
                )
        else:
            raise AssertionError(f"the run ended before step {step}; choose earlier stops")


def check_kills(
    pipeline: str | Path,
    folder: Path,
    *,
    assignments: Iterable[str] = (),
    kills: int = 10,
    seed: int = 0,
    allow_local_plugins: bool = False,
) -> Counter[str]:
    """Check that runs which are killed (SIGKILL) at random moments end as if they had not been.

    Each run is a process, started and started again as ``dlpipe run FILE --resume auto`` does it, and killed
    at a moment that is drawn: at any time, as it begins or resumes, while a checkpoint is being written, just
    after something was logged.

    Args:
        pipeline: a pipeline file whose run takes seconds and saves checkpoints often.
        folder: where runs may be kept; empty.
        assignments: changes to the pipeline, such as ``"trainer.steps=200"``.
        kills: how many at least; a run that ends before its time is followed by another.
        seed: of the moments.
        allow_local_plugins: let the pipeline run Python files that it names.

    Returns:
        how many processes were killed at which moments.

    Raises:
        AssertionError: naming the first difference; or a run failed, or none can be killed.
    """
    work = (Path(pipeline).absolute(), [*assignments], allow_local_plugins, dict(os.environ))
    stages = load_pipeline(pipeline, load_plugins(), [*assignments], allow_local_plugins=allow_local_plugins).stages
    started = time.monotonic()
    _end_well(_start(folder / "whole", *work), folder / "whole")
    seconds = time.monotonic() - started
    draw, moments, runs = random.Random(seed), Counter[str](), 0
    while moments.total() < kills:
        runs += 1
        assert runs <= 10 * kills, (
            f"{moments.total()} of {runs} runs could be killed before they ended; take longer ones"
        )
        place = folder / f"killed-{runs}"
        while moment := _killed(_start(place, *work), place, seconds, draw):
            moments[moment] += 1
        for name in stages:
            assert_same_outcome(
                _newest(folder / "whole", name), _newest(place, name), f"run {runs}, {name or 'killed'}"
            )
    return moments


def _start(runs: Path, *work: Any) -> BaseProcess:
    """Start a process that runs a pipeline, or goes on with its unfinished run."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dlpipe.testing", "torch._dynamo"])  # imported once, not once per kill
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
    """Kill a process at a moment that is drawn, and return which; an empty text if it ended before."""
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
    """Return the names of the checkpoints that are being written, an empty text where there is none."""
    with contextlib.suppress(OSError):  # folders come and go meanwhile
        folders = [*runs.glob("*/latest/checkpoints"), *runs.glob("*/latest/stages/*/checkpoints")]
        names = [name for folder in folders for name in os.listdir(folder)]  # noqa: PTH208  fast, as it is asked often
        return " ".join(name for name in names if name.startswith(TEMPORARY))
    return ""


def _logged(runs: Path) -> str:
    """Return how much was logged, an empty text if nothing was."""
    with contextlib.suppress(OSError):
        files = [*runs.glob(f"*/latest/{METRICS}"), *runs.glob(f"*/latest/stages/*/{METRICS}")]
        return " ".join(str(path.stat().st_size) for path in files)
    return ""


def _newest(runs: Path, stage: str) -> Path:
    return RunFolder.open(next(runs.glob("*/latest"))).stage(stage)


def comparable_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a stage's ``metrics.jsonl`` without what depends on the clock."""
    records = MetricsLog(folder / METRICS).records()
    return [{name: value for name, value in record.items() if name not in WALL_CLOCK} for record in records]


def assert_same_outcome(whole: Path, stopped: Path, what: str) -> None:
    """Check that two stages ended with equal metrics and weights.

    Raises:
        AssertionError: naming `what` and the first difference.
    """
    wanted, found = comparable_metrics(whole), comparable_metrics(stopped)
    for right, other in zip(wanted, found, strict=False):
        if right != other:
            names = [name for name in right if right[name] != other.get(name)]
            difference = (
                f"{names[0]} is {other.get(names[0])}, undisturbed {right[names[0]]}" if names else json.dumps(other)
            )
            raise AssertionError(f"{what}: at step {right['step']}, {difference}")
    assert len(wanted) == len(found), f"{what}: {len(found)} lines of metrics, undisturbed {len(wanted)}"
    last = [Checkpoints(folder / "checkpoints").latest() for folder in (whole, stopped)]
    assert last[0] is not None
    assert last[1] is not None
    assert (last[0] / WEIGHTS).read_bytes() == (last[1] / WEIGHTS).read_bytes(), f"{what}: the final weights differ"
