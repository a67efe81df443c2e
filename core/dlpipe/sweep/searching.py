"""One process's part in a search: which trials it runs, and in which order. Does not import torch."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from dlpipe.errors import DlpipeError, InputError, PipelineError, PluginError
from dlpipe.messages import shown
from dlpipe.registry.installation import install_command
from dlpipe.registry.targets import load_target
from dlpipe.runs.folder import new_folder
from dlpipe.sweep.axes import Range
from dlpipe.sweep.planned import Sweep, Trial
from dlpipe.sweep.settings import SECONDS, Search
from dlpipe.sweep.table import Metric, Row, beside
from dlpipe.sweep.workers import Task, TrialKey

if TYPE_CHECKING:
    from dlpipe.sweep.study import Proposal, Study

#: Proposals in a row that cannot be used, since they repeat a trial or are not valid, before a search ends.
MAX_DISCARDED = 100


def require_optuna() -> None:
    """Raise a `PluginError` if a search cannot be made here."""
    if find_spec("optuna") is None:
        raise PluginError(
            f"[sweep.search] needs optuna, which is not installed; install with: {install_command('dlpipe[sweep]')}"
        )


@dataclass
class _Found:
    """A trial of the search, and the outcomes of its runs so far, by their index."""

    number: int
    trial: Trial
    outcomes: dict[int, Mapping[str, Any]]


class Searching:
    """A search, as this process sees it.

    Args:
        planned: a sweep with a search.
        task: what the tasks of all trials have in common.
        budget: seconds from the first trial on, after which no further one is started; None for no limit.
    """

    def __init__(self, planned: Sweep, task: Task, budget: float | None = None) -> None:
        require_optuna()
        assert planned.search
        assert planned.base
        self.sweep, self.search, self._task = planned, planned.search, task
        self._base = planned.base
        self._budget, self._deadline = budget, math.inf
        self._study: Study | None = None
        self._found: dict[int, _Found] = {}
        self._places: dict[int, tuple[int, int]] = {}  # by index of a task: the number of its trial, and of its run
        self.metric = Metric()
        self.ended_early = ""

    @property
    def total(self) -> int:
        """Runs of the whole search."""
        return self.search.trials * len(self.sweep.trials[0].pipelines)

    def tasks(self) -> Iterator[Task | None]:
        """Yield the tasks of this process, for `dlpipe.sweep.workers.work`.

        Trials whose process was killed come first, then new ones, and at the end those that other processes have
        proposed meanwhile, whose results are waited for.
        """
        yield replace(self._task, kind="describe")
        while self._study is None:
            yield None
        yield from self._tasks_of([proposal for proposal in self._study.proposals() if proposal.open])
        while proposed := self._propose(self._study):
            yield from self._tasks_of([proposed])
        yield from self._tasks_of(self._study.proposals())

    def completed(self, index: int, outcome: Mapping[str, Any]) -> bool:
        """Take the outcome of a task; return whether it was that of a run.

        Raises:
            DlpipeError: the pipeline itself cannot be used.
            InputError: a run does not give the metrics to compare by.
        """
        if index == 0:
            if outcome["state"] == "failed":
                raise DlpipeError(outcome["reason"])
            if outcome["state"] == "described":
                self._begin(outcome)
            return False
        if outcome["state"] not in ("claimed", "stopped"):
            number, run = self._places[index]
            found = self._found[number]
            found.outcomes[run] = outcome
            self._require_metrics(outcome)
            if len(found.outcomes) == len(found.trial.pipelines):
                self._tell(found)
        return True

    def label(self, index: int) -> str:
        """Return what the run of a task is called."""
        number, run = self._places[index]
        trial = self._found[number].trial
        named = [f"{axis} = {name}" for axis, name in trial.choices.items()]
        return f"trial {number + 1}: {', '.join(filter(None, [*named, trial.run_name(run)]))}"

    def rows(self) -> list[Row]:
        """Return the trials whose runs have all ended, in the order in which they were proposed."""
        complete = [f for _, f in sorted(self._found.items()) if len(f.outcomes) == len(f.trial.pipelines)]
        return [Row(found.trial, tuple(found.outcomes[run] for run in sorted(found.outcomes))) for found in complete]

    def result(self) -> Sweep:
        """Return the sweep with its trials and metrics as they turned out."""
        shown_too = [each.name for each in self.metric.others if each.name != SECONDS]
        others = [name for each in self.metric.objectives for name in beside(each)]
        known = {name for row in self.rows() for outcome in row.done for name in outcome["metrics"]}
        named = [name for name in (self.sweep.metric, *self.sweep.further) if name]
        further = dict.fromkeys([*shown_too, *(name for name in others if name in known), *named])
        further.pop(self.metric.name, None)
        trials = tuple(row.trial for row in self.rows())
        return replace(self.sweep, trials=trials, metric=self.metric.name, further=tuple(further))

    def _begin(self, described: Mapping[str, Any]) -> None:
        """Open the search of this pipeline as it is now: with other code or data, it is another search."""
        search, settings = self.search, self._base.settings
        names = search.metrics or ((f"dev/{described['primary']}",) if described.get("primary") else ())
        if not names:
            raise InputError("[sweep.search] no evaluator has a metric to compare by; add one, or metric and goal")
        known = {**described["goals"], SECONDS: "min"}
        goals = search.goals or tuple(known.get(name, "") for name in names)
        for name, goal in zip(names, goals, strict=True):
            if not goal:
                raise InputError(
                    f'[sweep.search] metric = {shown(name)}: is higher or lower better? Add goal = "max" or "min"'
                )
            if name != SECONDS and (incomparable := self.sweep.incomparable(name)):
                raise InputError(f"[sweep.search] {incomparable}")
        first, *others = (Metric(name, goal) for name, goal in zip(names, goals, strict=True))
        self.metric = replace(first, others=tuple(others))
        sweeps = self._task.runs / settings.name / "sweeps"
        if self._task.fast or self._task.fresh:
            folder = new_folder(sweeps, "search-")
        else:
            folder = sweeps / f"search-{self._digest(described['identity'], names, goals)}"
        if self._budget is not None:
            self._deadline = time.monotonic() + self._budget
        seed = settings.seed if search.seed is None else search.seed
        self._study = load_target("dlpipe.sweep.study:Study")(folder, search, seed, self.sweep.axes, goals)

    def _digest(self, identity: str, names: tuple[str, ...], goals: tuple[str, ...]) -> str:
        axes = {
            key: vars(axis) if isinstance(axis, Range) else [vars(choice) for choice in axis]
            for key, axis in self.sweep.axes.items()
        }
        search: Search = self.search
        first = self.sweep.trials[0]
        runs = first.averaged, len(first.pipelines)
        decides = [identity, axes, search.method, search.seed, search.pruner, names, goals, runs]
        return hashlib.sha256(json.dumps(decides, sort_keys=True, default=str).encode()).hexdigest()[:12]

    def _propose(self, study: Study) -> Proposal | None:
        """Return a new trial; None if there are enough, or if the time is over."""
        if time.monotonic() >= self._deadline:
            self.ended_early = "the budget is used up"
            return None
        with study.proposing():
            known = study.proposals()
            if len(known) >= self.search.trials:
                return None
            for _ in range(MAX_DISCARDED):
                proposed = study.propose()
                same = next((other.number for other in known if other.point == proposed.point), None)
                if same is not None:
                    study.discard(proposed.number, f"repeats trial {same + 1}")
                    continue
                try:
                    self._add(proposed)
                except PipelineError as error:
                    study.discard(proposed.number, str(error))
                    continue
                return proposed
        self.ended_early = f"{MAX_DISCARDED} proposals in a row repeat a trial or are not valid"
        return None

    def _add(self, proposed: Proposal) -> None:
        assert self.sweep.make
        self._found[proposed.number] = _Found(proposed.number, self.sweep.make(proposed.point), {})

    def _tasks_of(self, proposals: list[Proposal]) -> Iterator[Task]:
        """Yield the tasks of trials, except those that this process has had."""
        begun = {number for number, _ in self._places.values()}
        for proposal in proposals:
            if proposal.number in begun:
                continue
            if proposal.number not in self._found:
                self._add(proposal)
            key = self._key(proposal.number)
            for run, pipeline in enumerate(self._found[proposal.number].trial.pipelines):
                self._places[len(self._places) + 1] = proposal.number, run
                yield replace(self._task, pipeline=pipeline, trial=key)

    def _key(self, number: int) -> TrialKey:
        assert self._study
        return TrialKey(self._study.folder, number, self.metric.name, self.search.pruner)

    def _require_metrics(self, outcome: Mapping[str, Any]) -> None:
        missing = [
            each.name for each in self.metric.objectives if each.name not in (SECONDS, *outcome.get("metrics", ()))
        ]
        if missing and outcome["state"] == "finished":
            raise InputError(
                f"[sweep.search] metric = {shown(missing[0])}: a run gives "
                f"{', '.join(outcome['metrics']) or 'no metrics'}. The search stops here"
            )

    def _tell(self, found: _Found) -> None:
        """Tell the search the outcome of a trial. One that failed stays open: it is tried again by the next command."""
        assert self._study
        states = {outcome["state"] for outcome in found.outcomes.values()}
        if "pruned" in states:
            self._study.tell(found.number, None)
        elif states == {"finished"}:
            row = Row(found.trial, tuple(found.outcomes.values()))
            means = [row.mean(each.name) for each in self.metric.objectives]
            if None not in means:
                self._study.tell(found.number, [mean for mean in means if mean is not None])
