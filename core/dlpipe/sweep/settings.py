"""The table ``[sweep.search]``: how a sweep searches its axes instead of running all their combinations."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dlpipe.messages import nearest, shown

METHODS = ("random", "tpe")
PRUNERS = ("none", "median", "hyperband")
GOALS = ("max", "min")
KEYS = ("method", "trials", "seed", "pruner", "metric", "goal")
#: An objective that every run has: seconds of training.
SECONDS = "seconds"


@dataclass(frozen=True)
class Search:
    """A checked ``[sweep.search]``.

    Args:
        method: "random", or "tpe": the tree-structured Parzen estimator, which learns from the trials so far.
        trials: in all, over all processes that share the search.
        seed: of the proposals; None for that of the pipeline.
        pruner: what stops trials early that do worse than others so far.
        metrics: objectives on the dev split, or "seconds"; empty for the primary metric of the first evaluator.
        goals: "max" or "min" for each; empty for what the evaluators say.
    """

    method: str
    trials: int = 30
    seed: int | None = None
    pruner: str = "none"
    metrics: tuple[str, ...] = ()
    goals: tuple[str, ...] = ()


def read_search(
    table: Any, check_metric: Callable[[Any], object], problem: Callable[..., None], runs: int
) -> Search | None:
    """Check a ``[sweep.search]``, and report its mistakes.

    Args:
        check_metric: reports what is wrong with the name of a metric.
        problem: called with a message and the path of a mistake.
        runs: of each trial.

    Returns:
        None if it is not valid.
    """
    if not isinstance(table, dict):
        problem(f'search = {shown(table)}: expected a table such as {{ method = "tpe", trials = 30 }}', "search")
        return None
    wrong = [(key, f"unknown key.{nearest(key, KEYS)}") for key in table if key not in KEYS]
    for key, known in (("method", METHODS), ("pruner", PRUNERS)):
        value = table.get(key, known[0] if key == "pruner" else None)
        if value not in known:
            wrong.append((key, f"expected {' or '.join(map(json.dumps, known))}"))
    for key, least in (("trials", 1), ("seed", 0)):
        value = table.get(key, least)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            wrong.append((key, f"expected a whole number of at least {least}"))
    metrics, goals = _listed(table, "metric"), _listed(table, "goal")
    wrong += _objective_mistakes(metrics, goals, table, runs)
    for key, message in wrong:
        found = f" = {shown(table[key])}" if key in table else " is missing"
        problem(f"search.{key}{found}: {message}", "search", key)
    before = len(wrong)
    for metric in metrics:
        if metric != SECONDS:
            check_metric(metric)
    if before:
        return None
    given = {key: table[key] for key in ("method", "trials", "seed", "pruner") if key in table}
    return Search(**given, metrics=metrics, goals=goals)


def _listed(table: Mapping[str, Any], key: str) -> tuple[Any, ...]:
    value = table.get(key, [])
    return tuple(value) if isinstance(value, list) else (value,)


def _objective_mistakes(
    metrics: tuple[Any, ...], goals: tuple[Any, ...], table: Mapping[str, Any], runs: int
) -> list[tuple[str, str]]:
    wrong = []
    for metric in metrics:
        if isinstance(metric, str) and metric.startswith("test/"):
            why = "a search compares on dev, so that the score on test stays honest"
            wrong.append(("metric", f'{why}; expected "dev/{metric.removeprefix("test/")}"'))
    if len(set(map(str, metrics))) < len(metrics):
        wrong.append(("metric", "expected different metrics"))
    if goals and (len(goals) != max(1, len(metrics)) or any(goal not in GOALS for goal in goals)):
        wrong.append(("goal", 'expected "max" or "min", one for each metric'))
    if table.get("pruner", "none") != "none":
        if len(metrics) > 1 or metrics == (SECONDS,):
            wrong.append(("pruner", "pruning needs one metric, of the dev split"))
        if runs > 1:
            wrong.append(("pruner", f"pruning needs one run per trial, but each has {runs}"))
    return wrong
