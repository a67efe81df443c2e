"""How well a classifier works: accuracy, F1, calibration, and the confusion of classes.

Axes: N examples, B of a batch, K classes, M bins of confidence.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dlpipe.data.model_caller import ModelCaller, softmax_of
from dlpipe.data.targets import IGNORE_INDEX, require_targets
from dlpipe.errors import InputError
from dlpipe.evaluation.classification_figures import draw_calibration, draw_confusion
from dlpipe.evaluation.csv_files import write_csv
from dlpipe.evaluation.example_scores import ExampleScores
from dlpipe.evaluation.examples import Examples
from dlpipe.protocols import Batch, SupportsNames
from dlpipe.report_items import ReportItem

#: Bins of confidence, as in Guo et al. 2017.
BINS = 15
#: ``accuracy_top5`` is reported from this number of classes up.
TOP, TOP_FROM = 5, 10


@dataclass(frozen=True)
class Answers:
    """The predictions of a model, in the order of the split; examples without a target are left out.

    Args:
        rows: (N,) numbers of the examples in their split.
        targets: (N,) class numbers.
        predicted: (N,) class numbers.
        confidence: (N,) the probability that the model gives its prediction, float64; None if it gives none.
        in_top: (N,) whether the target is among the five most probable classes; None without probabilities.
    """

    rows: Tensor
    targets: Tensor
    predicted: Tensor
    confidence: Tensor | None = None
    in_top: Tensor | None = None

    @property
    def right(self) -> Tensor:
        """(N,) whether each prediction is right."""
        return self.predicted == self.targets

    @property
    def accuracy(self) -> float:
        """Share of right predictions."""
        return float(self.right.double().mean())

    def worst_first(self) -> Tensor:
        """Return the indices (N,) of all predictions, from the most confidently wrong to the most confidently right."""
        if self.confidence is None:
            return self.right.int().argsort(stable=True)
        badness = torch.where(self.right, -1 - self.confidence, self.confidence)
        return badness.argsort(descending=True, stable=True)


def collect(passed: Iterable[tuple[Batch, Any, Tensor]], num_classes: int, model: nn.Module | None = None) -> Answers:
    """Return the predictions of a pass of `Examples`; they stay on the device until the end of the pass.

    Args:
        model: the one of the pass; the confidence follows from the probabilities that it gives (`ModelCaller`). Without
            it, outputs (B, K) are taken for logits.

    Raises:
        InputError: data or model do not classify whole examples, or have other classes than these.
    """
    found: dict[str, list[Tensor]] = defaultdict(list)
    caller: ModelCaller | None = None
    for batch, outputs, predicted in passed:
        targets = _targets(batch, predicted)
        parts = {"rows": batch["rows"], "targets": targets, "predicted": predicted}
        if model is not None:
            caller = caller or ModelCaller(model, tuple(batch))
        with torch.inference_mode():
            probabilities = caller.probabilities(outputs, predicted, batch) if caller else softmax_of(outputs)
        if probabilities is not None and probabilities.shape == (len(targets), num_classes):
            chosen = predicted.clamp(0, num_classes - 1)[:, None]  # a prediction out of range is reported below
            parts["confidence"] = probabilities.gather(1, chosen)[:, 0]
            parts["in_top"] = (probabilities.topk(min(TOP, num_classes)).indices == targets[:, None]).any(1)
        for name, part in parts.items():
            found[name].append(part)
    columns = {name: torch.cat(parts).cpu() for name, parts in found.items()}
    if not len(columns["rows"]):  # of a stream
        columns["rows"] = torch.arange(len(columns["targets"]))
    kept = (columns["targets"] != IGNORE_INDEX).nonzero()[:, 0]
    order = kept[columns["rows"][kept].argsort()]
    answers = Answers(**{name: column[order] for name, column in columns.items()})
    _check(answers, num_classes)
    return answers


def confusion_of(answers: Answers, num_classes: int) -> Tensor:
    """Return the confusion matrix (K, K): rows are true classes, columns predicted ones."""
    pairs = answers.targets * num_classes + answers.predicted
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)


@dataclass(frozen=True)
class ClassScores:
    """Scores (K,) of each class; NaN if the denominator is zero."""

    precision: Tensor
    recall: Tensor
    f1: Tensor
    support: Tensor

    @classmethod
    def of(cls, confusion: Tensor) -> ClassScores:
        """Return the scores of a confusion matrix (K, K), rows true, columns predicted."""
        right, true, predicted = confusion.diag().double(), confusion.sum(1), confusion.sum(0)
        return cls(right / predicted, right / true, 2 * right / (true + predicted), true)


@dataclass(frozen=True)
class Calibration:
    """Whether predictions are right as often as their confidence says: M bins of equal width from 0 to 1.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", https://arxiv.org/abs/1706.04599, section 2.

    Args:
        counts: (M,) predictions by confidence; a bin includes its upper edge.
        confidence: (M,) their mean confidence, NaN in an empty bin.
        accuracy: (M,) share of right ones, NaN in an empty bin.
    """

    counts: Tensor
    confidence: Tensor
    accuracy: Tensor

    @classmethod
    def of(cls, confidence: Tensor, right: Tensor) -> Calibration:
        """Return the calibration of predictions with `confidence` (N,) of which those in `right` (N,) are right."""
        bins = torch.bucketize(confidence, torch.linspace(0, 1, BINS + 1, dtype=torch.float64)[1:-1])
        counts = torch.bincount(bins, minlength=BINS)
        sums = (torch.bincount(bins, weights=of.double(), minlength=BINS) for of in (confidence, right))
        return cls(counts, *(total / counts for total in sums))

    @property
    def error(self) -> float:
        """The expected calibration error: the mean distance between confidence and accuracy over all predictions.

        NaN if a confidence is.
        """
        distances = self.counts * (self.accuracy - self.confidence).abs()
        return float(distances.masked_fill(self.counts == 0, 0.0).sum() / self.counts.sum())


class Classification:
    """Evaluate a classifier on any data with one class per example (``targets``, (B,)).

    ``evaluate`` gives

    * ``accuracy``, the share of right predictions;
    * ``accuracy_macro``, the mean recall over classes; a class that never occurs in the split is left out;
    * ``f1_macro``, the mean over classes of F1; a class that occurs and is never predicted counts 0, as does
      one that is predicted and never occurs; one that neither occurs nor is predicted is left out;
    * ``accuracy_top5``, how often the right class is among the five most probable ones; from 10 classes up;
    * ``ece``, the expected calibration error: the difference between confidence and accuracy, 0 to 1, in 15 bins.

    The last two need a model that returns logits (B, K), or has ``probabilities`` of its own. ``write`` gives
    ``classes.csv`` (each class; a score that is not defined is empty), ``confusion.csv`` and ``confusion.png`` (rows
    true, columns predicted), ``calibration.png`` and ``predictions.csv`` (the most confident mistakes first).

    Args:
        labels: the name of each class.
    """

    primary = "accuracy"
    goal: Literal["max"] = "max"

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = [str(label) for label in labels]
        self._answers: Answers | None = None
        self._names: Callable[[], Sequence[str]] | None = None

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Compute the metrics of a split."""
        answers = self._answers = collect(examples.predictions(model), len(self._labels), model)
        data = examples.data
        self._names = (lambda: data.names(examples.split)) if isinstance(data, SupportsNames) else None
        scores = ClassScores.of(confusion_of(answers, len(self._labels)))
        metrics = {
            "accuracy": answers.accuracy,
            "accuracy_macro": float(scores.recall.nanmean()),
            "f1_macro": float(scores.f1.nanmean()),
        }
        if answers.in_top is not None and len(self._labels) >= TOP_FROM:
            metrics["accuracy_top5"] = float(answers.in_top.double().mean())
        if answers.confidence is not None:
            metrics["ece"] = Calibration.of(answers.confidence, answers.right).error
        return metrics

    def example_scores(self) -> ExampleScores:
        """Return 1 for each example that the last `evaluate` found to be right, 0 for the others."""
        assert self._answers is not None
        answers = self._answers
        return ExampleScores(
            answers.rows.tolist(),
            answers.right.int().tolist(),
            true=[self._labels[number] for number in answers.targets.tolist()],
            predicted=[self._labels[number] for number in answers.predicted.tolist()],
        )

    def write(self, folder: Path) -> list[ReportItem]:
        """Write tables and figures of the last `evaluate`."""
        assert self._answers is not None
        confusion = confusion_of(self._answers, len(self._labels))
        write_csv(folder / "classes.csv", self._classes(confusion))
        table = [[label, *counts] for label, counts in zip(self._labels, confusion.tolist(), strict=True)]
        write_csv(folder / "confusion.csv", [["true \\ predicted", *self._labels], *table])
        write_csv(folder / "predictions.csv", self._predictions(self._answers))
        draw_confusion(folder / "confusion.png", confusion, self._labels)
        if self._answers.confidence is not None:
            calibration = Calibration.of(self._answers.confidence, self._answers.right)
            draw_calibration(
                folder / "calibration.png",
                calibration.counts,
                calibration.confidence,
                calibration.accuracy,
                calibration.error,
            )
        return self._items()

    def _items(self) -> list[ReportItem]:
        """Return how the report presents the files."""
        assert self._answers is not None
        wrong, count = int((~self._answers.right).sum()), len(self._answers.right)
        items = [
            ReportItem("confusion.png", "Confusion of classes", "Rows are true classes, columns predicted ones."),
            ReportItem("classes.csv", "Scores of each class", "Support is the number of examples of the class."),
            ReportItem("predictions.csv", "Predictions", f"{wrong:,} of {count:,} are wrong; these come first."),
            ReportItem("confusion.csv", "Confusion in numbers", "Rows are true classes, columns predicted ones."),
        ]
        if self._answers.confidence is not None:
            caption = (
                "How often predictions of a confidence are right, and below how many there are. Bars on the diagonal "
                "are well calibrated, bars below it too confident."
            )
            items.insert(2, ReportItem("calibration.png", "Calibration", caption))
        return items

    def _classes(self, confusion: Tensor) -> list[list[object]]:
        scores = ClassScores.of(confusion)
        columns = [[_share(value) for value in part.tolist()] for part in (scores.precision, scores.recall, scores.f1)]
        rows = zip(self._labels, *columns, scores.support.tolist(), strict=True)
        return [["class", "precision", "recall", "f1", "support"], *map(list, rows)]

    def _predictions(self, answers: Answers) -> list[list[object]]:
        order = answers.worst_first()
        rows = answers.rows[order].tolist()
        columns: dict[str, Iterable[object]] = {"row": rows}
        if self._names is not None:
            names = self._names()
            columns["name"] = [names[row] for row in rows]
        columns["true"] = [self._labels[number] for number in answers.targets[order].tolist()]
        columns["predicted"] = [self._labels[number] for number in answers.predicted[order].tolist()]
        if answers.confidence is not None:
            columns["confidence"] = map(_share, answers.confidence[order].tolist())
        return [list(columns), *map(list, zip(*columns.values(), strict=True))]


