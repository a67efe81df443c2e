"""Checks for authors of plugins: does a pipeline keep the promises that dlpipe makes.

Use it in a test of your own::

    def test_my_trainer_resumes_exactly(tmp_path):
        check_resume("pipelines/mine.toml", tmp_path, assignments=["trainer.steps=12"])
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dlpipe.check import load_pipeline
from dlpipe.checkpoint import WEIGHTS, Checkpoints
from dlpipe.errors import Preempted
from dlpipe.execute import resume, run
from dlpipe.hooks import hookimpl
from dlpipe.pipeline import Pipeline
from dlpipe.plugins import Registry, load_plugins
from dlpipe.runs import METRICS, MetricsLog, RunFolder

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
