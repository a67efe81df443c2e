from __future__ import annotations

import itertools

import pytest
import torch
from torch.testing import assert_close

from dlpipe.errors import DataError, InputError
from dlpipe_text.labeled_text import LabeledText

TRAIN = [("not bad", "pos"), ("not good at all", "neg"), ("Good", "pos")]


def small(train=TRAIN, test=(("bad film", "neg"),), **options) -> LabeledText:
    return LabeledText({"train": list(train), "test": list(test)}.__getitem__, ("train", "test"), **options)


def test_the_vocabulary_and_the_labels_come_from_train():
    data = small()

    assert data.state()["units"] == ["<pad>", "<other>", "all", "at", "bad", "good", "not"]
    assert data.facts == {
        "vocabulary": data.state()["units"], "vocab_size": 7, "ngrams": [], "num_ngrams": 0, "labels": ["neg", "pos"],
        "num_classes": 2,
    }  # fmt: skip
    assert data.split("test").batch(torch.tensor([0]))["tokens"].tolist() == [[4, 1]]


def test_texts_are_padded_to_the_longest_of_a_batch():
    batch = small().split("train").batch(torch.tensor([0, 1]))

    assert batch["lengths"].tolist() == [2, 4]
    assert batch["tokens"].tolist() == [[6, 4, 0, 0], [6, 5, 3, 2]]
    assert batch["targets"].tolist() == [1, 0]


def test_n_grams_of_train_have_ids_and_others_are_other():
    data = small(ngrams=2)
    known = data.state()["ngrams"]

    found = data.encode("not good enough")["ngrams"]

    assert data.facts["ngrams"] == known
    assert data.facts["num_ngrams"] == len(known) == 2 + 5 + 4
    assert [known[number] for number in found] == ["not", "good", "<other>", "not\ngood", "<other>"]


def test_n_grams_of_characters_are_counted_beside_those_of_words():
    data = small([("it's bad!", "neg"), ("好", "pos")], ngrams=1, char_ngrams=2)

    found = [data.state()["ngrams"][number] for number in data.encode("it's bad!")["ngrams"]]

    characters = ["\n" + each for each in " it's bad ! "]
    assert found[:3] == ["it's", "bad", "!"]
    assert found[3:15] == characters
    assert found[15:] == [a + b[1:] for a, b in itertools.pairwise(characters)]


def test_the_characters_of_an_unknown_word_are_unknown():
    data = small([("an other film", "neg"), ("no", "pos")], char_ngrams=3)
    other = data.columns([["an", "<other>"]]).columns["ngrams"]

    known = [data.state()["ngrams"][number] for number in other.values[:-1]]

    assert [each.replace("\n", "") for each in known] == [
        *" an ", "<other>", " ",
        " a", "an", "n ", "<other>", "<other>",
        " an", "an ", "<other>", "<other>",
    ]  # fmt: skip


def test_a_text_may_have_no_n_gram_at_all():
    data = small(ngrams=2, unit="char", max_length=3)

    assert data.encode("x")["ngrams"].tolist() == [1]


def test_max_length_keeps_the_first_units_of_files_and_of_typed_texts():
    data = small(max_length=1)

    assert data.split("train").lengths.tolist() == [1, 1, 1]
    assert data.encode("good at")["tokens"].tolist() == [2]


def test_case_is_kept_where_asked():
    assert "Good" in small(lowercase=False).state()["units"]


def test_a_restored_vocabulary_encodes_alike():
    data, restored = small(ngrams=2), LabeledText(lambda split: pytest.fail("reads"), ("train",), ngrams=2)
    restored.restore(data.state())

    for name, tensor in data.encode("not bad").items():
        assert_close(restored.encode("not bad")[name], tensor)
    assert restored.facts == data.facts


