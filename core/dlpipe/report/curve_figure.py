"""``figures/curves.png`` of a stage: losses, primary metrics and the learning rate over the steps."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from dlpipe.figures import COLORS, COMMENT, GREY, drawing, shortened
from dlpipe.report.curves import draw_metrics
from dlpipe.report.page import Chart
from dlpipe.report.recorded_run import RecordedStage
from dlpipe.runs.folder import FIGURES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVES = "curves.png"
#: What trainers call the learning rate.
RATE = "lr"
#: At most this many charts; the report has the others.
MAX_CHARTS = 6
#: As many are filled up with what else the trainer measures; more only to the end of the row.
FILLED, COLUMNS = 4, 2
#: Points of a curve that are few enough to be marked.
FEW_POINTS = 12
#: Size of a chart, in inches.
WIDTH, HEIGHT = 4.2, 2.5


def can_draw() -> bool:
    """Return whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def is_drawn(stage: RecordedStage) -> bool:
    """Return whether the figure of a stage shows its curves as they are now: it says what it was drawn from."""
    from PIL import Image  # which matplotlib needs

    try:
        with Image.open(stage.folder / FIGURES / CURVES, formats=["PNG"]) as figure:
            return bool(figure.info.get(COMMENT) == _digest(stage, chosen_charts(stage)))
    except (OSError, SyntaxError, ValueError):  # there is none, or it is damaged
        return False


def _digest(stage: RecordedStage, charts: Sequence[Chart]) -> str:
    return hashlib.sha256(repr((charts, stage.best_step)).encode()).hexdigest()


def write_curves(stage: RecordedStage) -> bool:
    """Draw the curves of a stage, as far as it has come; return whether there were any.

    Raises:
        OSError: the figure cannot be written.
    """
    charts = chosen_charts(stage)
    if not charts:
        return False
    folder = stage.folder / FIGURES
    folder.mkdir(parents=True, exist_ok=True)
    columns = min(COLUMNS, len(charts))
    rows = math.ceil(len(charts) / columns)
    temporary = folder / f".{CURVES}"
    last = max(float(x) for chart in charts for series in chart.series for x in series.x)
    comment = _digest(stage, charts)
    with drawing(temporary, WIDTH * columns, HEIGHT * rows + 0.2, comment=comment) as figure:
        for number, chart in enumerate(charts, start=1):
            axes = figure.add_subplot(rows, columns, number)
            _draw(axes, chart)
            axes.set_xlim(0, last * 1.03)
            label = "chosen checkpoint" if number == 1 else None
            if stage.best_step is not None:
                axes.axvline(stage.best_step, color=GREY, linewidth=0.9, linestyle=":", label=label, zorder=0)
            if number == 1 or [series.name for series in chart.series] != ["train"]:
                axes.legend(frameon=False, fontsize=7)
    temporary.replace(folder / CURVES)
    return True


def chosen_charts(stage: RecordedStage) -> list[Chart]:
    """Return the charts to draw: the loss, what the stage is judged by, other losses, the learning rate.

    If there is room, what else the trainer measures and changes, such as the returns of an agent; further metrics of
    evaluators are left to the report.
    """
    charts = {chart.title: chart for chart in draw_metrics(stage.records, stage.judged_by)}
    losses = [name for name in charts if name.rpartition("/")[2] == "loss"]
    primary = [name for name in (stage.judged_by, *stage.primary) if name in charts]
    of_trainer = [name for name in charts if "/" not in name]
    others = [name for name in of_trainer if "loss" in name]
    rate = [name for name in of_trainer if name == RATE]
    kept = list(dict.fromkeys([*losses[:1], *primary, *losses[1:], *others]))[: MAX_CHARTS - len(rate)] + rate
    further = [name for name in of_trainer if name not in kept and not _is_constant(charts[name])]
    room = max(FILLED, len(kept) + len(kept) % COLUMNS) - len(kept)
    return [charts[name] for name in (*kept, *further[:room])]


def _is_constant(chart: Chart) -> bool:
    return len({value for series in chart.series for value in series.y}) == 1


def _draw(axes: Axes, chart: Chart) -> None:
    for series in chart.series:
        color = COLORS[series.color if series.color is not None else 0]
        known = sum(not math.isnan(value) for value in series.y)
        style: dict[str, Any] = {"linestyle": "none", "marker": "D", "markersize": 4}
        if series.style != "points":
            style = {"linewidth": 1.2, "marker": "." if known <= FEW_POINTS else ""}
        axes.plot(series.x, series.y, color=color, label=series.name, **style)
    if chart.log_y:
        axes.set_yscale("log")
    else:
        axes.locator_params(axis="y", nbins=5)
    if _is_constant(chart) and chart.series[0].y[0] > 0:
        axes.set_ylim(0, 1.5 * chart.series[0].y[0])
    axes.locator_params(axis="x", nbins=6, integer=True)
    axes.set(xlabel="step", ylabel=shortened("learning rate" if chart.title == RATE else chart.title, 32))
