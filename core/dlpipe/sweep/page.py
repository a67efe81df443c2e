"""The page of a sweep: its table, learning curves, parallel coordinates and the importance of its axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dlpipe.figures import COLORS, shortened
from dlpipe.messages import shown_number
from dlpipe.report.page import Chart, Media, Section, Series, Table, Text, render_page, thinned
from dlpipe.sweep.curves import Panel, band, left_out, panels_of
from dlpipe.sweep.planned import Sweep
from dlpipe.sweep.table import Metric, Row, best_rows, cells, legend


def write_page(
    path: Path,
    sweep: Sweep,
    rows: Sequence[Row],
    metric: Metric,
    shares: Mapping[str, Mapping[str, float]],
    command: str,
) -> None:
    """Write the page into the folder with the figures.

    Args:
        shares: importance of each axis, by objective.
    """
    content = cells(sweep, rows, metric)
    parallel = path.with_name("parallel_coordinates.png")
    pictures = [Media("Parallel coordinates", [("", parallel)], "figure")] if parallel.exists() else []
    sections = [
        Section("Trials", [Table("", content.columns, content.rows, "\n".join(legend(sweep, rows, metric)))]),
        Section("Learning curves", _learning_curves(rows, metric)),
        Section("Axes", [*pictures, *_importance(shares)]),
        Section("Command", [Text("", command)], folded=True),
    ]
    render_page(path, sweep.name, _verdict(rows, metric), sections, state=f"{len(rows)} trials")


def _verdict(rows: Sequence[Row], metric: Metric) -> str:
    best = best_rows(rows, metric)
    if not best:
        return "No trial is the best one."
    if metric.others:
        return f"{len(best)} trials are on the Pareto front of {', '.join(each.name for each in metric.objectives)}."
    row = rows[best[0]]
    named = ", ".join(f"{axis} = {choice}" for axis, choice in row.trial.choices.items())
    return f"The best {metric.name} is {shown_number(row.mean(metric.name) or 0.0)}, with {named or row.trial.label}."


def _learning_curves(rows: Sequence[Row], metric: Metric) -> list[Chart]:
    return [_chart(panel, metric) for panel in panels_of(rows, metric)]


def _chart(panel: Panel, metric: Metric) -> Chart:
    series = []
    for row, curves in panel.trials[: len(COLORS)]:
        steps, mean, _, _ = band(curves)
        x, y = thinned(steps, mean.tolist())
        series.append(Series(shortened(row.trial.label, 40), x, y, "points" if len(x) == 1 else "line"))
    shown = left_out(panel, metric)
    captions = [f"{shown[:1].upper()}{shown[1:]}."] if shown else []
    captions += (
        ["The mean over the runs of each trial."] if max(len(row.outcomes) for row, _ in panel.trials) > 1 else []
    )
    return Chart(panel.name, series, y_label=panel.name, caption=" ".join(captions), log_y=panel.log)


def _importance(shares: Mapping[str, Mapping[str, float]]) -> list[Chart]:
    return [
        Chart(
            f"Importance for {objective}",
            [Series("share of the variance", list(range(len(found))), list(found.values()), "bars")],
            x_label="axis",
            y_label="share",
            ticks=list(found),
        )
        for objective, found in shares.items()
    ]
