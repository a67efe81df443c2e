from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from dlpipe.config.pipeline import Start
from dlpipe.engine.starting_weights import StartingModel, TrainedModel, load_start
from dlpipe.errors import DataError, InputError
from dlpipe_text.rnn_tagger import RNNTagger
from dlpipe_text.tagged_text import MAX_LETTERS, TaggedText, letter_trigrams

TRAIN = [
    (["leave", "taipei", "now"], ["O", "B-from", "O"]),
    (["arrive", "new", "york"], ["O", "B-to", "I-to"]),
]
TEST = [(["leave", "oslo"], ["O", "B-from"]), (["stop", "in", "taipei", "now"], ["O", "O", "B-stop", "O"])]


def small_data(**options) -> TaggedText:
    return TaggedText({"train": TRAIN, "test": TEST}.__getitem__, ("train", "test"), **options)


def test_words_and_labels_come_from_the_training_split():
    facts = small_data().facts

    assert facts["vocab_size"] == 2 + 6
    assert facts["labels"] == ["B-from", "B-to", "I-to", "O"]
    assert facts["num_labels"] == 4


def test_tokens_are_padded_to_the_longest_of_the_batch():
    data = TaggedText({"train": [*TRAIN, (["go"], ["O"])]}.__getitem__, ("train",))

    batch = data.split("train").batch(torch.tensor([2, 1]))

    assert batch["lengths"].tolist() == [1, 3]
    assert batch["tokens"][0, 1:].tolist() == [0, 0]
    assert batch["targets"][0, 1:].tolist() == [-100, -100]
    assert batch["trigrams"].shape == (2, 3, max(map(len, map(letter_trigrams, ["arrive", "taipei"]))))


def test_a_tag_seen_only_in_test_gives_a_warning_and_is_ignored_as_a_target():
    data = small_data()

    with pytest.warns(
        UserWarning,
        match=r"1 tags of the test split \(B-stop …, 1 words\) never occur in the training split and cannot be "
        "predicted: text.slot_f1 counts them as missed, other evaluators leave these words out",
    ):
        columns = data.split("test")

    assert columns.batch(torch.tensor([1]))["targets"].tolist()[0][2] == -100


def test_unknown_words_are_other_but_keep_their_known_trigrams():
    data = small_data()

    known, unknown = data.encode("taipei"), data.encode("taipeh")

    assert unknown["tokens"].tolist() == [1]
    assert known["tokens"].tolist() != [1]
    assert_close(unknown["trigrams"][0, :4], known["trigrams"][0, :4])  # #ta tai aip ipe


def test_rare_words_are_other():
    data = TaggedText({"train": [*TRAIN, TRAIN[0]]}.__getitem__, ("train",), min_count=2)

    assert data.encode("leave new")["tokens"].tolist()[1] == 1


@pytest.mark.parametrize(
    ("word", "trigrams"),
    [("apple", ["#ap", "app", "ppl", "ple", "le#"]), ("a", ["#a#"]), ("x" * 99, ["#xx", *["xxx"] * 30, "xx#"])],
)
def test_letter_trigrams_are_those_of_word_hashing(word, trigrams):
    assert letter_trigrams(word) == trigrams
    assert len(letter_trigrams(word)) <= MAX_LETTERS


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("Leave Taipei.", ["leave", "taipei"]),
        ("leave taipei , now !", ["leave", "taipei", "now"]),
        ("to st. louis at 5 p.m.", ["to", "st.", "louis", "at", "5", "p.m."]),
        ("मुझे हिन्दी.", ["मुझे", "हिन्दी"]),
    ],
)
def test_a_typed_sentence_is_split_into_words(typed, words):
    assert small_data().words(typed) == words


CAPITALS = [(["Leave", "Taipei", ".", "US"], ["O", "B-from", "O", "B-to"])]


def test_typed_sentences_are_spelled_as_the_training_sentences():
    data = TaggedText({"train": CAPITALS}.__getitem__, ("train",))

    assert data.words("Leave Taipei . US") == ["Leave", "Taipei", ".", "US"]
    assert data.words("leave US, now.") == ["leave", "US,", "now."]


def test_lowercase_converts_training_and_typed_sentences():
    data = TaggedText({"train": CAPITALS}.__getitem__, ("train",), lowercase=True)

    assert data.state()["words"][2:] == [".", "leave", "taipei", "us"]
    assert data.words("Leave US .") == ["leave", "us", "."]


def test_rare_training_words_decide_the_spelling_too():
    data = TaggedText({"train": [*TRAIN, *TRAIN, *CAPITALS]}.__getitem__, ("train",), min_count=2)

    assert data.words("Leave .") == ["Leave", "."]


def test_a_no_break_space_belongs_to_a_word_as_in_files():
    assert small_data().words("new\u00a0york now") == ["new\u00a0york", "now"]


