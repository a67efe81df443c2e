from __future__ import annotations

import csv
import math

import pytest
import torch
from sklearn import metrics as reference
from torch import nn

from dlpipe.compute import Compute
from dlpipe.data.columns import Columns
from dlpipe.errors import InputError
from dlpipe.evaluation.classification import Answers, Calibration, Classification
from dlpipe.evaluation.classification_figures import draw_confusion
from dlpipe.evaluation.examples import Examples
from dlpipe.figures import shortened, thinned

PNG = b"\x89PNG"


class Given:
    """Data with one split."""

    def __init__(self, columns, names=None):
        self._columns = Columns(columns)
        if names:
            self.names = lambda split: names

    def split(self, name):
        return self._columns


class Repeats(nn.Module):
    """Takes its input for the logits."""

    def forward(self, logits):
        return logits


class Decides(Repeats):
    """Gives no logits, but classes."""

    def forward(self, answers):
        return answers

    def predict(self, outputs):
        return outputs


def examples(columns, names=None):
    return Examples(Given(columns, names), "dev", Compute(torch.device("cpu"), evaluation_batch_size=7))


def judged(logits, targets, labels=None, model=None, names=None):
    evaluator = Classification(labels or [f"class {number}" for number in range(logits.size(1))])
    return evaluator, evaluator.evaluate(
        model or Repeats(), examples({"logits": logits, "targets": torch.as_tensor(targets)}, names)
    )


def logits_for(predicted, num_classes, height=2.0):
    return nn.functional.one_hot(torch.as_tensor(predicted), num_classes) * height


def drawn(count=53, num_classes=12):
    """Draw logits of medium quality, without the class 4."""
    generator = torch.Generator().manual_seed(2)
    targets = torch.randint(num_classes - 1, (count,), generator=generator)
    targets += targets >= 4
    return torch.randn(count, num_classes, generator=generator) + 2 * logits_for(targets, num_classes, 1.0), targets


def test_each_example_is_right_or_wrong():
    logits, targets = drawn()
    evaluator, metrics = judged(logits, targets)
    found = evaluator.example_scores()

    assert found.metric() == pytest.approx(metrics["accuracy"])
    assert found.true[3] == f"class {targets[3]}"
    assert [a == b for a, b in zip(found.true, found.predicted, strict=True)] == [bool(score) for score in found.scores]


def test_scores_agree_with_scikit_learn():
    logits, targets = drawn()
    predicted = logits.argmax(1)

    _, metrics = judged(logits, targets)

    wanted = {
        "accuracy": reference.accuracy_score(targets, predicted),
        "accuracy_macro": reference.recall_score(
            targets, predicted, average="macro", labels=sorted(set(targets.tolist()))
        ),
        "f1_macro": reference.f1_score(targets, predicted, average="macro", zero_division=0),
        "accuracy_top5": reference.top_k_accuracy_score(targets, logits, k=5, labels=list(range(12))),
    }
    assert {name: metrics[name] for name in wanted} == pytest.approx(wanted)


def test_classes_that_never_occur_or_are_never_predicted_are_counted_as_told():
    _, metrics = judged(logits_for([0, 0, 1, 2], 5), [0, 0, 3, 0])

    assert metrics["accuracy_macro"] == pytest.approx((2 / 3 + 0) / 2)
    assert metrics["f1_macro"] == pytest.approx((4 / 5 + 0 + 0 + 0) / 4)


def test_the_calibration_error_is_the_mean_distance_of_confidence_and_accuracy():
    confidence = torch.tensor([0.62, 0.64, 0.97, 0.99], dtype=torch.float64)

    calibration = Calibration.of(confidence, torch.tensor([True, False, True, True]))

    assert calibration.error == pytest.approx((2 * (0.63 - 0.5) + 2 * (1 - 0.98)) / 4)
    assert calibration.counts.nonzero()[:, 0].tolist() == [9, 14]


def test_a_bin_weighs_as_much_as_it_has_predictions():
    confidence = torch.tensor([0.61, 0.62, 0.63, 0.64, 0.65, 0.98], dtype=torch.float64)

    calibration = Calibration.of(confidence, torch.tensor([True, False, False, True, False, True]))

    assert calibration.error == pytest.approx((5 * (0.63 - 0.4) + 1 * (1 - 0.98)) / 6)  # 0.125 if bins weighed the same


def test_the_calibration_of_nan_is_nan():
    confidence = torch.tensor([0.61, torch.nan], dtype=torch.float64)

    assert math.isnan(Calibration.of(confidence, torch.tensor([True, False])).error)


def test_a_bin_holds_its_upper_edge():
    edges = torch.linspace(0, 1, 16, dtype=torch.float64)

    assert Calibration.of(edges[[1, 7, 15]], torch.ones(3)).counts.nonzero()[:, 0].tolist() == [0, 6, 14]


def test_confidence_is_the_probability_of_the_answer():
    _, metrics = judged(torch.tensor([[1.5, 0.0]]), [0])

    assert metrics["ece"] == pytest.approx(1 - 1 / (1 + torch.tensor(-1.5).exp().item()))


