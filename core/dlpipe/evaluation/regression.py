"""How near predicted numbers are to true ones: R², absolute and squared errors, and where the errors are.

Axes: N examples, B of a batch, T targets.
"""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dlpipe.data.targets import require_targets
from dlpipe.errors import InputError
from dlpipe.evaluation.csv_files import write_csv
from dlpipe.evaluation.example_scores import ExampleScores
from dlpipe.evaluation.examples import Examples
from dlpipe.evaluation.regression_figures import MAX_DRAWN, draw_predicted, draw_residuals
from dlpipe.json_text import finite
from dlpipe.protocols import Batch, SupportsNames
from dlpipe.report_items import ReportItem


@dataclass(frozen=True)
class Numbers:
    """The predictions of a model, in the order of the split and in the units of the targets.

    Args:
        rows: (N,) numbers of the examples in their split.
        true: (N, T) float64.
        predicted: (N, T) float64.
    """

    rows: Tensor
    true: Tensor
    predicted: Tensor

    @property
    def residuals(self) -> Tensor:
        """(N, T) what is missing in each prediction: true minus predicted."""
        return self.true - self.predicted

    @property
    def variance(self) -> Tensor:
        """(T,) the mean squared distance of the true numbers from their mean."""
        return self.true.var(0, correction=0)

    @property
    def r2(self) -> Tensor:
        """(T,) R² of each target; NaN if all its true numbers are equal, or one of its numbers is NaN."""
        r2 = 1 - self.residuals.square().mean(0) / self.variance
        return torch.where(self.true.amax(0) > self.true.amin(0), r2, torch.nan)

    def why_undefined(self, target: int) -> str:
        """Return why R² of a target is NaN."""
        for what, numbers in (("targets", self.true), ("predictions", self.predicted)):
            if count := int(numbers[:, target].isnan().sum()):
                return f"{count:,} of {len(self.rows):,} {what} are NaN"
        return f"all {len(self.rows):,} targets are {float(self.true[0, target]):g}"

    @property
    def mae(self) -> Tensor:
        """(T,) mean absolute error."""
        return self.residuals.abs().mean(0)

    @property
    def rmse(self) -> Tensor:
        """(T,) root of the mean squared error."""
        return self.residuals.square().mean(0).sqrt()


