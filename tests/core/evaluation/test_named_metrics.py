from __future__ import annotations

import math

import pytest
import torch
from sklearn import metrics as reference
from torch import nn

from dlpipe.compute import Compute
from dlpipe.data.columns import Columns
from dlpipe.data.targets import IGNORE_INDEX
from dlpipe.errors import InputError
from dlpipe.evaluation.examples import Examples
from dlpipe.evaluation.named_metrics import METRICS, Metrics


class Given:
    def __init__(self, columns):
        self._columns = Columns(columns)

    def split(self, name):
        return self._columns


class Repeats(nn.Module):
    """Takes its input for the logits."""

    def forward(self, logits):
        return logits


class Halved(Repeats):
    """Has probabilities that are not the softmax of what it returns, but depend on a parameter."""

    def __init__(self):
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(2.0))

    def probabilities(self, outputs):
        return (outputs / self.temperature).softmax(-1)


def measure(names, logits, targets, model=None):
    examples = Examples(Given({"logits": logits, "targets": targets}), "test", Compute(torch.device("cpu")))
    return Metrics(metrics=names).evaluate(model or Repeats(), examples)


def scored(classes, count=60):
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(classes, (count,), generator=generator)
    return torch.randn(count, classes, generator=generator) + torch.eye(classes)[targets], targets