def test_confidence_is_what_the_model_says_if_it_has_probabilities_of_its_own():
    class Halved(nn.Module):
        def __init__(self):
            super().__init__()
            self.temperature = nn.Parameter(torch.tensor(4.0))

        def forward(self, logits):
            return logits * 2

        def probabilities(self, outputs):
            return (outputs / self.temperature).softmax(-1)

    _, metrics = judged(torch.tensor([[1.5, 0.0]]), [0], model=Halved())

    assert metrics["ece"] == pytest.approx(1 - 1 / (1 + torch.tensor(-0.75).exp().item()))


def test_five_of_less_than_ten_classes_say_nothing():
    assert "accuracy_top5" not in judged(logits_for([1, 2], 9), [1, 2])[1]
    assert "accuracy_top5" in judged(logits_for([1, 2], 10), [1, 2])[1]


def test_a_model_without_logits_is_judged_by_its_answers(tmp_path):
    evaluator = Classification(["a", "b", "c"])

    metrics = evaluator.evaluate(
        Decides(), examples({"answers": torch.tensor([2, 1, 0]), "targets": torch.tensor([2, 1, 1])})
    )
    evaluator.write(tmp_path)

    assert sorted(metrics) == ["accuracy", "accuracy_macro", "f1_macro"]
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert not (tmp_path / "calibration.png").exists()


def test_examples_without_a_target_are_left_out():
    assert judged(logits_for([0, 1, 1], 3), [0, -100, 2])[1]["accuracy"] == 1 / 2


def test_tables_and_figures_are_written(tmp_path):
    evaluator, _ = judged(logits_for([0, 1, 1], 3), [0, 1, 0], ["cat", "dog", "owl"], names=["x.png", "y.png", "z.png"])

    items = {item.file: item for item in evaluator.write(tmp_path)}

    assert set(items) == {path.name for path in tmp_path.iterdir()}
    assert items["predictions.csv"].caption == "1 of 3 are wrong; these come first."
    rows = {path.name: list(csv.reader(path.open())) for path in tmp_path.glob("*.csv")}
    assert rows["classes.csv"] == [
        ["class", "precision", "recall", "f1", "support"],
        ["cat", "1.0000", "0.5000", "0.6667", "2"],
        ["dog", "0.5000", "1.0000", "0.6667", "1"],
        ["owl", "", "", "", "0"],
    ]
    assert rows["confusion.csv"] == [
        ["true \\ predicted", "cat", "dog", "owl"],
        ["cat", "1", "1", "0"],
        ["dog", "0", "1", "0"],
        ["owl", "0", "0", "0"],
    ]
    assert rows["predictions.csv"][0] == ["row", "name", "true", "predicted", "confidence"]
    assert rows["predictions.csv"][1] == ["2", "z.png", "cat", "dog", "0.7870"]
    for name in ("confusion.png", "calibration.png"):
        assert (tmp_path / name).read_bytes().startswith(PNG)


def test_data_without_names_has_rows(tmp_path):
    evaluator, _ = judged(logits_for([0, 1], 2), [0, 1])

    evaluator.write(tmp_path)

    assert (tmp_path / "predictions.csv").read_text().splitlines()[0] == "row,true,predicted,confidence"


@pytest.mark.parametrize("num_classes", [1, 2, 23])
def test_a_confusion_matrix_of_any_size_is_drawn(tmp_path, num_classes):
    names = ["$x", *(f"{number} is a long name of a class" for number in range(num_classes - 1))]

    draw_confusion(tmp_path / "confusion.png", torch.eye(num_classes).long(), names)

    assert (tmp_path / "confusion.png").read_bytes().startswith(PNG)


def test_names_that_do_not_fit_are_left_out_or_cut():
    assert list(thinned([str(number) for number in range(100)], 40)) == list(range(0, 100, 3))
    assert thinned(["a", "b"], 2) == {0: "a", 1: "b"}
    assert shortened("a name of a class", 6) == "a nam…"


def test_the_most_confidently_wrong_answer_comes_first():
    answers = Answers(
        torch.arange(4), torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1]), torch.tensor([0.9, 0.6, 0.8, 0.7])
    )

    assert answers.worst_first().tolist() == [2, 1, 3, 0]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"logits": torch.zeros(2, 3)}, "needs the column 'targets', but the data has logits, rows; choose data"),
        (
            {"logits": torch.zeros(2, 3), "targets": torch.zeros(2)},
            r"targets are float32 of shape \(2,\); expected one",
        ),
        (
            {"logits": torch.zeros(2, 5, 3), "targets": torch.zeros(2, 5, dtype=torch.long)},
            r"targets are int64 of shape \(2, 5\); expected one class number per example: choose another evaluator, such as "
            "core.regression for numbers",
        ),
        (
            {"logits": torch.zeros(2, 5, 3), "targets": torch.tensor([1, 2])},
            r"predictions are int64 of shape \(2, 5\), the targets have shape \(2,\); expected one class number per",
        ),
        (
            {"logits": torch.zeros(2, 3), "targets": torch.tensor([1, 3])},
            "the data has the target 3, but there are 3 labels; expected 0 to 2",
        ),
        (
            {"logits": torch.eye(4)[[3]], "targets": torch.tensor([1])},
            "the model predicts the class 3, but there are 3 labels; expected 0 to 2",
        ),
    ],
)
def test_what_is_no_classification_is_refused(columns, message):
    with pytest.raises(InputError, match=message):
        Classification(["a", "b", "c"]).evaluate(Repeats(), examples(columns))
