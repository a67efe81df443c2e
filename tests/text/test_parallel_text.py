from __future__ import annotations

import json

import pytest
import torch

from dlpipe.compute import Compute
from dlpipe.data import IGNORE_INDEX, Batches
from dlpipe.errors import DataError, InputError
from dlpipe_text.parallel_text import END, ParallelText
from dlpipe_text.word_features import OTHER, PADDING

PAIRS = {
    "train": [("The dog.", "Der Hund."), ("the  cat sees a dog", "die Katze sieht einen Hund")],
    "dev": [("The DOG.", "Der Hund!"), ("a cat", "Ein Hund")],
}


def data(pairs=PAIRS, **options):
    return ParallelText(lambda split: pairs[split], tuple(pairs), **options)


def test_targets_end_with_the_end_and_are_padded_with_what_losses_ignore():
    split = data().split("train")

    batch = split.batch(torch.tensor([0, 1]))

    assert batch["lengths"].tolist() == [3, 5]
    assert batch["targets_lengths"].tolist() == [4, 6]
    assert batch["targets"][0].tolist()[3:] == [END, IGNORE_INDEX, IGNORE_INDEX]
    assert int(batch["targets"][1, 5]) == END
    assert batch["tokens"][0].tolist()[3:] == [PADDING, PADDING]
    assert (batch["targets"][1, :5] > END).all()


@pytest.mark.parametrize("unit", ["word", "char", "subword"])
def test_targets_become_their_texts_again(unit):
    pairs = data(unit=unit, num_subwords=40)

    texts = [pairs.text(row) for row in pairs.split("train").batch(torch.tensor([0, 1]))["targets"]]

    assert texts == ["Der Hund.", "die Katze sieht einen Hund"]


def test_units_that_are_rare_or_unseen_are_other():
    pairs = data(min_count=2, lowercase=True)

    targets = pairs.split("dev").batch(torch.tensor([0, 1]))["targets"]

    assert pairs.facts["target_vocabulary"] == ["<pad>", "<other>", "</s>", "▁hund"]
    assert targets.tolist() == [[OTHER, 3, OTHER, END], [OTHER, 3, END, IGNORE_INDEX]]
    assert pairs.facts["vocabulary"] == ["<pad>", "<other>", "▁dog", "▁the"]


def test_only_the_first_units_are_used():
    pairs = data(max_length=2)

    batch = pairs.split("train").batch(torch.tensor([1]))

    assert pairs.source_names(batch["tokens"][0]) == ["▁the", "▁cat"]
    assert pairs.target_names(batch["targets"][0]) == ["▁die", "▁Katze", "</s>"]
    assert len(pairs.encode("a dog sees the cat")["tokens"]) == 2


@pytest.mark.parametrize("unit", ["word", "subword"])
def test_an_item_is_encoded_without_reading_the_texts_again(unit):
    first = data(unit=unit, num_subwords=40)
    state = json.loads(json.dumps(first.state()))

    def read(split):
        raise AssertionError

    second = ParallelText(read, ("train",), unit=unit, num_subwords=40)
    second.restore(state)

    assert (
        second.encode("the dog sees a cat")["tokens"].tolist() == first.encode("the dog sees a cat")["tokens"].tolist()
    )
    assert second.facts == first.facts


def test_the_answer_is_a_text_with_what_is_unknown():
    pairs = data()
    prediction = pairs.split("train").batch(torch.tensor([0, 1]))["targets"][0]

    assert pairs.present("The zebra.", prediction) == {
        "text": "Der Hund.",
        "unknown": ["zebra"],
        "unknown_share": 0.3333,
    }


def test_copies_are_sources_that_are_in_both_splits():
    exact, plain = data().copies("dev", "train")

    assert exact.tolist() == [False, False]
    assert plain.tolist() == [True, False]


def test_the_fingerprint_depends_on_every_text():
    other = PAIRS | {"dev": [PAIRS["dev"][0], ("a cat", "Eine Katze")]}

    assert data().fingerprint() == data().fingerprint() != data(other).fingerprint()


def test_the_longest_sequences_of_a_batch_are_alike():
    lengths = [(number % 7 + 1) for number in range(60)]
    pairs = data({"train": [("a " * length, "b " * length) for length in lengths]})

    for batch in Batches(pairs.split("train"), 10, Compute(torch.device("cpu")), seed=1).epoch(0):
        assert int(batch["lengths"].max() - batch["lengths"].min()) <= 2


def test_unusable_texts_are_refused():
    with pytest.raises(InputError, match=r"' ' has no word; expected a text to translate"):
        data().encode(" ")
    with pytest.raises(InputError, match=r"the text has 10,001 units; expected at most 10,000, .*Set max_length"):
        data().encode("a " * 10_001)
    with pytest.raises(DataError, match=r"the train split: the target of pair 1 is empty; expected a text"):
        data({"train": [("a", "b"), ("a", " ")]}).split("train")
    with pytest.raises(DataError, match=r'the source "a a .*…" of train has 10,001 units; expected at most 10,000'):
        data({"train": [("a " * 10_001, "b")]}).split("train")


def test_a_rare_vocabulary_names_its_side():
    with pytest.raises(InputError, match=r"min_count = 3: the most frequent training source word occurs 2 times"):
        assert data(min_count=3, lowercase=True).facts


def test_what_stands_for_blanks_is_a_blank_in_scores_too():
    pairs = data({"train": [("a", "x▁y  z")]})

    target = pairs.split("train").batch(torch.tensor([0]))["targets"][0]
    assert pairs.text(target) == pairs.normalized("x▁y  z") == "x y z"