def test_copies_of_sentences_are_found_exactly_and_but_for_case_and_punctuation():
    test = [TRAIN[0], (["Leave", "Taipei", "now", "!"], ["O"] * 4), (["arrive", "york"], ["O", "B-to"])]
    data = TaggedText({"train": TRAIN, "test": test}.__getitem__, ("train", "test"))

    exact, near = data.copies("test", "train")

    assert exact.tolist() == [True, False, False]
    assert near.tolist() == [True, True, False]


@pytest.mark.parametrize("typed", ["", "   ", " . , "])
def test_an_empty_line_is_an_error(typed):
    with pytest.raises(InputError, match="has no words; expected a sentence such as"):
        small_data().encode(typed)


def test_a_sentence_too_long_for_a_batch_is_an_error():
    with pytest.raises(InputError, match=r"a sentence of 10,001 words; expected at most 10,000"):
        small_data().encode("go " * 10_001)


def test_training_data_with_one_tag_only_is_an_error():
    data = TaggedText({"train": [(["a"], ["O"])]}.__getitem__, ("train",))

    with pytest.raises(
        DataError, match=r"tags of the training split are \['O'\]; expected at least two, such as O and B-city"
    ):
        _ = data.facts


def test_an_answer_names_words_labels_and_what_was_never_seen():
    answer = small_data().present("Leave Oslo", torch.tensor([3, 0]), None)

    assert answer == {
        "tokens": ["leave", "oslo"],
        "labels": ["O", "B-from"],
        "unknown": ["oslo"],
        "unknown_share": 0.5,
    }


def test_the_probabilities_of_each_word_are_given_on_request():
    data = small_data()
    probabilities = torch.tensor([[0.1, 0.2, 0.1, 0.6], [0.7, 0.2, 0.1, 0.0]])

    answer = data.present("leave oslo", torch.tensor([3, 0]), probabilities, top=2)

    assert answer["probabilities"] == [0.6, 0.7]
    assert [[each["label"] for each in word] for word in answer["top"]] == [
        [data.facts["labels"][number] for number in numbers] for numbers in ([3, 1], [0, 1])
    ]


def test_another_process_encodes_alike_without_reading_any_file():
    data = small_data()

    other = TaggedText(lambda split: pytest.fail("a file was read"), ("train",))
    other.restore(data.state())

    assert other.facts == data.facts
    assert other.words("Leave Oslo.") == data.words("Leave Oslo.")
    assert_close(other.encode("leave oslo"), data.encode("leave oslo"))


def test_a_vocabulary_that_is_restored_later_replaces_the_learned_one():
    data, rows = small_data(), torch.tensor([0])
    other = TaggedText({"train": TEST, "test": TRAIN}.__getitem__, ("train", "test"))
    for split in ("train", "test"):
        data.split(split)
    data.restore(other.state())

    assert_close(data.split("test").batch(rows), other.split("train").batch(rows))
    assert_close(data.encode("leave oslo"), other.encode("leave oslo"))


def test_the_fingerprint_changes_with_any_tag():
    changed = [TRAIN[0], (TRAIN[1][0], ["O", "B-to", "O"])]

    other = TaggedText({"train": changed, "test": TEST}.__getitem__, ("train", "test"))

    assert other.fingerprint() != small_data().fingerprint()
    assert small_data().fingerprint() == small_data().fingerprint()


@pytest.mark.parametrize("words", [[["to"]], [3], [None]])
def test_a_state_with_something_other_than_strings_is_refused(words):
    with pytest.raises(ValueError, match=r"a word, trigram or label is not a string"):
        small_data().restore({"words": words, "trigrams": [], "labels": ["O"]})


def test_the_vectors_of_trigrams_are_taken_over_by_trigram():
    """Also if there are as many."""
    first, second = (
        TaggedText(lambda _, city=city: [(["to", city], ["O", "B-city"])], ("train",)).facts for city in ("ab", "cb")
    )
    assert first["num_trigrams"] == second["num_trigrams"]

    def build(others, known=second):
        known = {**known, **others}
        return RNNTagger(known["vocabulary"], known["num_trigrams"], known["labels"], inputs="trigrams", embed_dim=5)

    theirs, own = build({}, first), build({})
    start = StartingModel(own, second, ["vocabulary", "num_trigrams", "labels"], build)
    told = load_start(start, Start(stage="pretrain"), lambda _: TrainedModel(theirs, first))

    assert 'other trigrams: "#ab" there, "#cb" here' in told
    weights = [model.features.bags["trigrams"].weight for model in (theirs, own)]
    for trigram, row in zip(second["trigrams"], weights[1], strict=True):
        if trigram in first["trigrams"]:
            assert_close(row, weights[0][first["trigrams"].index(trigram)])
