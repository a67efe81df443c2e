"""Settings that make the steps of a pipeline faster, and what they change of the numbers: both are measured."""

from __future__ import annotations

import contextlib
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from dlpipe.compute import configure_torch
from dlpipe.config.pipeline import Pipeline, Stage
from dlpipe.config.settings import Settings
from dlpipe.data.columns import Columns
from dlpipe.engine.build import FindModel, TrainingComponents, build_for_training, opened_data
from dlpipe.engine.inference import find_in
from dlpipe.engine.measure import WARM_UP, stepper
from dlpipe.engine.planning import alone
from dlpipe.engine.starting_weights import TrainedModel
from dlpipe.errors import HOW_TO_DEBUG, DlpipeError, InputError
from dlpipe.launch import usable_cores
from dlpipe.messages import shown
from dlpipe.protocols import Data
from dlpipe.training.trainer_state import own_total_steps

Clock = Callable[[], float]
#: Rounds of a comparison, and how many steps in a row each of the two takes in a round.
ROUNDS, IN_A_ROW = 7, 5
#: Seconds of a comparison after which it ends with the round that is under way.
SECONDS = 20.0
#: A smaller gain counts as noise, whatever the unchanged pipeline says when it is compared with itself.
NOISE = 0.05
#: Relative difference of a metric up to which only the order of additions can have changed.
ROUNDING = 1e-4


@dataclass(frozen=True)
class Alternative:
    """A key whose values are tried.

    Args:
        table: "trainer", or "" for a key at the top of the file.
        key: its name; a pipeline without it (a trainer without such a parameter) is left alone.
        values: what to try with a stage and its data, besides the value that it has.
    """

    table: str
    key: str
    values: Callable[[Stage, Data], Iterable[Any]]


def _powers_of_two() -> list[int]:
    """Return 1, 2, 4 … up to the number of cores, which is the last one."""
    cores = usable_cores()
    return [*itertools.takewhile(lambda count: count < cores, (2**power for power in range(20))), cores]


def _if_on_cuda(stage: Stage, data: Data) -> Iterable[bool]:
    return (True,) if torch.cuda.is_available() else ()


def _if_compiled(stage: Stage, data: Data) -> Iterable[bool]:
    return (True,) if stage.trainer.component.spec.compile else ()


def _counts_of_workers(stage: Stage, data: Data) -> Iterable[int]:
    """Return numbers of processes that read data, if it is read item by item."""
    return () if isinstance(data.split("train"), Columns) else (0, *_powers_of_two())


ALTERNATIVES: Sequence[Alternative] = (
    Alternative("", "threads", lambda stage, data: _powers_of_two()),
    Alternative("trainer", "num_workers", _counts_of_workers),
    Alternative("", "precision", lambda stage, data: ("bfloat16",)),
    Alternative("", "tf32", _if_on_cuda),
    Alternative("", "compile", _if_compiled),
)


@dataclass(frozen=True)
class Comparison:
    """How some values compare with those of the unchanged pipeline.

    Args:
        values: by their path in the file, such as ``trainer.num_workers``.
        gain: median over the rounds of how many times as fast the steps are.
        difference: largest relative difference of a metric in the first steps (later, training makes a difference
            larger and larger), or in all if those are the same; None if all have the same bits.
        problem: why nothing was measured, in words.
    """

    values: Mapping[str, Any]
    gain: float = 0.0
    rounds: int = 0
    difference: float | None = None
    problem: str = ""

    @property
    def numbers(self) -> str:
        """What the values do to the numbers, in words."""
        if self.difference is None:
            return "same bits"
        if self.difference <= ROUNDING:
            return f"same up to rounding ({self.difference:.0e} of a metric in the first steps)"
        return f"changes the numbers ({self.difference:.0e} of a metric in the first steps)"

    @property
    def patch(self) -> str:
        """What to write into the pipeline file, as TOML."""
        tables: dict[str, list[str]] = {"": []}
        for path, value in self.values.items():
            table, _, key = path.rpartition(".")
            tables.setdefault(table, []).append(f"{key} = {shown(value)}")
        parts = [
            [f"# {self.gain:.2f} times as fast, the median of {self.rounds} rounds; {self.numbers}"],
            tables.pop(""),
        ]
        parts += [["", f"[{table}]", *lines] for table, lines in tables.items()]
        return "\n".join(line for part in parts for line in part)


@dataclass(frozen=True)
class Tuning:
    """What was tried.

    Args:
        stage: the one that was measured.
        noise: a gain up to this is none: that of the unchanged pipeline compared with itself, at least `NOISE`.
        best: the values with the largest gain, if that is more than noise; of several keys, all together.
    """

    stage: str
    noise: float
    tried: list[Comparison]
    best: Comparison | None

    def plain(self) -> dict[str, Any]:
        """Return it, JSON-serializable."""
        tried = [vars(each) | {"numbers": each.numbers} for each in self.tried]
        best = self.best and vars(self.best) | {"numbers": self.best.numbers, "patch": self.best.patch}
        return {"stage": self.stage or "pipeline", "noise": self.noise, "tried": tried, "best": best}


