import csv
import math

import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from torch import nn

from dlpipe.compute import Compute
from dlpipe.data.columns import Columns
from dlpipe.errors import InputError
from dlpipe.evaluation.examples import Examples
from dlpipe.evaluation.regression import Regression


class OneSplit:
    """Data with one split of 7 rows."""

    splits = ("test",)

    def __init__(self, targets, predicted):
        self._columns = Columns({"targets": targets, "numbers": predicted})

    def split(self, name):
        return self._columns

    def names(self, split):
        return [f"rows.csv:{number + 2}" for number in range(7)]


class Identity(nn.Module):
    """Predicts the numbers that it gets."""

    def forward(self, numbers):
        return numbers

    def predict(self, outputs):
        return outputs


def numbers(*shape):
    random = torch.Generator().manual_seed(0)
    targets = torch.randn(*shape, generator=random)
    return targets, targets + torch.randn(*shape, generator=random) / 3


def evaluate(targets, predicted, **options):
    evaluator = Regression(**options)
    return evaluator, evaluator.evaluate(
        Identity(), Examples(OneSplit(targets, predicted), "test", Compute(torch.device("cpu")))
    )


@pytest.mark.parametrize("shape", [(7,), (7, 3)])
def test_the_metrics_are_those_of_scikit_learn(shape):
    targets, predicted = numbers(*shape)

    _, metrics = evaluate(targets, predicted)

    assert metrics == pytest.approx(
        {
            "r2": r2_score(targets, predicted),
            "mae": mean_absolute_error(targets, predicted),
            "rmse": root_mean_squared_error(targets, predicted),
        },
        rel=1e-6,
    )


def test_the_metrics_are_in_the_units_of_the_targets():
    targets, predicted = numbers(7)
    _, metrics = evaluate(targets, predicted)

    evaluator, scaled = evaluate(targets, predicted, target_names=["weight"], target_mean=[70.0], target_scale=[12.0])

    assert scaled == pytest.approx({"r2": metrics["r2"], "mae": 12 * metrics["mae"], "rmse": 12 * metrics["rmse"]})
    assert evaluator.example_scores().true == pytest.approx((12 * targets.double() + 70).tolist())


@pytest.mark.parametrize("shape", [(7,), (7, 3)])
def test_the_mean_of_the_scores_of_the_examples_is_r2(shape):
    evaluator, metrics = evaluate(*numbers(*shape))

    scores = evaluator.example_scores()

    assert scores.metric() == pytest.approx(metrics["r2"])
    assert scores.rows == list(range(7))


def test_r2_of_equal_targets_is_nan_and_that_is_said():
    with pytest.warns(UserWarning, match="r2 of height is not defined on test: all 7 targets are 3"):
        evaluator, metrics = evaluate(torch.full((7,), 3.0), torch.arange(7.0), target_names=["height"])

    assert math.isnan(metrics["r2"])
    assert metrics["mae"] == pytest.approx(12 / 7)
    assert evaluator.example_scores() is None


@pytest.mark.parametrize("of", ["targets", "predictions"])
def test_r2_of_nan_is_nan_and_what_is_nan_is_said(of):
    given = {"targets": torch.arange(7.0), "predictions": torch.arange(7.0)}
    given[of][2:4] = torch.nan

    with pytest.warns(UserWarning, match=f"r2 of target is not defined on test: 2 of 7 {of} are NaN"):
        _, metrics = evaluate(given["targets"], given["predictions"])

    assert math.isnan(metrics["r2"])


@pytest.mark.filterwarnings("ignore:r2 of target 2 is not defined")
@pytest.mark.parametrize(("of", "number"), [("true", torch.nan), ("predicted", torch.nan), ("predicted", torch.inf)])
def test_a_number_that_is_not_finite_is_none_beside_those_of_other_targets(of, number):
    given = dict(zip(("true", "predicted"), numbers(7, 2), strict=True))
    given[of][3, 1] = number

    evaluator, _ = evaluate(given["true"], given["predicted"])

    shown = getattr(evaluator.example_scores(), of)
    assert shown[3] == [pytest.approx(float(given[of][3, 0]), rel=1e-5), None]
    assert shown[4] == pytest.approx(given[of][4].tolist(), rel=1e-5)


def test_r2_is_the_mean_over_the_targets_that_have_one():
    targets, predicted = numbers(7, 2)
    targets[:, 1] = 0.1

    with pytest.warns(UserWarning, match="r2 of target 2 is not defined on test: all 7 targets are 0.1"):
        evaluator, metrics = evaluate(targets, predicted)

    assert metrics["r2"] == pytest.approx(r2_score(targets[:, 0], predicted[:, 0]))
    assert evaluator.example_scores().metric() == pytest.approx(metrics["r2"])


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_the_largest_errors_come_first_in_the_table_of_predictions(tmp_path):
    targets = torch.arange(7.0)
    predicted = targets + torch.tensor([0, 0, -2.5, 0, 0, 1, 0])
    evaluator, _ = evaluate(targets, predicted)

    items = evaluator.write(tmp_path)

    assert read(tmp_path / "predictions.csv")[:3] == [
        ["row", "name", "true", "predicted", "residual"],
        ["2", "rows.csv:4", "2", "-0.5", "2.5"],
        ["5", "rows.csv:7", "5", "6", "-1"],
    ]
    assert {item.file for item in items} == {path.name for path in tmp_path.iterdir()}


def test_each_of_several_targets_has_its_scores_and_columns(tmp_path):
    targets, predicted = numbers(7, 2)
    evaluator, _ = evaluate(targets, predicted, target_names=["x", "y"], target_mean=[0, 0], target_scale=[1, 1])

    items = evaluator.write(tmp_path)

    table = read(tmp_path / "targets.csv")
    assert [row[0] for row in table] == ["target", "x", "y"]
    assert float(table[2][1]) == pytest.approx(r2_score(targets[:, 1], predicted[:, 1]), rel=1e-4)
    assert read(tmp_path / "predictions.csv")[0][2:] == [
        "true x",
        "predicted x",
        "residual x",
        "true y",
        "predicted y",
        "residual y",
    ]
    assert {item.file for item in items} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("targets", "predicted", "message"),
    [
        (
            torch.arange(7),
            torch.zeros(7),
            r"targets are int64 of shape \(7,\); expected one or several numbers for each",
        ),
        (torch.zeros(7, 2, 3), torch.zeros(7), r"targets are float32 of shape \(7, 2, 3\); expected one or several"),
        (
            torch.zeros(7),
            torch.zeros(7, 1),
            r"predictions are float32 of shape \(7, 1\), the targets have shape \(7,\)",
        ),
        (
            torch.zeros(7),
            torch.arange(7),
            r"the predictions are int64 .*; expected numbers of the same shape: choose a",
        ),
    ],
)
def test_what_is_no_regression_is_refused(targets, predicted, message):
    with pytest.raises(InputError, match=message):
        evaluate(targets, predicted)