def test_a_vocabulary_that_is_restored_later_replaces_the_learned_one():
    data = small(ngrams=2)
    data.split("train")
    data.split("test")
    other = small([("film noir", "neg"), ("bad", "pos")], ngrams=2)
    data.restore(other.state())

    rows = torch.tensor([0])
    for name, tensor in other.split("test").batch(rows).items():
        assert_close(data.split("test").batch(rows)[name], tensor)
    assert data.split("train").batch(rows)["tokens"].tolist() == [[1, 2]]


def test_training_texts_are_split_into_units_once(monkeypatch):
    split = []
    monkeypatch.setattr(LabeledText, "units", lambda self, text: split.append(text) or text.split())
    data = small()
    assert data.facts["vocab_size"] == 8
    data.split("train")
    data.split("test")

    assert split == [text for text, _ in TRAIN] + ["bad film"]


def test_copies_are_found_exactly_and_nearly():
    data = small(test=[("not bad", "pos"), ("NOT -- bad!", "pos"), ("fine", "pos"), ("!", "pos")])

    exact, near = data.copies("test", "train")

    assert exact.tolist() == [True, False, False, False]
    assert near.tolist() == [True, True, False, False]


def test_one_class_only_is_refused():
    with pytest.raises(DataError, match='all 2 training texts have the label "pos"; expected at least two labels'):
        _ = small([("a", "pos"), ("b", "pos")]).facts


def test_a_label_that_train_lacks_is_refused():
    with pytest.raises(DataError, match='the test split has 1 texts with labels that never occur in train: "POS"; exp'):
        small(test=[("good", "POS")]).split("test")


@pytest.mark.parametrize(("unit", "kind"), [("word", "word"), ("char", "char")])
def test_a_min_count_that_leaves_nothing_is_refused(unit, kind):
    with pytest.raises(InputError, match=f"min_count = 99: the most frequent training {kind} occurs . times, so every"):
        _ = small(unit=unit, min_count=99).facts


def test_a_text_that_is_too_long_is_refused():
    long = "very " * 10_001

    with pytest.raises(DataError, match='text 0 has 10,001 units \\("very very .*expected at most 10,000.*max_length'):
        small([(long, "a"), ("b", "b")]).split("train")
    with pytest.raises(InputError, match="the text has 10,001 units"):
        small().encode(long)


def test_the_fingerprint_depends_on_texts_and_labels():
    prints = {
        small().fingerprint(),
        small(test=[("bad film", "pos")]).fingerprint(),
        small(test=[("bad", "neg")]).fingerprint(),
    }

    assert len(prints) == 3


@pytest.mark.parametrize("restored", [False, True], ids=["trained", "restored"])
@pytest.mark.parametrize(
    ("train", "lowercase", "read"),
    [
        (["Good film", "bad"], True, ["good", "film"]),  # training has converted its texts, too
        (["Good film", "bad"], False, ["Good", "FILM"]),  # capitals mean something
        (["good film", "bad"], False, ["good", "film"]),  # training has seen none
        (["好 film", "壞"], False, ["good", "film"]),  # some letters have no case
    ],
)
def test_a_typed_text_is_in_lower_case_if_and_only_if_training_has_seen_no_other(train, lowercase, read, restored):
    texts = list(zip(train, ("pos", "neg"), strict=True))
    data = LabeledText(lambda split: texts, ("train",), lowercase=lowercase)
    known = {"units": ["<pad>", "<other>", "film", "good"], "ngrams": [], "labels": ["neg", "pos"]}
    if restored:
        state = data.state()
        data = LabeledText(lambda split: pytest.fail("reads"), ("train",), lowercase=lowercase)
        data.restore(state)
    data.restore(data.state() | known)

    answer = data.present("Good FILM", torch.tensor(1), None, torch.nn.Identity())

    assert answer["unknown"] == [unit for unit in read if unit not in known["units"]]
    assert data.encode("Good FILM")["tokens"].tolist() == [
        known["units"].index(unit) if unit in known["units"] else 1 for unit in read
    ]
