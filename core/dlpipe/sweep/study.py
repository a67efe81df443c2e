"""A search that several processes share: what was proposed, what came of it, and what to try next.

The proposals are Optuna's, and so are the decisions to stop a trial early.
"""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from dlpipe.runs.atomic import locked
from dlpipe.sweep.axes import Axis, Choice, Range
from dlpipe.sweep.journal import JournalFile
from dlpipe.sweep.settings import Search
from dlpipe.sweep.workers import TrialKey

STUDY = "search"
DISCARDED, PRUNED_RUN, EVALUATED = "discarded", "pruned run", "evaluated at"
_DIRECTIONS = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}


@dataclass(frozen=True)
class Proposal:
    """A trial of a search.

    Args:
        point: a choice on each axis.
        open: whether its outcome is not known yet.
    """

    number: int
    point: dict[str, Choice]
    open: bool = True


class Study:
    """A search in a folder; it is created there, or continued.

    Args:
        seed: of the proposals; the proposal for a number depends on nothing else but the trials before.
        goals: "max" or "min" for each objective.
    """

    def __init__(self, folder: Path, search: Search, seed: int, axes: Mapping[str, Axis], goals: Sequence[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._axes, self._search, self._seed = axes, search, seed
        self._distributions = distributions(axes)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = optuna.create_study(
            storage=JournalStorage(JournalFile(folder)),
            study_name=STUDY,
            directions=[_DIRECTIONS[goal] for goal in goals],
            load_if_exists=True,
        )

    @contextlib.contextmanager
    def proposing(self) -> Iterator[None]:
        """Let no other process propose a trial meanwhile, and discard what one left that was killed while it did."""
        with locked(self.folder / ".proposals.lock"):
            for trial in self._trials():
                if trial.state == TrialState.RUNNING and set(trial.params) != set(self._axes):
                    self.discard(trial.number, "the process that proposed it was killed")
            yield

    def proposals(self) -> list[Proposal]:
        """Return the trials so far, except those that were discarded."""
        return [self._proposal(trial) for trial in self._trials() if set(trial.params) == set(self._axes)]

    def propose(self) -> Proposal:
        """Return a new trial; other processes see it from now on."""
        number = len(self._study.get_trials(deepcopy=False))
        self._study.sampler = _sampler(self._search.method, self._seed, number)
        self._study.pruner = _pruner(self._search.pruner, [])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return self._proposal(self._study.ask(self._distributions))

    def discard(self, number: int, why: str) -> None:
        """Record that a trial will not be run, and why."""
        trial = self._study.get_trials(deepcopy=False)[number]
        self._study._storage.set_trial_user_attr(trial._trial_id, DISCARDED, why)
        self._study.tell(number, state=TrialState.FAIL)

    def tell(self, number: int, values: Sequence[float] | None) -> None:
        """Record the outcome of a trial, unless another process has: its objectives, or None if it was pruned."""
        state = TrialState.PRUNED if values is None else TrialState.COMPLETE
        self._study.sampler = _sampler(self._search.method, self._seed, number)
        self._study.tell(number, values, state, skip_if_finished=True)

    def _trials(self) -> list[FrozenTrial]:
        return [t for t in self._study.get_trials(deepcopy=False) if t.state != TrialState.FAIL]

    def _proposal(self, trial: FrozenTrial | optuna.Trial) -> Proposal:
        point = {key: _choice(axis, trial.params[key]) for key, axis in self._axes.items()}
        state = trial.state if isinstance(trial, FrozenTrial) else TrialState.RUNNING
        return Proposal(trial.number, point, state == TrialState.RUNNING)


class TrialRecord:
    """What a run of a trial tells the search, and hears from it."""

    def __init__(self, key: TrialKey) -> None:
        self._key = key
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._storage = JournalStorage(JournalFile(key.folder))
        self._study = optuna.load_study(storage=self._storage, study_name=STUDY)
        self._id = self._trial()._trial_id

    def _trial(self) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[self._key.number]

    def should_be_pruned(self, step: int, value: float) -> bool:
        """Record the metric of an evaluation, and return whether the trial should end here.

        The median is that of the evaluations with the same number, as trials may have other steps, such as by their
        batch sizes. Hyperband shares out steps, and does not need the same ones.
        """
        if self._trial().state != TrialState.RUNNING:
            return False
        number = self._number_of(step) if self._key.pruner == "median" else step
        self._storage.set_trial_intermediate_value(self._id, number, value)
        pruner = _pruner(self._key.pruner, self._study.get_trials(deepcopy=False))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return bool(pruner.prune(self._study, self._trial()))

    def _number_of(self, step: int) -> int:
        """Return the number of the evaluation at a step, from 1; a resumed run may repeat some."""
        steps = sorted({step, *self._trial().user_attrs.get(EVALUATED, ())})
        self._storage.set_trial_user_attr(self._id, EVALUATED, steps)
        return steps.index(step) + 1

    @property
    def pruned_run(self) -> str:
        """The name of the run folder that was pruned as this trial, or empty."""
        return str(self._trial().user_attrs.get(PRUNED_RUN, ""))

    @pruned_run.setter
    def pruned_run(self, name: str) -> None:
        self._storage.set_trial_user_attr(self._id, PRUNED_RUN, name)


def distributions(axes: Mapping[str, Axis]) -> dict[str, BaseDistribution]:
    """Return what Optuna draws from, by axis; of a list, the names of its choices."""
    return {key: _distribution(axis) for key, axis in axes.items()}


def _distribution(axis: Axis) -> BaseDistribution:
    if not isinstance(axis, Range):
        return CategoricalDistribution([choice.name for choice in axis])
    if axis.whole:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.scale == "log", step=int(axis.step or 1))
    return FloatDistribution(axis.low, axis.high, log=axis.scale == "log", step=axis.step)


def _choice(axis: Axis, drawn: Any) -> Choice:
    if isinstance(axis, Range):
        return axis.choice(drawn)
    return next(choice for choice in axis if choice.name == drawn)


def _sampler(method: str, seed: int, number: int) -> BaseSampler:
    """Return a sampler for one trial: all that it draws follows from the seed, the number and the earlier trials."""
    own = int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4], "big")
    return RandomSampler(seed=own) if method == "random" else TPESampler(seed=own)


def _pruner(name: str, trials: Sequence[FrozenTrial]) -> BasePruner:
    if name == "median":
        return MedianPruner()
    if name == "hyperband":
        first = [min(trial.intermediate_values) for trial in trials if trial.intermediate_values]
        return HyperbandPruner(min_resource=max(1, min(first, default=1)))
    return NopPruner()
