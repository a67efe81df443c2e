"""A comparison as tables, on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from rich.console import Console
from rich.table import Table as TerminalTable
from rich.text import Text

from dlpipe.comparison.compare import Comparison, Pair, shown_estimate
from dlpipe.comparison.groups import Group
from dlpipe.comparison.run_result import shortened_value
from dlpipe.figures import shortened
from dlpipe.messages import printable, shown_number
from dlpipe.report.page import Table
from dlpipe.scores.statistics import mean_and_spread

#: The examples of each kind that are shown; all are in the JSON.
MAX_EXAMPLES = 10


def tables(found: Comparison) -> Iterator[Table]:
    """Yield the tables of a comparison."""
    labels = [group.label for group in found.groups]
    runs = [
        [group.label, run.name, run.seed, run.state, "–" if run.seconds is None else f"{run.seconds:.1f}"]
        for group in found.groups
        for run in group.runs
    ]
    yield Table("Runs", ["", "run", "seed", "state", "seconds"], runs)
    different = [
        [topic, name, *(shortened_value(values[label]) for label in labels)]
        for topic, entries in found.differences.items()
        for name, values in entries.items()
    ]
    if different:
        yield Table("What differs", ["", "", *labels], different)
    metrics = [[name, *(_spread(group, name) for group in found.groups)] for name in found.metrics]
    if metrics:
        seconds = [_seconds(group) for group in found.groups]
        several = any(len(group.runs) > 1 for group in found.groups)
        caption = "Mean ± standard deviation over seeds; seconds of training are the median." if several else ""
        yield Table("Metrics", ["metric", *labels], [*metrics, ["seconds of training", *seconds]], caption)
    for pair in found.pairs:
        yield from _examples(pair)


def _examples(pair: Pair) -> Iterator[Table]:
    found = pair.disagreements
    if found is None or not (found.first or found.second):
        return
    one, other = pair.first.label, pair.second.label
    rows = []
    for better, worse, examples in ((one, other, found.first), (other, one, found.second)):
        side = f"{better} right, {worse} wrong" if found.are_right else f"better with {better}"
        for example in examples[:MAX_EXAMPLES]:
            answers = example.get("predicted", example["score"])
            texts = [example.get("name", example["row"]), example.get("true", "–"), answers[0], answers[-1]]
            rows.append([side, example["row"], *(shortened(str(text), 40) for text in texts)])
    yield Table(f"Examples of {one} and {other}", ["", "row", "example", "true", one, other], rows, counts_of(pair))


def counts_of(pair: Pair) -> str:
    """Return in words how many examples each side does better."""
    found = pair.disagreements
    if found is None:
        return ""
    one, other = pair.first.label, pair.second.label
    if found.are_right:
        text = f"only {one} right: {len(found.first):,}; only {other} right: {len(found.second):,}; "
    else:
        text = f"better with {one}: {len(found.first):,}; better with {other}: {len(found.second):,}; "
    test = "" if found.p is None else f" (McNemar's exact test: p = {found.p:.2g})"
    return f"{text}equal: {found.equal:,}{test}"


def verdicts(found: Comparison) -> list[str]:
    """Return the result of each pair, with what goes with it."""
    lines = []
    for pair in found.pairs:
        lines.append(pair.verdict)
        shown = list(pair.notes) if pair.estimate else []
        for kind, estimate in pair.estimates.items():
            if estimate is not pair.estimate:
                value, low, high = shown_estimate(estimate)
                shown.append(f"over {kind} only: {value}, {low} to {high} ({estimate.method})")
        lines += [f"  {text}" for text in [*shown, counts_of(pair)] if text]
    return lines


def show(console: Console, found: Comparison) -> None:
    """Print a comparison."""
    if not console.is_terminal:  # in a file, width does not matter
        console.width = 1000
    for table in tables(found):
        drawn = TerminalTable(title=table.title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for column in table.columns:
            drawn.add_column(Text(printable(column)), overflow="fold")
        for row in table.rows:
            drawn.add_row(*(Text(printable(str(cell))) for cell in row))
        console.print(drawn)
        console.print()
    for line in [*verdicts(found), *found.notes]:
        console.print(printable(line), markup=False, highlight=False)


def _spread(group: Group, name: str) -> str:
    values = group.values(name)
    if not values:
        return "–"
    mean, spread = mean_and_spread(values)
    return shown_number(mean) + ("" if spread is None else f" ± {shown_number(spread, like=mean)}")


def _seconds(group: Group) -> str:
    seconds: Sequence[float] = [run.seconds for run in group.scored if run.seconds is not None]
    return f"{median(seconds):.1f}" if seconds else "–"