def _targets(batch: Batch, predicted: Tensor) -> Tensor:
    require_targets(batch, "the evaluator")
    targets = batch["targets"]
    if targets.dim() != 1 or targets.is_floating_point():
        kind = str(targets.dtype).removeprefix("torch.")
        raise InputError(
            f"targets are {kind} of shape {tuple(targets.shape)}; expected one class number per example: "
            "choose another evaluator, such as core.regression for numbers, or data with one class per example"
        )
    if predicted.shape != targets.shape or predicted.is_floating_point():
        kind = str(predicted.dtype).removeprefix("torch.")
        raise InputError(
            f"the predictions are {kind} of shape {tuple(predicted.shape)}, the targets have shape "
            f"{tuple(targets.shape)}; expected one class number per example: choose a model that classifies whole "
            "examples"
        )
    return targets


def _check(answers: Answers, num_classes: int) -> None:
    for who, numbers in (("data has the target", answers.targets), ("model predicts the class", answers.predicted)):
        if len(beyond := numbers[(numbers < 0) | (numbers >= num_classes)]):
            raise InputError(
                f"the {who} {int(beyond[0])}, but there are {num_classes} labels; expected 0 to {num_classes - 1}"
            )


def _share(value: float) -> str:
    return "" if value != value else f"{value:.4f}"
