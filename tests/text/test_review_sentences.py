from __future__ import annotations

import hashlib
import re
from collections import Counter

import pytest
import torch
from torch import nn

from dlpipe.errors import InputError
from dlpipe_text.review_patterns import PATTERNS
from dlpipe_text.review_sentences import review_sentences
from dlpipe_text.reviews import reviews
from dlpipe_text.text_units import words_of


def test_the_reviews_are_the_same_on_every_machine_and_python():
    text = repr([review_sentences(split, 60, 1, ("en", "zh")) for split in ("train", "dev", "test")])

    # After changing a pattern or a word, update the digest and repeat the measurements in docs and tests.
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "54f5ea21689c0acb5cc1d58137d53c39b3f0aeecfd4601e6cddec35227522a64"
    )


def test_the_same_seed_gives_the_same_reviews_and_more_are_added_at_the_end():
    few, many = (review_sentences("train", count, 3, ("en", "zh")) for count in (5, 20))

    assert many[:5] == few
    assert review_sentences("train", 5, 4, ("en", "zh")) != few


def test_languages_take_turns():
    texts = [text for text, _ in review_sentences("dev", 20, 1, ("en", "zh"))]

    assert [bool(re.search("[\u4e00-\u9fff]", text)) for text in texts] == [False, True] * 10


def test_no_review_of_a_split_is_in_another():
    train, dev, test = (
        {text for text, _ in review_sentences(split, 3000, 1, ("en", "zh"))} for split in ("train", "dev", "test")
    )

    assert not train & dev
    assert not train & test
    assert not dev & test


@pytest.mark.parametrize("language", PATTERNS)
def test_single_words_say_next_to_nothing_about_the_class(language):
    reviews = review_sentences("train", 8000, 1, (language,))
    total, positive = Counter(), Counter()
    for text, label in reviews:
        for word in set(words_of(text)):
            total[word] += 1
            positive[word] += label == "positive"

    shares = {word: positive[word] / count for word, count in total.items() if count >= 150}

    assert len(shares) > 50
    # Three standard errors of the rarest of these words are 0.12.
    assert {word: share for word, share in shares.items() if abs(share - 0.5) > 0.15} == {}


def test_the_test_split_has_words_that_training_lacks():
    data = reviews()
    known = set(data.state()["units"])

    unseen = {word for text, _ in data.texts("test") for word in words_of(text.lower())} - known

    assert {"sequel", "screenplay", "soundtrack", "攝"} <= unseen


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("val", 3), "split is 'val'; expected one of 'train', 'dev', 'test'"), (("dev", 0), "count is 0; expected a")],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        review_sentences(*arguments, 1, ("en",))


def test_facts_and_an_answer():
    data = reviews(num_train=50, num_dev=5, num_test=5)

    answer = data.present("Not BAD xyz", torch.tensor(1), torch.tensor([0.12, 0.88]), nn.Identity())

    assert data.facts["labels"] == ["negative", "positive"]
    assert data.facts["num_classes"] == 2
    assert answer == {"label": "positive", "probability": 0.88, "unknown": ["xyz"], "unknown_share": 0.3333}


@pytest.mark.parametrize("text", ["", "  \t"])
def test_a_text_without_words_is_refused(text):
    with pytest.raises(InputError, match=r"has no word; expected a text such as \"not bad at all\""):
        reviews(num_train=5).encode(text)