def tune(
    load: Callable[[Sequence[str]], Pipeline],
    stage: str,
    models: Mapping[str, TrainedModel],
    *,
    alternatives: Sequence[Alternative] = ALTERNATIVES,
    clock: Clock = time.perf_counter,
) -> Tuning:
    """Compare the steps of a stage with those of alternatives, a few of each in turn.

    Args:
        load: returns the pipeline with some assignments, such as ``"threads=2"``.
        models: of earlier stages, by name.

    Raises:
        InputError: the stage has too few steps.
    """
    threads = torch.get_num_threads()
    pipeline = load(())
    find_model = find_in(models, pipeline)
    with contextlib.ExitStack() as closing:
        closing.enter_context(alone(pipeline))
        closing.callback(torch.set_num_threads, threads)
        data = closing.enter_context(opened_data(pipeline.settings, pipeline.stages[stage], find_model))
        tuner = _Tuner(load, stage, find_model, data, threads, clock)
        noise = max(NOISE, abs(tuner.compare({}).gain - 1))
        tried: list[Comparison] = []
        fastest: list[Comparison] = []
        for alternative in alternatives:
            compared = [tuner.compare(values) for values in tuner.values_of(alternative)]
            tried += compared
            fastest += sorted((each for each in compared if each.gain > 1 + noise), key=lambda each: -each.gain)[:1]
        if len(fastest) > 1:
            fastest.append(tuner.compare({path: value for each in fastest for path, value in each.values.items()}))
    return Tuning(stage, noise, tried, max(fastest, key=lambda each: each.gain, default=None))


class _Tuner:
    """Compares values with those of the unchanged pipeline."""

    def __init__(
        self,
        load: Callable[[Sequence[str]], Pipeline],
        stage: str,
        find_model: FindModel,
        data: Data,
        threads: int,
        clock: Clock,
    ) -> None:
        self._load, self._stage, self._find_model, self._clock = load, stage, find_model, clock
        self._data, self._threads = data, threads

    def values_of(self, alternative: Alternative) -> list[dict[str, Any]]:
        """Return the values of an alternative that are not those of the pipeline, by path."""
        pipeline = self._load(())
        stage = pipeline.stages[self._stage]
        known = stage.trainer.values if alternative.table else vars(pipeline.settings)
        if alternative.key not in known:
            return []
        now = known[alternative.key]
        if alternative.key == "threads":
            now = now or self._threads
        place = f"stages.{self._stage}." if self._stage and alternative.table else ""
        path = f"{place}{alternative.table}.{alternative.key}".lstrip(".")
        return [{path: value} for value in alternative.values(stage, self._data) if value != now]

    def compare(self, values: Mapping[str, Any]) -> Comparison:
        """Take the same steps with both, a few of each in turn."""
        try:
            changed = self._load([f"{path}={shown(value)}" for path, value in values.items()])
            with self._side(self._load(())) as one, self._side(changed) as other:
                gains = self._gains(one, other)
        except DlpipeError as error:
            if not values:
                raise
            return Comparison(values, problem=str(error).removesuffix(f". {HOW_TO_DEBUG}"))
        difference = _difference(one.metrics[:WARM_UP], other.metrics) or _difference(one.metrics, other.metrics)
        return Comparison(values, statistics.median(gains), len(gains), difference)

    def _gains(self, one: _Side, other: _Side) -> list[float]:
        rounds = min(ROUNDS, (one.total - WARM_UP) // IN_A_ROW)
        if rounds < 1:
            raise InputError(f"{one.total} steps are too few to compare; expected at least {WARM_UP + IN_A_ROW}")
        for side in (one, other):
            side.take(WARM_UP)
        gains: list[float] = []
        started = self._clock()
        while len(gains) < rounds and (not gains or self._clock() - started < SECONDS):
            order = (one, other) if len(gains) % 2 == 0 else (other, one)
            seconds = {side: side.take(IN_A_ROW) for side in order}
            gains.append(seconds[one] / seconds[other])
        return gains

    @contextlib.contextmanager
    def _side(self, pipeline: Pipeline) -> Iterator[_Side]:
        settings = pipeline.settings
        settings = replace(settings, threads=settings.threads or self._threads)
        stage = pipeline.stages[self._stage]
        with build_for_training(settings, stage, self._find_model, data=self._data) as components:
            yield _Side(settings, stage, components, self._clock)


class _Side:
    """One of two pipelines that take steps in turn, each with settings of its own.

    Attributes:
        metrics: of all steps.
    """

    def __init__(self, settings: Settings, stage: Stage, components: TrainingComponents, clock: Clock) -> None:
        trainer = components.trainer
        self.metrics: list[Mapping[str, float]] = []
        self._settings, self._clock, self._device = settings, clock, components.compute.device
        total = stage.options.budget.total_steps(trainer.steps_per_epoch, own_total_steps(trainer))
        self.total = WARM_UP + ROUNDS * IN_A_ROW if total is None else total
        self._take_step = stepper(stage, trainer)

    def take(self, count: int) -> float:
        """Take some steps, and return how many seconds they took."""
        configure_torch(self._settings)  # seeds the random numbers, too: the same ones for both
        self._wait()
        started = self._clock()
        taken = [self._take_step() for _ in range(count)]
        self._wait()
        seconds = self._clock() - started
        self.metrics += [{name: float(value) for name, value in metrics.items()} for metrics in taken]
        return seconds

    def _wait(self) -> None:
        if self._device.type != "cpu":
            torch.accelerator.synchronize()


def _difference(one: Sequence[Mapping[str, float]], other: Sequence[Mapping[str, float]]) -> float | None:
    """Return the largest relative difference between the metrics of the same steps, None if there is none at all."""
    largest: float | None = None
    for metrics, others in zip(one, other, strict=False):
        for name in metrics.keys() | others.keys():
            left, right = metrics.get(name, math.nan), others.get(name, math.nan)
            if left != right and not (math.isnan(left) and math.isnan(right)):
                relative = abs(left - right) / max(abs(left), abs(right))
                largest = max(largest or 0.0, math.inf if math.isnan(relative) else relative)
    return largest
