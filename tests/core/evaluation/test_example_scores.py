import json
import math

import pytest

from dlpipe.evaluation import example_scores
from dlpipe.evaluation.example_scores import ExampleScores, disagreement, write_predictions


class Judge:
    """An evaluator that has found some scores."""

    primary, goal = "accuracy", "max"

    def __init__(self, found):
        self._found = found

    def example_scores(self):
        if isinstance(self._found, Exception):
            raise self._found
        return self._found

    def evaluate(self, model, examples): ...

    def write(self, folder): ...


class Named:
    """Data with names."""

    def names(self, split):
        return [f"{split} {row}" for row in range(10)]


def written(path, found, data=None):
    said = []
    write_predictions(path, {"digits": Judge(found)}, data, "test", stage="", notice=said.append, warn=said.append)
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return lines, said


def test_each_example_has_a_line_in_the_order_of_the_rows(tmp_path):
    found = ExampleScores([4, 2], [1, 0.5], weights=[3, 1], true=["x", "y"], predicted=["x", "z"])

    lines, said = written(tmp_path / "predictions.jsonl", found, Named())

    assert lines[0] == {
        "metric": "digits/accuracy",
        "row": 2,
        "name": "test 2",
        "true": "y",
        "predicted": "z",
        "score": 0.5,
        "weight": 1,
    }
    assert [line["row"] for line in lines] == [2, 4]
    assert not said


def test_a_score_that_is_not_defined_is_null(tmp_path):
    lines, _ = written(tmp_path / "predictions.jsonl", ExampleScores([0, 1], [math.nan, 1], weights=[0, 2]))

    assert [line["score"] for line in lines] == [None, 1.0]


def test_of_too_many_examples_evenly_spaced_ones_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(example_scores, "MAX_EXAMPLES", 3)

    lines, said = written(tmp_path / "predictions.jsonl", ExampleScores(range(7), [1] * 7))

    assert [line["row"] for line in lines] == [0, 2, 4]
    assert "digits keeps 3 of 7 examples, evenly spaced" in said[0]


def test_texts_are_left_out_of_a_file_that_would_be_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(example_scores, "MAX_BYTES", 100)

    lines, said = written(tmp_path / "predictions.jsonl", ExampleScores([0, 1], [1, 0], true=["x" * 50] * 2))

    assert lines[1] == {"metric": "digits/accuracy", "row": 1, "score": 0.0}
    assert "names and answers are left out, as it would have more than 100 bytes" in said[0]


def test_an_evaluator_that_raises_costs_only_its_lines(tmp_path):
    lines, said = written(tmp_path / "predictions.jsonl", ValueError("no scores here"))

    assert not lines
    assert "[evaluators.digits] ValueError: no scores here" in said[0]
    assert "metrics are not affected" in said[0]


def test_scores_of_an_earlier_evaluation_do_not_stay(tmp_path):
    path = tmp_path / "predictions.jsonl"
    written(path, ExampleScores([0], [1]))
    (tmp_path / ".predictions.jsonl").write_text("left by a process that was killed")

    written(path, ExampleScores([0], [0]))
    assert '"score": 0.0' in path.read_text()
    assert not written(path, None)[0]


def test_the_metric_is_the_weighted_mean():
    assert ExampleScores([0, 1, 2], [1, 0.5, math.nan], weights=[1, 3, 0]).metric() == pytest.approx(0.625)
    assert ExampleScores([0, 1], [1, 0]).metric() == 0.5


@pytest.mark.parametrize(
    ("columns", "message"),
    [(([0, 1], [1]), "scores has 1 entries for 2 rows"), (([1, 1], [1, 0]), "a row occurs twice")],
)
def test_columns_that_do_not_fit_are_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        ExampleScores(*columns)


def test_scores_that_contradict_the_metric_are_noticed():
    judge = Judge(ExampleScores([0, 1], [1, 0]))

    assert disagreement(judge, 0.5) == ""
    assert disagreement(judge, 0.75) == "their weighted mean is 0.5, but evaluate() gives accuracy = 0.75"
