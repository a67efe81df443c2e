"""Metrics of scikit-learn for classes, by name.

Axes: N targets of a split (of sequences: of all their positions), K classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import torch
from pydantic import Field
from torch import Tensor, nn

from dlpipe.data.model_caller import ModelCaller, own_method
from dlpipe.data.targets import IGNORE_INDEX, require_targets
from dlpipe.errors import InputError, in_words
from dlpipe.evaluation.examples import Examples
from dlpipe.protocols import Batch, Goal

MetricName = Literal[
    "accuracy",
    "balanced_accuracy",
    "matthews_corrcoef",
    "cohen_kappa",
    "cohen_kappa_quadratic",
    "f1_macro",
    "f1_weighted",
    "precision_macro",
    "recall_macro",
    "jaccard_macro",
    "roc_auc",
    "average_precision",
    "log_loss",
]


@dataclass(frozen=True)
class SklearnMetric:
    """A function of ``sklearn.metrics``.

    Args:
        function: its name.
        options: further arguments.
        of_probabilities: whether it takes the probabilities (N, K) rather than the predicted classes (N,).
        goal: whether it should grow or fall.
    """

    function: str
    options: Mapping[str, Any] = field(default_factory=dict)
    of_probabilities: bool = False
    goal: Goal = "max"


MACRO = {"average": "macro", "zero_division": 0.0}
METRICS: dict[str, SklearnMetric] = {
    "accuracy": SklearnMetric("accuracy_score"),
    "balanced_accuracy": SklearnMetric("balanced_accuracy_score"),
    "matthews_corrcoef": SklearnMetric("matthews_corrcoef"),
    "cohen_kappa": SklearnMetric("cohen_kappa_score"),
    "cohen_kappa_quadratic": SklearnMetric("cohen_kappa_score", {"weights": "quadratic"}),
    "f1_macro": SklearnMetric("f1_score", MACRO),
    "f1_weighted": SklearnMetric("f1_score", {"average": "weighted", "zero_division": 0.0}),
    "precision_macro": SklearnMetric("precision_score", MACRO),
    "recall_macro": SklearnMetric("recall_score", MACRO),
    "jaccard_macro": SklearnMetric("jaccard_score", MACRO),
    "roc_auc": SklearnMetric("roc_auc_score", of_probabilities=True),
    "average_precision": SklearnMetric("average_precision_score", of_probabilities=True),
    "log_loss": SklearnMetric("log_loss", of_probabilities=True, goal="min"),
}
assert set(get_args(MetricName)) == set(METRICS)


class Metrics:
    """Compute metrics of scikit-learn for a classifier, by their names there.

    ``cohen_kappa_quadratic`` is for classes with an order: a mistake counts by the squared distance of their numbers.
    For ``roc_auc`` and ``average_precision`` with two classes, the second one is the positive one; with more, each
    class against the others, then the mean over the classes. What is not defined (the area under the curve of a class
    without examples) is NaN, with a warning.

    Args:
        metrics: which ones; the first decides which checkpoint is best.
    """

    def __init__(self, *, metrics: Annotated[Sequence[MetricName], Field(min_length=1)]) -> None:
        self._metrics = list(dict.fromkeys(metrics))
        self.primary: str = self._metrics[0]
        self.goal: Goal = METRICS[self.primary].goal

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Compute the metrics of a split."""
        parts = []
        caller: ModelCaller | None = None
        for batch, outputs, predicted in examples.predictions(model):
            require_targets(batch, "core.metrics")
            caller = caller or ModelCaller(model, tuple(batch))
            parts.append(self._part(caller, batch, outputs, predicted))
        found = [torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True)]
        return {name: self._measured(name, examples.split, *found) for name in self._metrics}

    def write(self, folder: Path) -> None:
        """Write nothing: metrics are numbers."""

    def _part(
        self, caller: ModelCaller, batch: Batch, outputs: Any, predicted: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the targets, predictions and probabilities of what has a target in a batch."""
        targets = batch["targets"]
        if targets.is_floating_point() or targets.shape != predicted.shape:
            raise InputError(
                f"core.metrics needs a predicted class for each target; found targets of shape {tuple(targets.shape)} "
                f"and type {str(targets.dtype).removeprefix('torch.')}, and predictions of shape "
                f"{tuple(predicted.shape)}"
            )
        known = targets != IGNORE_INDEX
        wanted = [name for name in self._metrics if METRICS[name].of_probabilities]
        if not wanted:
            return targets[known], predicted[known], torch.empty(int(known.sum()), 0)
        with torch.inference_mode():
            probabilities = caller.probabilities(outputs, predicted, batch)
        if probabilities is None or probabilities.shape[:-1] != targets.shape:
            found = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
            own = " and has a predict() of its own" if own_method(caller.model, "predict") else ""
            raise InputError(
                f"metrics = {wanted}: the model returns {found}{own}; expected a score for each class, "
                f"({', '.join(map(str, targets.shape))}, K), or a method probabilities(outputs, …). Leave out "
                f"{', '.join(wanted)}"
            )
        return targets[known], predicted[known], probabilities[known]

    def _measured(self, name: str, split: str, targets: Any, predicted: Any, probabilities: Any) -> float:
        import sklearn.metrics  # takes a second, and only this evaluator needs it

        metric = METRICS[name]
        function: Callable[..., float] = getattr(sklearn.metrics, metric.function)
        arguments, options = (targets, predicted), dict(metric.options)
        if metric.of_probabilities:
            arguments, options = _with_probabilities(name, targets, probabilities)
        if name == "cohen_kappa_quadratic":
            # Without them, scikit-learn numbers the classes that occur, and one that does not shortens distances.
            options["labels"] = range(1 + max(int(numbers.max(initial=0)) for numbers in arguments))
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                value = float(function(*arguments, **options))
        except ValueError as error:
            warnings.warn(f"{name} is not defined on {split}: {in_words(error)}", stacklevel=2)
            return float("nan")
        reasons = "; ".join(str(warning.message) for warning in caught) or "it is NaN"
        if name == "average_precision" and (missing := _without_examples(targets, probabilities.shape[1])):
            value = float("nan")  # scikit-learn counts 0 for these classes
            reasons = f"no example of class {', '.join(map(str, missing))}"
        if value != value:
            warnings.warn(f"{name} is not defined on {split}: {reasons}", stacklevel=2)
        return value


def _without_examples(targets: Any, count: int) -> list[int]:
    """Return the classes that are compared with the others and have no example; of two, only the second one is."""
    return [number for number in range(1 if count == 2 else 0, count) if number not in targets]


def _with_probabilities(name: str, targets: Any, probabilities: Any) -> tuple[tuple[Any, Any], dict[str, Any]]:
    """Return the arguments of a function that takes probabilities (N, K)."""
    count = probabilities.shape[1]
    if name == "log_loss":
        return (targets, probabilities), {"labels": list(range(count))}
    if count == 2:
        return (targets == 1, probabilities[:, 1]), {}
    one_hot = targets[:, None] == range(count)
    return (one_hot, probabilities), {"average": "macro"}
