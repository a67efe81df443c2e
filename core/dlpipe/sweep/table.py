"""The results of a sweep: as a table on screen and in Markdown, and in full as JSON."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from dlpipe.json_text import finite
from dlpipe.messages import printable, relative, shown_number
from dlpipe.splits import DEV, TEST, TRAIN
from dlpipe.sweep.planned import Sweep, Trial
from dlpipe.sweep.settings import SECONDS

#: Further metrics get columns only if there are at most this many.
MAX_FURTHER = 3
NO_HELD_OUT = (
    "no trial is marked as the best one, since these are scores on the training examples; to choose a trial, compare "
    "on dev: give the data a dev split and let the evaluator judge it (splits)"
)
NO_DEV = (
    "no trial is marked as the best one, since these are scores on test, and the best of them would be too good; to "
    "choose a trial, compare on dev: give the data a dev split and let the evaluator judge it (splits)"
)


@dataclass(frozen=True)
class Metric:
    """The metric that trials are compared by.

    Args:
        goal: "max", "min", or empty if unknown.
        note: a remark for the reader, or empty.
        others: further objectives of a search; then the best trials are the Pareto front.
    """

    name: str = ""
    goal: str = ""
    note: str = ""
    others: tuple[Metric, ...] = ()

    @property
    def objectives(self) -> tuple[Metric, ...]:
        """All that trials are compared by."""
        return (self, *self.others)


@dataclass(frozen=True)
class Row:
    """A trial and the outcomes of its runs."""

    trial: Trial
    outcomes: tuple[Mapping[str, Any], ...]

    @property
    def done(self) -> list[Mapping[str, Any]]:
        """The runs that finished."""
        return [outcome for outcome in self.outcomes if outcome["state"] == "finished"]

    def values(self, metric: str) -> list[float]:
        """Return the values of a metric, for all runs that have it."""
        found = [outcome[SECONDS] if metric == SECONDS else outcome["metrics"].get(metric) for outcome in self.done]
        return [value for value in found if value is not None]

    def is_partial(self, metric: str) -> bool:
        """Return whether some runs have a metric, and others do not."""
        return 0 < len(self.values(metric)) < len(self.outcomes)

    def mean(self, metric: str) -> float | None:
        """Return the mean over the runs, or None if no run has the metric."""
        values = self.values(metric)
        return statistics.fmean(values) if values else None


def shown_metric(sweep: Sweep, outcomes: Sequence[Mapping[str, Any]]) -> Metric:
    """Return the metric to compare by: the one in the file, else the primary metric of the first evaluator, on dev.

    A metric on test has no goal, so that no trial is the best by it: a choice by test would spoil the test. Nor has
    one on train, which is taken if there is no other.
    """
    primary = next((outcome["primary"] for outcome in outcomes if outcome.get("primary")), "")
    goals = {name: goal for outcome in outcomes for name, goal in outcome.get("goals", {}).items()}
    known = dict.fromkeys(name for outcome in outcomes for name in outcome.get("metrics", {}))
    if not sweep.metric and not primary:
        return Metric()
    names = [f"{split}/{primary}" for split in (DEV, TEST, TRAIN)]
    name = sweep.metric or next((name for name in names if name in known), names[0])
    if sweep.metric and sweep.metric not in known:
        return Metric(name, "", f"no run has {sweep.metric}; there are {', '.join(known) or 'no metrics'}")
    if name.startswith("test/"):
        return Metric(name, "", NO_DEV)
    if name.startswith("train/"):
        return Metric(name, "", NO_HELD_OUT)
    if incomparable := sweep.incomparable(name):
        return Metric(name, "", f"no trial is marked as the best one: {incomparable}")
    if name not in goals:
        known_of = ", ".join(goals) or "there is none"
        return Metric(
            name,
            "",
            f"no trial is marked as the best one: {name} is not the primary metric of an evaluator on dev "
            f"({known_of}), so it is not known whether higher or lower is better",
        )
    return Metric(name, goals[name])


def beside(metric: Metric) -> list[str]:
    """Return the names on other splits of the metric to compare by, which stand beside it."""
    split, _, rest = metric.name.partition("/")
    return [f"{other}/{rest}" for other in {DEV: (TRAIN, TEST), TEST: (TRAIN,)}.get(split, ())]


@dataclass(frozen=True)
class Cells:
    """A table of strings, and the indices of its best rows, which the cells mark."""

    columns: list[str]
    rows: list[list[str]]
    best: tuple[int, ...]


def cells(sweep: Sweep, rows: Sequence[Row], metric: Metric, *, further: bool = True) -> Cells:
    """Return the table, with further metrics if `further` is set and there are few."""
    known = [name for name in beside(metric) if any(row.values(name) for row in rows)]
    others = list(dict.fromkeys([*known, *(sweep.further or (_further(rows, metric) if further else []))]))
    columns = list(sweep.trials[0].choices) or ["trial"]
    columns += [metric.name] if metric.name not in ("", SECONDS) else []
    columns += [*(_title(name, metric) for name in others), *sweep.references, "seconds", "run"]
    best = best_rows(rows, metric)
    lines = []
    for number, row in enumerate(rows):
        line = list(row.trial.choices.values()) or [row.trial.label]
        mark = " *" if number in best else ""
        if metric.name not in ("", SECONDS):
            line.append(_spread(row, metric.name) + mark)
        line += [_spread(row, name) for name in others]
        published = (numbers.get(row.trial.label) for numbers in sweep.references.values())
        line += ["–" if number is None else shown_number(number) for number in published]
        lines.append([*line, _seconds(row) + (mark if metric.name == SECONDS else ""), _folder(row)])
    return Cells(columns, lines, best)


def show(console: Console, sweep: Sweep, rows: Sequence[Row], metric: Metric) -> None:
    """Print the table; further metrics are omitted on a narrow terminal."""
    if not console.is_terminal:  # in a file, width does not matter
        console.width = 1000
    wide, narrow = (_table(cells(sweep, rows, metric, further=further), sweep) for further in (True, False))
    fits = Measurement.get(console, console.options.update(max_width=1000), wide).maximum <= console.width
    console.print(wide if fits else narrow)
    for line in legend(sweep, rows, metric):
        console.print(printable(line), markup=False, highlight=False)


def _table(content: Cells, sweep: Sweep) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    texts = len(sweep.trials[0].choices) or 1
    for place, column in enumerate(content.columns):
        is_text = place < texts or column == "run"
        table.add_column(
            Text(printable(column)), justify="left" if is_text else "right", no_wrap=not is_text, overflow="fold"
        )
    for number, line in enumerate(content.rows):
        table.add_row(*(Text(printable(cell)) for cell in line), style="bold" if number in content.best else None)
    return table


def legend(sweep: Sweep, rows: Sequence[Row], metric: Metric) -> list[str]:
    """Return the lines below the table; the last ones are the warnings of the runs, each once."""
    seeds = len({pipeline.settings.seed for pipeline in sweep.trials[0].pipelines})
    over = [f"{axis} ({count})" for axis, count in sweep.averaged.items()]
    over += [f"{seeds} seeds"] if seeds > 1 else []
    lines = ["* " + _best_means(metric)] if best_rows(rows, metric) else []
    compared = metric.goal and len(rows) > 1
    partial = sum(any(row.is_partial(each.name) for each in metric.objectives) for row in rows) if compared else 0
    if partial:
        lines.append(f"{partial} of {len(rows)} trials cannot be the best, as not all of their runs have the metric")
    if over:
        lines.append(f"mean ± standard deviation over {' and '.join(over)}; seconds of training are the median")
    lines += [metric.note] if metric.note else []
    total = sum(len(row.outcomes) for row in rows)
    return [*lines, *(f"warning in {count} of {total} runs: {text}" for text, count in warnings_of(rows).items())]


def _best_means(metric: Metric) -> str:
    if not metric.others:
        return f"best: {_better(metric)} is better"
    named = ", ".join(f"{each.name} ({_better(each)} is better)" for each in metric.objectives)
    return f"Pareto front of {named}: no other trial is better in one of them and at least as good in the others"


def _better(metric: Metric) -> str:
    return "higher" if metric.goal == "max" else "lower"


def warnings_of(rows: Sequence[Row]) -> Counter[str]:
    """Return the warnings of all runs, and how many runs have each."""
    return Counter(text for row in rows for outcome in row.outcomes for text in outcome.get("warnings", []))


def markdown(sweep: Sweep, rows: Sequence[Row], metric: Metric, title: str) -> str:
    """Return the table as Markdown."""
    content = cells(sweep, rows, metric)
    heading = [_line(content.columns), _line(["---"] * len(content.columns))]
    lines = [f"# {title}", "", *heading, *map(_line, content.rows), ""]
    return "\n".join([*lines, *(f"{line}  " for line in legend(sweep, rows, metric))]) + "\n"


def as_json(sweep: Sweep, rows: Sequence[Row], metric: Metric) -> dict[str, Any]:
    """Return everything known about the trials, JSON-serializable."""
    return {
        "name": sweep.name,
        "metric": metric.name,
        "goal": metric.goal,
        "note": metric.note,
        "warnings": warnings_of(rows),
        "trials": [_trial(sweep, row, metric) for row in rows],
    }


def _trial(sweep: Sweep, row: Row, metric: Metric) -> dict[str, Any]:
    values = row.values(metric.name)
    known = ("state", "how", "reason", "run", "metrics", "seconds")
    runs = [
        {"seed": pipeline.settings.seed, "choices": choices} | {key: outcome[key] for key in known if key in outcome}
        for pipeline, choices, outcome in zip(row.trial.pipelines, row.trial.averaged, row.outcomes, strict=True)
    ]
    return {
        "label": row.trial.label,
        "choices": row.trial.choices,
        "set": finite(row.trial.values, str),
        "mean": row.mean(metric.name),
        "standard_deviation": statistics.stdev(values) if len(values) > 1 else None,
        "references": {
            name: numbers[row.trial.label] for name, numbers in sweep.references.items() if row.trial.label in numbers
        },
        "runs": runs,
    }


def _further(rows: Sequence[Row], metric: Metric) -> list[str]:
    split = metric.name.partition("/")[0]
    names = dict.fromkeys(name for row in rows for outcome in row.done for name in outcome["metrics"])
    further = [name for name in names if name.startswith(f"{split}/") and name != metric.name]
    return further if len(further) <= MAX_FURTHER else []


def best_rows(rows: Sequence[Row], metric: Metric) -> tuple[int, ...]:
    """Return the index of the best row; of several objectives, those of the Pareto front.

    A row with the metric of some runs only is none: those without it may be the worse ones.
    """
    signs = [1 if each.goal == "max" else -1 for each in metric.objectives]
    scores: dict[int, list[float]] = {}
    for number, row in enumerate(rows):
        means = [None if row.is_partial(each.name) else row.mean(each.name) for each in metric.objectives]
        if None not in means:
            scores[number] = [sign * mean for sign, mean in zip(signs, means, strict=True) if mean is not None]
    if not all(each.goal for each in metric.objectives) or len(scores) < 2:
        return ()
    if not metric.others:
        return (max(scores, key=lambda number: scores[number][0]),)
    return tuple(number for number, own in scores.items() if not any(_dominates(s, own) for s in scores.values()))


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))


def _title(name: str, metric: Metric) -> str:
    """Return the title of a further column: the split is left out if it is that of the metric to compare by."""
    split, _, rest = name.partition("/")
    return rest if split == metric.name.partition("/")[0] else name


def _spread(row: Row, metric: str) -> str:
    values = row.values(metric)
    if not values:
        pruned = next((one["reason"] for one in row.outcomes if one["state"] == "pruned"), "")
        return "–" if row.done else pruned.replace(" by the search", "") or "failed"
    text = shown_number(statistics.fmean(values))
    if len(values) > 1:
        text += f" ± {shown_number(statistics.stdev(values), like=statistics.fmean(values))}"
    return text if len(values) == len(row.outcomes) else f"{text} ({len(values)} of {len(row.outcomes)})"


def _folder(row: Row) -> str:
    folder = next((outcome["run"] for outcome in row.outcomes if outcome.get("run")), None)
    return relative(Path(folder)) if folder else "–"


def _seconds(row: Row) -> str:
    seconds = [outcome["seconds"] for outcome in row.done if outcome["seconds"] is not None]
    return f"{statistics.median(seconds):.1f}" if seconds else "–"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
