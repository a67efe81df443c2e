"""A run that is stopped and resumed ends like one that nobody disturbed."""

from __future__ import annotations

import json
import os
import signal
import warnings
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from dlpipe.config.check import load_pipeline
from dlpipe.config.pipeline import Pipeline
from dlpipe.engine.build import TrainingComponents
from dlpipe.engine.execute import resume, run
from dlpipe.engine.run_options import Observe
from dlpipe.errors import Preempted
from dlpipe.messages import shown
from dlpipe.registry.hooks import RunView, hookimpl
from dlpipe.registry.loading import Registry, load_plugins
from dlpipe.runs.checkpoint import WEIGHTS, Checkpoints, step_of
from dlpipe.runs.folder import METRICS, RunFolder
from dlpipe.runs.metrics_log import MetricsLog
from dlpipe.runs.plain_state import difference
from dlpipe.testing.attributes import plain_attributes

#: Keys of ``metrics.jsonl`` that depend on the clock.
WALL_CLOCK = ("time", "seconds", "steps_per_second")


class _StopAt:
    """Asks this process to save a checkpoint and stop, as a batch system would, after one step of a stage."""

    def __init__(self, stage: str, step: int) -> None:
        self._stage, self._step = stage, step

    @hookimpl
    def dlpipe_step_logged(self, run: RunView, step: int) -> None:
        if step == self._step and self._stage in ("", run.folder.name):
            os.kill(os.getpid(), signal.SIGUSR1)


def check_resume(
    pipeline: str | Path,
    folder: Path,
    *,
    assignments: Iterable[str] = (),
    stops: Iterable[int] | None = None,
    ignore: Collection[str] = (),
    allow_local_plugins: bool = False,
) -> None:
    """Check that a run that is stopped and resumed ends like an uninterrupted one.

    Everything that the next step depends on must be in the trainer's ``state_dict``, or follow from
    the seed and the step. Anything that is missing shows up as a difference: in a metric, in the final weights, or in
    an attribute of the trainer (numbers, strings, tensors, generators, whatever has a ``state_dict``, and lists and
    dicts of them) at the end of the run, as it would have mattered later.

    A run of one step has nothing to resume: that is a warning, and the check passes.

    Args:
        pipeline: a pipeline file whose run takes seconds.
        folder: where runs may be kept; empty.
        assignments: changes to the pipeline, such as ``"trainer.steps=12"``.
        stops: steps after which a run is stopped, one run for each and for each stage that is longer; by default the
            first step, a third, two thirds, and the last step but one of each stage.
        ignore: attributes of the trainer that may differ, such as a time.
        allow_local_plugins: let the pipeline run Python files that it names.

    Raises:
        AssertionError: naming the stage, the stop, and the first metric, the weights or the attribute that differ.
    """
    changes = [*assignments]

    def loaded() -> tuple[Pipeline, Registry]:
        registry = load_plugins()
        return load_pipeline(pipeline, registry, changes, allow_local_plugins=allow_local_plugins), registry

    stages = loaded()[0].stages
    changes += [f"{f'stages.{name}.' if name else ''}trainer.log_every=1" for name in stages]
    wanted: dict[str, dict[str, Any]] = {}
    whole = run(*loaded(), folder / "whole", fresh=True, observe=_keep_attributes(wanted))
    for stage, step in _stops(stops, {name: _last_step(whole.stage(name)) for name in stages}):
        place, found = folder / f"stopped-{'-'.join(filter(None, (stage, str(step))))}", dict[str, dict[str, Any]]()
        try:
            keep = _keep_attributes(found)
            run(*loaded(), place, fresh=True, callbacks={"stop": _StopAt(stage, step)}, observe=keep)
        except Preempted:
            stopped = RunFolder.unfinished(place, loaded()[0])
            assert stopped is not None
            resume(stopped, load_plugins(), allow_local_plugins=allow_local_plugins, observe=keep)
        else:
            raise AssertionError(f"a run with the same seed ended before step {step}; expected the same steps again")
        for name in stages:
            what = f"stopped after step {step}{' of ' + stage if stage else ''}"
            assert_same_outcome(whole.stage(name), stopped.stage(name), what if name == stage else f"{what}: {name}")
            _assert_same_attributes(wanted[name], found[name], ignore, what if name == stage else f"{what}: {name}")


def _stops(stops: Iterable[int] | None, last: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return the stages and steps after which to stop a run.

    Args:
        stops: as given by the user.
        last: the last step of each stage.
    """
    longest = max(last.values())
    if longest <= 1 and stops is None:
        warnings.warn("the run takes one step, so there is nothing to resume; check a longer one", stacklevel=3)
        return []
    if stops is None:
        shares: dict[str, tuple[int, ...]] = {name: (1, end // 3, 2 * end // 3, end - 1) for name, end in last.items()}
    else:
        chosen = tuple(stops)
        if late := [step for step in chosen if step >= longest]:
            raise AssertionError(
                f"stops = {chosen}: the run ended after step {longest}, so it cannot be stopped after step {late[0]} "
                "and resumed; choose earlier stops, or make the run longer"
            )
        shares = dict.fromkeys(last, chosen)
    return [(name, step) for name, end in last.items() for step in sorted(set(shares[name])) if 0 < step < end]


def _last_step(folder: Path) -> int:
    """Return the number of steps that a stage took."""
    checkpoint = Checkpoints(folder / "checkpoints").latest()
    assert checkpoint is not None
    return step_of(checkpoint)


def _keep_attributes(kept: dict[str, dict[str, Any]]) -> Observe:
    """Return what keeps the attributes of the trainer of each stage."""

    def keep(stage: str, components: TrainingComponents) -> None:
        kept[stage] = plain_attributes(components.trainer)

    return keep


def _assert_same_attributes(
    wanted: Mapping[str, Any], found: Mapping[str, Any], ignore: Collection[str], what: str
) -> None:
    # What one of the two has never set, as no step needed it, the next step does not depend on.
    for name in [name for name in wanted if name in found and name not in ignore]:
        if place := difference(wanted[name], found[name]):
            raise AssertionError(
                f"{what}: {name}{place.strip()} of the trainer differs at the end of the run from that of an "
                f"uninterrupted one{_values(wanted[name], found[name])}; save it in state_dict() and restore it in "
                f'load_state_dict(). If no later step depends on it: check_resume(…, ignore=["{name}"])'
            )


def _values(wanted: Any, found: Any) -> str:
    short = [shown(value) for value in (found, wanted) if value is None or isinstance(value, (int, float, str))]
    return f" ({short[0]}, uninterrupted {short[1]})" if len(short) == 2 else ""


def comparable_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a stage's ``metrics.jsonl`` without the values that depend on the clock."""
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
                f"{names[0]} is {other.get(names[0])}, uninterrupted {right[names[0]]}" if names else json.dumps(other)
            )
            raise AssertionError(f"{what}: at step {right['step']}, {difference}")
    assert len(wanted) == len(found), f"{what}: {len(found)} lines of metrics, uninterrupted {len(wanted)}"
    last = [Checkpoints(folder / "checkpoints").latest() for folder in (whole, stopped)]
    assert last[0] is not None
    assert last[1] is not None
    assert (last[0] / WEIGHTS).read_bytes() == (last[1] / WEIGHTS).read_bytes(), f"{what}: the final weights differ"
