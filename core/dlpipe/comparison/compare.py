"""The comparison of runs: what differs, their metrics, and whether the scores differ by more than noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dlpipe.comparison.find_runs import find_runs
from dlpipe.comparison.groups import Group, differences, grouped
from dlpipe.comparison.run_result import RunResult
from dlpipe.config.pipeline import different_meanings
from dlpipe.errors import InputError, RunFolderError
from dlpipe.messages import shown_number
from dlpipe.scores.judged_examples import JudgedExamples
from dlpipe.scores.statistics import (
    CONFIDENCE,
    Array,
    Estimate,
    Scores,
    mean_and_spread,
    over_both,
    over_examples,
    over_seeds,
    sign_test,
)


@dataclass(frozen=True)
class Disagreements:
    """Test examples of which one pipeline does better than the other.

    Args:
        first: those of which the first one does better: row, name, and what each run said.
        second: those of which the second one does.
        equal: how many are left.
        are_right: whether better means right where the other is wrong.
        p: of McNemar's exact test; None if it does not apply (several seeds).
    """

    first: list[dict[str, Any]]
    second: list[dict[str, Any]]
    equal: int
    are_right: bool
    p: float | None


@dataclass(frozen=True)
class Pair:
    """Two groups compared by a metric.

    Args:
        estimates: of the difference, the second minus the first: "examples", "seeds" and "both", as far as known.
        disagreements: None without predictions, or if it is not known whether higher or lower is better.
        notes: what was not tested, and why.
    """

    first: Group
    second: Group
    metric: str
    goal: str
    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    disagreements: Disagreements | None = None
    notes: tuple[str, ...] = ()

    @property
    def estimate(self) -> Estimate | None:
        """The one that decides: the one that takes most into account."""
        return next((self.estimates[kind] for kind in ("both", "seeds", "examples") if kind in self.estimates), None)

    @property
    def verdict(self) -> str:
        """The result in a sentence."""
        one, other, found = self.first.label, self.second.label, self.estimate
        if found is None:
            return f"{one} and {other} cannot be tested: {'; '.join(self.notes) or 'a run has no score'}"
        value, low, high = shown_estimate(found)
        interval = f"{CONFIDENCE:.0%} interval {low} to {high}, p = {found.p:.2g}; {found.method}"
        if not found.differs:
            return f"no difference beyond noise between {one} and {other}: {value} ({interval})"
        if not self.goal:
            return f"{other} differs from {one} by {value} ({interval})"
        word = "better" if (found.value > 0) == (self.goal == "max") else "worse"
        return f"{other} is {word} than {one}: {value} ({interval})"


@dataclass(frozen=True)
class Comparison:
    """Runs, compared.

    Args:
        metric: by which they are compared, such as "test/digits/accuracy"; empty if fewer than two runs have metrics.
        goal: "max", "min", or empty if unknown.
        differences: by topic and name, the value in each group.
        pairs: each other group against the first one.
    """

    groups: list[Group]
    metric: str
    goal: str
    differences: Mapping[str, Mapping[str, Mapping[str, str]]]
    pairs: list[Pair]
    notes: list[str]

    @property
    def metrics(self) -> list[str]:
        """The names of all metrics: the one compared by, then those on test, on dev and on train."""
        names = dict.fromkeys(name for group in self.groups for run in group.scored for name in run.metrics)
        order = ("test", "dev", "train")
        return sorted(names, key=lambda name: (name != self.metric, order.index(name.partition("/")[0])))

    def plain(self) -> dict[str, Any]:
        """Return everything, JSON-serializable."""
        return {
            "metric": self.metric,
            "goal": self.goal,
            "confidence": CONFIDENCE,
            "groups": [_plain_group(group, self.metrics) for group in self.groups],
            "differences": self.differences,
            "comparisons": [_plain_pair(pair) for pair in self.pairs],
            "notes": self.notes,
        }


def shown_estimate(found: Estimate) -> tuple[str, str, str]:
    """Return a difference and the ends of its interval for a person, with the decimals that suit the largest one."""
    numbers = found.value, found.low, found.high
    largest = max((abs(number) for number in numbers if math.isfinite(number)), default=0.0)
    value, low, high = (shown_number(number, like=largest, sign="+") for number in numbers)
    return value, low, high


def compare(runs: Sequence[RunResult], metric: str = "") -> Comparison:
    """Compare runs; each group with the first one.

    Args:
        metric: to compare by, such as "test/slots/f1"; empty for the one that the first run is judged by.

    Raises:
        InputError: there are fewer than two runs, or they have no such metric in common.
    """
    if len(runs) < 2:
        found = f"only {runs[0].name}" if runs else "none"
        raise InputError(f"dlpipe compare needs at least two runs; found {found}")
    groups = grouped(runs)
    ended = [group for group in groups if group.scored]
    notes = [f"{run.name} is {run.state}: it is not compared" for run in runs if run.state != "finished"]
    notes += [f"{run.name} has no metrics" for run in runs if run.state == "finished" and not run.metrics]
    notes += [
        f"{run.name} repeats seed {run.seed} of {group.label} and does not count"
        for group in groups
        for run in group.repeated
    ]
    notes += [f"{run.name} is a run with --fast: only a few steps" for run in runs if run.provenance.get("fast")]
    if len(ended) < 2:
        notes.append("fewer than two finished runs have metrics, so nothing is tested")
        return Comparison(groups, "", "", differences(groups), [], notes)
    metric = _metric_of(ended, metric)
    evaluator = metric.split("/")[1]
    meanings = [run.stage.primary_depends_on.get(evaluator, {}) for group in ended for run in group.scored]
    if incomparable := different_meanings(metric, meanings):
        notes.append(f"nothing is tested: {incomparable}")
        return Comparison(groups, metric, "", differences(groups), [], notes)
    goal = _goal_of(ended, metric)
    pairs = [_pair(ended[0], other, metric, goal) for other in ended[1:]]
    if not goal:
        notes.append(
            f"it is not known whether higher or lower {metric} is better; that is known for primary metrics only"
        )
    if len(pairs) > 1:
        notes.append(f"{len(pairs)} comparisons: each finds a difference where there is none in 10 of 100 cases")
    return Comparison(groups, metric, goal, differences(groups), pairs, notes)


def compare_folders(
    names: Sequence[str], runs: Path = Path("runs"), *, last: int | None = None, metric: str = ""
) -> Comparison:
    """Compare the runs that a person names; see `dlpipe.comparison.find_runs.find_runs` and `compare`."""
    return compare([RunResult(folder) for folder in find_runs(names, runs, last)], metric)


def _metric_of(groups: Sequence[Group], wanted: str) -> str:
    """Return the metric to compare by, which all groups have."""
    runs = [run for group in groups for run in group.scored]
    common = [name for name in runs[0].metrics if all(name in run.metrics for run in runs)]
    if wanted and wanted not in common:
        raise InputError(f"--metric {wanted}: not all runs have it; common to all: {', '.join(common) or 'none'}")
    if not common:
        known = "; ".join(f"{run.name} has {', '.join(run.metrics)}" for run in runs)
        raise InputError(f"the runs have no metric in common: {known}")
    judged = [run.score_name for run in runs]
    return wanted or next((name for name in judged if name in common), common[0])


def _goal_of(groups: Sequence[Group], metric: str) -> str:
    """Return whether a metric should grow or fall, "max" or "min"; empty if the runs do not say so."""
    name = metric.partition("/")[2]
    stages = [run.stage for group in groups for run in group.scored]
    goals = [{stage.judged_by: stage.goal, **stage.known.get("goals", {})} for stage in stages]
    return next((known[name] for known in goals if name in known), "")


def _pair(one: Group, other: Group, metric: str, goal: str) -> Pair:
    notes: list[str] = []
    estimates: dict[str, Estimate] = {}
    disagreements = None
    paired = one.seeds == other.seeds
    first, second = (np.array(group.values(metric)) for group in (one, other))
    if several := min(len(first), len(second)) > 1:
        estimates["seeds"] = over_seeds(first, second, paired=paired)
    aligned = _aligned(one, other, metric, notes)
    if aligned:
        scores, others, lines = aligned
        estimates["examples"] = over_examples(scores, others)
        if several:
            estimates["both"] = over_both(scores, others, paired=paired)
        disagreements = _disagreements(scores, others, lines, goal) if goal else None
    if not several:
        notes.append(
            "one seed only: this is about these trained models; to compare the pipelines, train several seeds of each"
        )
    return Pair(one, other, metric, goal, estimates, disagreements, tuple(notes))


def _aligned(
    one: Group, other: Group, metric: str, notes: list[str]
) -> tuple[Scores, Scores, list[list[dict[str, Any]]]] | None:
    """Return the scores of both groups on the examples that all their runs keep, and these lines by run and example.

    What speaks against it is added to the notes.
    """
    runs = [*one.scored, *other.scored]
    split, _, short = metric.partition("/")
    if split != "test":
        notes.append(f"no test over examples: {metric} is on {split}, and predictions are kept of test only")
        return None
    for run in runs:
        if run.fingerprints.get(run.stage.name) != runs[0].fingerprints.get(run.stage.name):
            notes.append(f"no test over examples: the data of {runs[0].name} and {run.name} differs")
            return None
    found: list[JudgedExamples] = []
    for run in runs:
        try:
            examples = run.examples(short)
        except RunFolderError as error:
            notes.append(f"no test over examples: {error}")
            return None
        if examples is None or examples.unknown or not examples.weights.any():
            what = (
                "keeps no predictions"
                if examples is None
                else f"has {examples.unknown} examples without a finite score"
            )
            notes.append(f"no test over examples: {run.name} {what} of {short}")
            return None
        found.append(examples)
    rows = sorted(set.intersection(*(set(each.rows) for each in found)))
    chosen = [
        [by_row[row] for row in rows] for by_row in ({line["row"]: line for line in each.lines} for each in found)
    ]
    for run, lines in zip(runs, chosen, strict=True):
        if different := [a for a, b in zip(chosen[0], lines, strict=True) if _example(a) != _example(b)]:
            notes.append(
                f"no test over examples: {len(different)} examples of {runs[0].name} and {run.name} are not the same, "
                f"such as row {different[0]['row']}"
            )
            return None
    if len(rows) < 2:
        notes.append(f"no test over examples: the runs keep {len(rows)} examples in common")
        return None
    if len(rows) < max(len(each.rows) for each in found):
        notes.append(f"the runs keep {len(rows):,} test examples in common; only these are tested")
    parts = [JudgedExamples(lines) for lines in chosen]
    count = len(one.scored)
    return _scores(parts[:count]), _scores(parts[count:]), chosen


def _example(line: Mapping[str, Any]) -> tuple[Any, Any]:
    return line.get("name"), line.get("true")


def _scores(parts: Sequence[JudgedExamples]) -> Scores:
    return Scores(np.stack([each.scores for each in parts]), np.stack([each.weights for each in parts]))


def _disagreements(
    one: Scores, other: Scores, lines: Sequence[Sequence[Mapping[str, Any]]], goal: str
) -> Disagreements:
    everything = np.concatenate([one.scores, other.scores])
    weights = np.concatenate([one.weights, other.weights])
    # Where nothing counts (no slot, and none predicted), nothing is wrong either.
    best = (everything.min if goal == "min" else everything.max)(initial=0.0, where=weights > 0)
    means = [_mean_scores(each, best) * (-1 if goal == "min" else 1) for each in (one, other)]
    better = {place: int(means[1][place] > means[0][place]) for place in np.flatnonzero(means[0] != means[1]).tolist()}
    order = sorted(better, key=lambda place: -abs(means[1][place] - means[0][place]))
    sides = [
        [_disagreement([each[place] for each in lines]) for place in order if better[place] == side] for side in (0, 1)
    ]
    single = len(one.scores) == len(other.scores) == 1
    return Disagreements(
        sides[0],
        sides[1],
        equal=len(means[0]) - len(better),
        are_right=bool(np.isin(everything, (0, 1)).all()) and single,
        p=sign_test(len(sides[0]), len(sides[1])) if single else None,
    )


def _mean_scores(scores: Scores, best: float) -> Array:
    return np.asarray(np.where(scores.weights > 0, scores.scores, best).mean(0))


def _disagreement(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return an example, and what each run said of it."""
    example = {key: lines[0][key] for key in ("row", "name", "true") if key in lines[0]}
    said = {key: [line.get(key) for line in lines] for key in ("predicted", "score") if key in lines[0]}
    return example | said


def _plain_group(group: Group, metrics: Sequence[str]) -> dict[str, Any]:
    spread = {name: mean_and_spread(values) for name in metrics if (values := group.values(name))}
    return {
        "label": group.label,
        "runs": [
            {"run": run.name, "seed": run.seed, "state": run.state, "seconds": run.seconds, "metrics": run.metrics}
            for run in group.runs
        ],
        "metrics": {name: {"mean": mean, "standard_deviation": sd} for name, (mean, sd) in spread.items()},
    }


def _plain_pair(pair: Pair) -> dict[str, Any]:
    found = pair.disagreements
    return {
        "first": pair.first.label,
        "second": pair.second.label,
        "metric": pair.metric,
        "verdict": pair.verdict,
        "differs": pair.estimate.differs if pair.estimate else None,
        "estimates": {kind: estimate.plain() for kind, estimate in pair.estimates.items()},
        "examples": found and {**vars(found), "first_better": len(found.first), "second_better": len(found.second)},
        "notes": pair.notes,
    }