class Regression:
    """Evaluate a model that predicts one or several numbers for each example (``targets``, (B,) or (B, T)).

    ``evaluate`` gives, in the units of the targets and for several targets as means over them,

    * ``r2``, the coefficient of determination: 1 minus the mean squared error over the variance of the targets of the
      split. 1 is perfect; their mean, predicted for all, has 0. It is NaN, with a warning, where all targets are equal,
      or a number is NaN;
    * ``mae``, the mean absolute error;
    * ``rmse``, the root of the mean squared error.

    ``write`` gives ``predicted.png`` and ``residuals.png``, ``predictions.csv`` (the largest errors first; a residual
    is true minus predicted) and, for several targets, ``targets.csv``, the metrics of each.

    Args:
        target_names: (T,) of the targets; from the data.
        target_mean: (T,) what the data has subtracted from each target; from the data.
        target_scale: (T,) what it has divided them by then; from the data.
    """

    primary = "r2"
    goal: Literal["max"] = "max"

    def __init__(
        self,
        *,
        target_names: Sequence[str] | None = None,
        target_mean: Sequence[float] | None = None,
        target_scale: Sequence[float] | None = None,
    ) -> None:
        self._given_names = list(target_names or ())
        self._mean = torch.tensor(target_mean or [0.0], dtype=torch.float64)
        self._scale = torch.tensor(target_scale or [1.0], dtype=torch.float64)
        self._found: Numbers | None = None
        self._names: Callable[[], Sequence[str]] | None = None

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Compute the metrics of a split."""
        found = self._found = self._collect(examples.predictions(model))
        data = examples.data
        self._names = (lambda: data.names(examples.split)) if isinstance(data, SupportsNames) else None
        r2 = found.r2
        if r2.isnan().any():
            target = int(r2.isnan().nonzero()[0, 0])
            warnings.warn(
                f"r2 of {self._targets[target]} is not defined on {examples.split}: {found.why_undefined(target)}",
                stacklevel=2,
            )
        return {"r2": float(r2.nanmean()), "mae": float(found.mae.mean()), "rmse": float(found.rmse.mean())}

    def example_scores(self) -> ExampleScores | None:
        """Return what each example of the last `evaluate` contributes to R², whose mean they have.

        That is 1 minus its squared error over the variance of the targets of the whole split, which resampling leaves
        as it is; of several targets, the mean over them. None where R² is not defined.
        """
        assert self._found is not None
        found = self._found
        defined = ~found.r2.isnan()
        if not defined.any():
            return None
        scores = (1 - found.residuals.square() / found.variance)[:, defined].mean(1)
        true, predicted = (_shown(values) for values in (found.true, found.predicted))
        return ExampleScores(found.rows.tolist(), scores.tolist(), true=true, predicted=predicted)

    def write(self, folder: Path) -> list[ReportItem]:
        """Write tables and figures of the last `evaluate`."""
        assert self._found is not None
        found = self._found
        r2 = found.r2.tolist()
        draw_predicted(folder / "predicted.png", found.true, found.predicted, self._targets, r2)
        draw_residuals(folder / "residuals.png", found.predicted, found.residuals, self._targets)
        write_csv(folder / "predictions.csv", self._predictions(found))
        drawn = f"The first {MAX_DRAWN} targets. " if len(self._targets) > MAX_DRAWN else ""
        items = [
            ReportItem(
                "predicted.png", "True against predicted", f"{drawn}Points on the diagonal are predicted exactly."
            ),
            ReportItem(
                "residuals.png",
                "Residuals",
                f"{drawn}True minus predicted, against the prediction, and how often residuals of a size occur. A "
                "slope or a funnel shows what the model does not describe.",
            ),
            ReportItem("predictions.csv", "Predictions", "The largest errors come first."),
        ]
        if len(self._targets) > 1:
            write_csv(folder / "targets.csv", self._of_targets(found))
            items.append(ReportItem("targets.csv", "Scores of each target", "In the units of the target."))
        return items

    @property
    def _targets(self) -> list[str]:
        """The names of the targets."""
        assert self._found is not None
        count = self._found.true.size(1)
        if len(self._given_names) == count:
            return self._given_names
        return ["target"] if count == 1 else [f"target {number}" for number in range(1, count + 1)]

    def _collect(self, passed: Iterable[tuple[Batch, Any, Tensor]]) -> Numbers:
        """Return the predictions of a pass in the units of the targets; on the device until the end of the pass."""
        parts: dict[str, list[Tensor]] = defaultdict(list)
        for batch, _, predicted in passed:
            targets = _targets_of(batch, predicted)
            for name, part in (("rows", batch["rows"]), ("true", targets), ("predicted", predicted)):
                parts[name].append(part)
        columns = {name: torch.cat(values).cpu() for name, values in parts.items()}
        rows = columns["rows"] if len(columns["rows"]) else torch.arange(len(columns["true"]))  # a stream has none
        order = rows.argsort()
        true, predicted = (
            columns[name][order].double().reshape(len(rows), -1) * self._scale + self._mean
            for name in ("true", "predicted")
        )
        return Numbers(rows[order], true, predicted)

    def _of_targets(self, found: Numbers) -> list[list[object]]:
        columns = (found.r2, found.mae, found.rmse)
        rows = zip(self._targets, *(map(_number, column.tolist()) for column in columns), strict=True)
        return [["target", "r2", "mae", "rmse"], *map(list, rows)]

    def _predictions(self, found: Numbers) -> list[list[object]]:
        size = found.residuals.abs() / found.variance.sqrt().clamp_min(torch.finfo(torch.float64).tiny)
        order = size.amax(1).argsort(descending=True, stable=True)
        rows = found.rows[order].tolist()
        columns: dict[str, Iterable[object]] = {"row": rows}
        if self._names is not None:
            names = self._names()
            columns["name"] = [names[row] for row in rows]
        for number, target in enumerate(self._targets):
            end = f" {target}" if len(self._targets) > 1 else ""
            for name in ("true", "predicted", "residual"):
                values = getattr(found, "residuals" if name == "residual" else name)[order, number]
                columns[f"{name}{end}"] = map(_number, values.tolist())
        return [list(columns), *map(list, zip(*columns.values(), strict=True))]


def _targets_of(batch: Batch, predicted: Tensor) -> Tensor:
    require_targets(batch, "the evaluator")
    targets = batch["targets"]
    if targets.dim() not in (1, 2) or not targets.is_floating_point():
        kind = str(targets.dtype).removeprefix("torch.")
        raise InputError(
            f"targets are {kind} of shape {tuple(targets.shape)}; expected one or several numbers for each example: "
            "choose another evaluator, such as core.classification, or data for regression"
        )
    if predicted.shape != targets.shape or not predicted.is_floating_point():
        kind = str(predicted.dtype).removeprefix("torch.")
        raise InputError(
            f"the predictions are {kind} of shape {tuple(predicted.shape)}, the targets have shape "
            f"{tuple(targets.shape)}; expected numbers of the same shape: choose a model for regression, whose method "
            "predict() returns them"
        )
    return targets


def _shown(values: Tensor) -> list[Any]:
    """Return numbers (N, T) to six digits, one or a list for each example; None for one that is not finite."""
    rounded = finite([[float(f"{value:.6g}") for value in row] for row in values.tolist()])
    return [row[0] for row in rounded] if values.size(1) == 1 else rounded


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
