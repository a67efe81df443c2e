from __future__ import annotations

import csv
from collections import Counter

import pytest
import torch
from torch import nn

from dlpipe.compute import Compute
from dlpipe.errors import InputError
from dlpipe.evaluation import Examples
from dlpipe_text.ngram_classifier import NgramClassifier
from dlpipe_text.ngram_fit import NgramFit
from dlpipe_text.order_test import OrderTest
from dlpipe_text.review_pairs import minimal_pairs
from dlpipe_text.review_patterns import PATTERNS
from dlpipe_text.reviews import reviews
from dlpipe_text.text_units import words_of

LABELS = ["negative", "positive"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_pairs_differ_in_a_negation_or_in_the_order_only(language):
    pairs = list(minimal_pairs(language))

    assert Counter(pair.kind for pair in pairs) == {"negation": 40, "order": 20}
    for pair in pairs:
        first, second = (Counter(words_of(text)) for text in (pair.positive, pair.negative))
        assert pair.positive != pair.negative
        assert (first == second) == (pair.kind == "order")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_praise_and_blame_are_equally_frequent_in_positive_and_negative_texts(language):
    pairs = [pair for pair in minimal_pairs(language) if pair.kind == "negation"]

    good, bad = {"en": ("good", "bad"), "zh": ("好", "糟")}[language]
    for word in (good, bad):
        counts = [sum(word in words_of(getattr(pair, side)) for pair in pairs) for side in ("positive", "negative")]
        assert counts[0] == counts[1] > 0


def scores(model, data, **options):
    test = OrderTest(LABELS, **options)
    return test, test.evaluate(model, Examples(data, "test", Compute(torch.device("cpu"))))


class Reads(nn.Module):
    """Right if the last adjective is praise, unless it follows "not" or "isn't"; it looks at the words."""

    def __init__(self, data) -> None:
        super().__init__()
        self.words = data.state()["units"]

    def forward(self, tokens, lengths):
        logits = torch.zeros(len(tokens), 2)
        for row, (ids, length) in enumerate(zip(tokens.tolist(), lengths.tolist(), strict=True)):
            words = [self.words[number] for number in ids[:length]]
            positive = words[-1] in PATTERNS["en"].praise
            logits[row, int(positive != ("not" in words or "isn't" in words))] = 1
        return logits


def test_a_model_that_reads_is_right_and_one_that_guesses_is_not(tmp_path):
    data = reviews(language="en", num_train=2000, num_dev=5, num_test=5)

    test, found = scores(Reads(data), data, language="en")
    test.write(tmp_path)

    assert found == {"negation": 1.0, "order": 1.0, "pairs": 1.0}
    rows = list(csv.DictReader((tmp_path / "pairs.csv").open(encoding="utf-8")))
    assert rows[1] == {
        "kind": "negation",
        "text": "the film is not good",
        "true": "negative",
        "predicted": "negative",
    }
    assert len(rows) == 2 * 60


def test_a_sum_of_words_gets_half_of_the_orders_and_at_most_three_quarters_of_the_negations():
    pytest.importorskip("sklearn")
    data = reviews(num_train=800, num_dev=5, num_test=5, ngrams=1)
    model = NgramClassifier(data.facts["num_ngrams"], 2)
    next(NgramFit(model, data, 0, method="logistic_regression").steps())

    _, found = scores(model, data)

    assert found["order"] == 0.5
    assert found["negation"] <= 0.75


def test_labels_of_other_names_are_given_or_refused():
    with pytest.raises(InputError, match='positive = "positive": the labels are neg, pos; set positive to one of'):
        OrderTest(["neg", "pos"])
    OrderTest(["neg", "pos"], positive="pos", negative="neg")


def test_other_data_is_refused():
    with pytest.raises(InputError, match=r"text\.order_test got data of type object; expected texts with labels"):
        OrderTest(LABELS).evaluate(nn.Identity(), Examples(object(), "test", Compute(torch.device("cpu"))))
