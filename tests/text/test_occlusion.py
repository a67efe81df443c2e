from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dlpipe.compute import Compute
from dlpipe.errors import InputError
from dlpipe.evaluation import Examples
from dlpipe_text.labeled_text import LabeledText
from dlpipe_text.ngram_classifier import NgramClassifier
from dlpipe_text.occlusion import contributions, variants
from dlpipe_text.word_contributions import WordContributions

CPU = Compute(torch.device("cpu"))
TEXTS = [("good <film>", "pos"), ("bad film", "neg"), ("film", "neg"), ("good good", "pos"), ("good", "neg")]


class SumOfWords(nn.Module):
    """Logits (0, 2 for each "good", -3 for each "bad")."""

    def __init__(self, data: LabeledText) -> None:
        super().__init__()
        weights = {"good": 2.0, "bad": -3.0}
        self.weights = nn.Parameter(torch.tensor([weights.get(word, 0.0) for word in data.state()["units"]]))

    def forward(self, tokens):
        score = self.weights[tokens].sum(1)
        return torch.stack([torch.zeros_like(score), score], dim=1)


@pytest.fixture
def data():
    return LabeledText({"train": TEXTS, "test": TEXTS}.__getitem__, ("train", "test"))


def test_each_variant_replaces_one_unit():
    assert variants(["a", "b"]) == [["a", "b"], ["<other>", "b"], ["a", "<other>"]]


def test_contributions_of_two_classes_are_differences_of_logits():
    logits = torch.tensor([[1.0, 3.0], [1.0, 0.5], [1.0, 4.0]])

    assert contributions(logits, 1).tolist() == [2.5, -1.0]
    assert contributions(logits, 0).tolist() == [-2.5, 1.0]


def test_contributions_of_three_classes_are_differences_of_log_odds():
    logits = torch.tensor([[0.0, 1.0, 2.0], [0.5, 0.1, -1.0]], dtype=torch.float64)
    odds = [math.exp(row[2]) / (math.exp(row[0]) + math.exp(row[1])) for row in logits.tolist()]

    assert_close(contributions(logits, 2), torch.tensor([math.log(odds[0] / odds[1])], dtype=torch.float64))


def evaluated(data, tmp_path, **options):
    evaluator = WordContributions(["neg", "pos"], **options)
    assert evaluator.evaluate(SumOfWords(data), Examples(data, "test", CPU)) == {}
    evaluator.write(tmp_path)
    rows = [line.split(",") for line in (tmp_path / "words.csv").read_text().splitlines()[1:]]
    return rows, (tmp_path / "words.html").read_text()


def test_the_table_has_each_words_contribution(data, tmp_path):
    rows, _ = evaluated(data, tmp_path)

    assert {(word, float(value)) for *_, row, _, _, _, word, value in rows if row == "1"} == {
        ("bad", 3.0),
        ("film", 0.0),
    }
    assert [float(row[-1]) for row in rows if row[-6] == "3"] == [2.0, 2.0]


def test_mistakes_come_first_and_no_text_is_shown_twice(data, tmp_path):
    rows, _ = evaluated(data, tmp_path, count=2)

    texts = list(dict.fromkeys((row[-6], ",".join(row[:-6]).strip('"')) for row in rows))
    assert texts == [
        ("4", "wrong, most confident first"),
        ("2", "least certain"),
        ("0", "least certain"),
        ("3", "most certain"),
        ("1", "most certain"),
    ]


def test_the_page_is_escaped_and_colored(data, tmp_path):
    _, page = evaluated(data, tmp_path)

    assert '<span style="background: #0072B2a0">good </span>' in page
    assert "&lt;" in page
    assert "<film>" not in page


def test_a_text_is_colored_only_to_explain_the_answer(data):
    model, probabilities = SumOfWords(data), torch.tensor([0.1, 0.9])

    plain = data.present("Good film", torch.tensor(1), probabilities, model)
    shown = data.present("Good film", torch.tensor(1), probabilities, model, explain=True)

    assert "words" not in plain
    assert [(word.text, word.weight) for word in shown["words"]] == [("good ", pytest.approx(2.0)), ("film", 0.0)]


def test_models_of_n_grams_are_explained_too():
    data = LabeledText({"train": TEXTS}.__getitem__, ("train",), ngrams=2)
    model = NgramClassifier(data.facts["num_ngrams"], 2)
    model.weights.weight.data[data.state()["ngrams"].index("bad\nfilm"), 0] = 5.0

    shown = data.present("a bad film", torch.tensor(0), torch.tensor([0.99, 0.01]), model, explain=True)

    assert [(word.text, word.weight > 1) for word in shown["words"]] == [("a ", False), ("bad ", True), ("film", True)]


def test_a_model_without_parameters_is_explained_too(data):
    model = SumOfWords(data)
    del model.weights
    model.register_buffer("weights", SumOfWords(data).weights.data)

    shown = data.present("good film", torch.tensor(1), torch.tensor([0.1, 0.9]), model, explain=True)

    assert [word.weight for word in shown["words"]] == [pytest.approx(2.0), 0.0]


def test_other_data_is_refused():
    class Points:
        splits = ("test",)

    with pytest.raises(
        InputError, match=r"text\.word_contributions got data of type Points; expected texts with labels"
    ):
        WordContributions(["a", "b"]).evaluate(nn.Identity(), Examples(Points(), "test", CPU))
