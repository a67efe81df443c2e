"""Forecast errors, compared with those of the seasonal naive forecast: the value of one season earlier.

Source: Hyndman & Koehler 2006, "Another look at measures of forecast accuracy",
https://doi.org/10.1016/j.ijforecast.2006.03.001
Axes: N windows, B windows of a batch, C values of the context, H values of the horizon.
"""

from pathlib import Path
from typing import Literal

import torch
from dlpipe.evaluation import Examples, write_csv
from dlpipe.figures import BLUE, GREY, VERMILION, drawing
from dlpipe.report_items import ReportItem
from torch import Tensor, nn

#: Windows that are drawn.
DRAWN = 4


class ForecastError:
    """MAE and MASE of the model and of the seasonal naive forecast.

    MASE is the MAE in units of `naive_error`; below ``naive_mase``, the model beats the seasonal naive forecast.

    Args:
        season: values per season.
        naive_error: the MAE of the seasonal naive forecast, one season ahead, on the training split.
    """

    primary = "mase"
    goal: Literal["max", "min"] = "min"

    def __init__(self, season: int, naive_error: float) -> None:
        self._season, self._unit = season, naive_error
        self._windows: list[tuple[Tensor, ...]] = []
        self._by_step: tuple[Tensor, Tensor] | None = None

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Return ``mase``, ``mae``, ``naive_mase`` and ``naive_mae``."""
        contexts, targets, forecasts = [], [], []
        for batch, _, predictions in examples.predictions(model):
            contexts.append(batch["context"].cpu())
            targets.append(batch["targets"].cpu())
            forecasts.append(predictions.float().cpu())
        context, target, forecast = (torch.cat(parts) for parts in (contexts, targets, forecasts))
        naive = seasonal_naive(context, self._season, target.size(1))
        errors, naive_errors = ((each - target).abs().mean(0) for each in (forecast, naive))  # (H,)
        self._by_step = errors, naive_errors
        rows = torch.linspace(0, len(context) - 1, min(DRAWN, len(context))).long()
        self._windows = [(context[row], target[row], forecast[row], naive[row]) for row in rows]
        mae, naive_mae = float(errors.mean()), float(naive_errors.mean())
        return {"mase": mae / self._unit, "mae": mae, "naive_mase": naive_mae / self._unit, "naive_mae": naive_mae}

    def write(self, folder: Path) -> list[ReportItem]:
        """Write ``error_by_step.csv`` and ``forecasts.png``."""
        assert self._by_step is not None
        rows = zip(*(errors.tolist() for errors in self._by_step), strict=True)
        lines = [(step, error, naive) for step, (error, naive) in enumerate(rows, start=1)]
        write_csv(folder / "error_by_step.csv", [("step", "mae", "naive_mae"), *lines])
        with drawing(folder / "forecasts.png", 7, 1.6 * len(self._windows)) as figure:
            axes = figure.subplots(len(self._windows), squeeze=False)[:, 0]
            for axis, (context, target, forecast, naive) in zip(axes, self._windows, strict=True):
                start = len(context)
                ahead = range(start, start + len(target))
                axis.plot(range(start), context.tolist(), color=GREY)
                axis.plot(ahead, naive.tolist(), color=VERMILION, linestyle=":", label="seasonal naive")
                axis.plot(ahead, forecast.tolist(), color=BLUE, label="forecast")
                axis.plot(ahead, target.tolist(), color="black", linewidth=0.8, label="actual")
            axes[0].legend(loc="upper left", fontsize=7, ncols=3, frameon=False)
        return [
            ReportItem("forecasts.png", "Forecasts", "What was known in grey, then the forecast and what happened."),
            ReportItem("error_by_step.csv", "Error by step", "The mean absolute error by the number of steps ahead."),
        ]


def seasonal_naive(context: Tensor, season: int, horizon: int) -> Tensor:
    """Return the last season of contexts (N, C), repeated over the horizon: (N, H)."""
    repeats = -(-horizon // season)
    return context[:, -season:].repeat(1, repeats)[:, :horizon]