def test_two_classes_are_measured_as_by_their_formulas():
    logits, targets = scored(2)
    found = measure(list(METRICS), logits, targets)

    predicted, positive = logits.argmax(1), logits.softmax(1)[:, 1]
    tp, tn = (int(((predicted == c) & (targets == c)).sum()) for c in (1, 0))
    fp, fn = (int(((predicted == c) & (targets != c)).sum()) for c in (1, 0))
    pairs = positive[targets == 1][:, None] > positive[targets == 0][None]

    assert found["accuracy"] == pytest.approx((tp + tn) / 60)
    assert found["balanced_accuracy"] == pytest.approx((tp / (tp + fn) + tn / (tn + fp)) / 2)
    spread = ((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5
    assert found["matthews_corrcoef"] == pytest.approx((tp * tn - fp * fn) / spread)
    by_chance = ((tp + fp) * (tp + fn) + (tn + fp) * (tn + fn)) / 60**2
    assert found["cohen_kappa"] == pytest.approx(((tp + tn) / 60 - by_chance) / (1 - by_chance))
    assert found["f1_macro"] == pytest.approx((2 * tp / (2 * tp + fp + fn) + 2 * tn / (2 * tn + fp + fn)) / 2)
    assert found["jaccard_macro"] == pytest.approx((tp / (tp + fp + fn) + tn / (tn + fp + fn)) / 2)
    assert found["recall_macro"] == found["balanced_accuracy"]
    assert found["precision_macro"] == pytest.approx((tp / (tp + fp) + tn / (tn + fn)) / 2)
    assert found["roc_auc"] == pytest.approx(float(pairs.double().mean()))
    assert found["log_loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, targets)), rel=1e-6)


def test_several_classes_are_measured_as_by_their_formulas():
    logits, targets = scored(3)
    logits[:, 2] -= 1.5  # the last class is predicted rarely
    found = measure(list(METRICS), logits, targets)

    shares, true, predicted = logits.double().softmax(1), targets.tolist(), logits.argmax(1).tolist()
    pairs = list(zip(true, predicted, strict=True))
    cells = [[pairs.count((i, j)) for j in range(3)] for i in range(3)]
    support, chosen = [sum(row) for row in cells], [sum(column) for column in zip(*cells, strict=True)]
    right = [cells[k][k] for k in range(3)]
    by_chance = sum(s * c for s, c in zip(support, chosen, strict=True))
    # Gorodkin 2004, "Comparing two K-category assignments by a K-category correlation coefficient", equation 8
    correlation = (sum(right) * 60 - by_chance) / (
        (60**2 - sum(c * c for c in chosen)) * (60**2 - sum(s * s for s in support))
    ) ** 0.5
    distance = sum((i - j) ** 2 * cells[i][j] for i in range(3) for j in range(3))
    expected = sum((i - j) ** 2 * support[i] * chosen[j] for i in range(3) for j in range(3)) / 60
    f1 = [2 * r / (s + c) for r, s, c in zip(right, support, chosen, strict=True)]
    assert found["matthews_corrcoef"] == pytest.approx(correlation)
    assert found["cohen_kappa"] == pytest.approx((sum(right) / 60 - by_chance / 60**2) / (1 - by_chance / 60**2))
    assert found["cohen_kappa_quadratic"] == pytest.approx(1 - distance / expected)
    assert found["f1_weighted"] == pytest.approx(sum(f * s for f, s in zip(f1, support, strict=True)) / 60)
    assert found["average_precision"] == pytest.approx(sum(average_precision(shares, true, k) for k in range(3)) / 3)
    assert found["log_loss"] == pytest.approx(-sum(float(shares[n, t].log()) for n, t in enumerate(true)) / 60)


def test_distances_of_classes_count_those_that_do_not_occur():
    logits, targets = scored(5)
    logits[:, [0, 3]] = -torch.inf
    kept = (targets != 0) & (targets != 3)

    found = measure(["cohen_kappa_quadratic"], logits[kept], targets[kept])

    true, predicted = targets[kept].double(), logits[kept].argmax(1).double()
    expected = (true[:, None] - predicted).square().mean()
    assert found["cohen_kappa_quadratic"] == pytest.approx(1 - float((true - predicted).square().mean() / expected))


def average_precision(shares, true, number):
    """Return the mean, over the examples of a class, of the precision when all down to it are accepted."""
    order = shares[:, number].argsort(descending=True).tolist()
    hits = [place for place, row in enumerate(order, start=1) if true[row] == number]
    return sum(rank / place for rank, place in enumerate(hits, start=1)) / len(hits)


def test_of_several_classes_areas_are_means_over_each_against_the_others():
    logits, targets = scored(4)

    found = measure(["roc_auc", "average_precision", "f1_weighted"], logits, targets)

    shares = logits.double().softmax(1)
    areas = [reference.roc_auc_score(targets == number, shares[:, number]) for number in range(4)]
    precisions = [reference.average_precision_score(targets == number, shares[:, number]) for number in range(4)]
    assert found["roc_auc"] == pytest.approx(sum(areas) / 4)
    assert found["average_precision"] == pytest.approx(sum(precisions) / 4)


def test_positions_of_a_sequence_without_a_target_do_not_count():
    logits, targets = scored(3)
    padded = targets.view(12, 5).clone()
    padded[:, 4] = IGNORE_INDEX

    found = measure(["accuracy", "log_loss"], logits.view(12, 5, 3), padded)

    kept = padded != IGNORE_INDEX
    assert found == pytest.approx(measure(["accuracy", "log_loss"], logits.view(12, 5, 3)[kept], padded[kept]))


def test_the_probabilities_are_those_that_the_model_gives():
    logits, targets = scored(3)

    found = measure(["log_loss"], logits, targets, Halved())

    assert found["log_loss"] == pytest.approx(float(nn.functional.cross_entropy(logits / 2, targets)), rel=1e-6)


def test_the_first_metric_decides_and_knows_its_direction():
    assert (Metrics(metrics=["log_loss", "accuracy"]).primary, Metrics(metrics=["log_loss"]).goal) == (
        "log_loss",
        "min",
    )
    assert Metrics(metrics=["roc_auc"]).goal == "max"


def test_what_is_not_defined_is_nan_with_a_warning():
    logits, targets = scored(2)

    with pytest.warns(UserWarning, match="roc_auc is not defined on test: .*one class"):
        found = measure(["roc_auc"], logits, torch.ones_like(targets))

    assert math.isnan(found["roc_auc"])


@pytest.mark.parametrize(("classes", "missing"), [(2, [1]), (4, [0, 3])])
def test_the_average_precision_of_a_class_without_examples_is_not_defined(classes, missing):
    logits, targets = scored(classes)
    kept = ~torch.isin(targets, torch.tensor(missing))

    with pytest.warns(UserWarning, match=f"average_precision is not defined on test: no example of class {missing[0]}"):
        found = measure(["average_precision"], logits[kept], targets[kept])

    assert math.isnan(found["average_precision"])


def test_outputs_that_are_no_scores_are_refused():
    class Sorted(Repeats):
        def forward(self, logits):
            return {"scores": logits}

        def predict(self, outputs):
            return outputs["scores"].argmax(1)

    logits, targets = scored(3)
    examples = Examples(Given({"logits": logits, "targets": targets}), "test", Compute(torch.device("cpu")))

    assert Metrics(metrics=["accuracy"]).evaluate(Sorted(), examples)["accuracy"] > 0
    with pytest.raises(
        InputError,
        match=r"metrics = \['log_loss'\]: the model returns dict and has a predict\(\) of its own; expected a score .*, K\), "
        r"or a method probabilities\(outputs, …\). Leave out log_loss",
    ):
        Metrics(metrics=["accuracy", "log_loss"]).evaluate(Sorted(), examples)


def test_numbers_are_refused():
    with pytest.raises(InputError, match=r"core.metrics needs a predicted class for each target; found .*float32"):
        measure(["accuracy"], torch.zeros(5, 2), torch.zeros(5))
