"""A comparison as a page, and its curves as a figure."""

from __future__ import annotations

from pathlib import Path

from dlpipe.comparison.compare import Comparison
from dlpipe.comparison.groups import Group
from dlpipe.comparison.run_result import RunResult
from dlpipe.comparison.table import tables
from dlpipe.figures import COLORS, drawing, shortened
from dlpipe.report.page import Chart, Section, Series, render_page, thinned
from dlpipe.runs.metrics_log import TRAINING_LOSS


def write_page(path: Path, found: Comparison) -> None:
    """Write a comparison as a page in one file.

    Raises:
        OSError: it cannot be written.
    """
    title = f"Comparison of {' and '.join(group.label for group in found.groups)}"
    charts = [Chart(name, [_series(name, *curve) for curve in curves]) for name, curves in _curves(found)]
    blocks = list(tables(found))
    sections = [Section("Metrics", [block for block in blocks if block.title == "Metrics"])]
    sections += [Section("Curves", charts)]
    sections += [Section(block.title, [block]) for block in blocks if block.title != "Metrics"]
    render_page(path, title, "\n".join([*(pair.verdict for pair in found.pairs), *found.notes]), sections)


def draw_curves(path: Path, found: Comparison) -> bool:
    """Draw the metric that decides by step, on train and on dev, and return whether there is anything to draw.

    Where no evaluator judges these, it is the loss of the training.

    Raises:
        OSError: it cannot be written.
    """
    curves = _curves(found)
    if not curves:
        return False
    panels = [curve for curve in curves if curve[0] != TRAINING_LOSS] or curves
    with drawing(path, 7 if len(panels) == 1 else 5.4 * len(panels), 4.2) as figure:
        for axes, (name, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for label, number, run in lines:
                points = run.curve(name)
                color = COLORS[number % len(COLORS)]
                axes.plot(list(points), list(points.values()), color=color, linewidth=1.2, label=shortened(label, 40))
            axes.set(xlabel="step", ylabel=name)
        axes.legend(frameon=False)
    return True


def _curves(found: Comparison) -> list[tuple[str, list[tuple[str, int, RunResult]]]]:
    """Return the metrics that several runs have a curve of, with these: label, color and run of each."""
    runs = [(group, number, run) for number, group in enumerate(found.groups) for run in group.runs]
    metric = found.metric.partition("/")[2]
    names = [f"train/{metric}", f"dev/{metric}", TRAINING_LOSS]
    curves = []
    for name in names:
        lines = [(_label(group, run), number, run) for group, number, run in runs if len(run.curve(name)) > 1]
        if lines:
            curves.append((name, lines))
    return curves


def _label(group: Group, run: RunResult) -> str:
    """Return what a curve is called: a picture has no table beside it that explains the letters."""
    label = f"{group.label}: {run.resolved['name']}"
    return f"{label}, seed {run.seed}" if len(group.runs) > 1 else label


def _series(name: str, label: str, number: int, run: RunResult) -> Series:
    points = run.curve(name)
    return Series(label, *thinned(list(points), list(points.values())), color=number % len(COLORS))
