"""Chunks and their counts, against an independent transcription of conlleval's loop."""

import random

import pytest

from dlpipe_text.chunks import ChunkCounter, ChunkScore, chunks

# B and I of two types and O, in any order: most random sequences of these are malformed.
TAGS = ["O", "B-city", "I-city", "B-day", "I-day"]


def random_pairs(count, *, noise=0.3):
    """Generate (gold, predicted) tag sequences; predicted is gold with some tags redrawn."""
    draw = random.Random(7)
    for _ in range(count):
        gold = draw.choices(TAGS, k=draw.randint(0, 9))
        yield gold, [draw.choice(TAGS) if draw.random() < noise else tag for tag in gold]


def starts(before, now):
    """Conlleval's rule, as a table of (previous tag, tag): does a chunk start at `now`?"""
    (tag_before, type_before), (tag, kind) = before, now
    if (tag_before, tag) in {("B", "B"), ("I", "B"), ("O", "B"), ("O", "I")}:
        return True
    return tag != "O" and type_before != kind


def ends(before, now):
    """Conlleval's rule: did the chunk of `before`, if any, end ahead of `now`?"""
    (tag_before, type_before), (tag, kind) = before, now
    if (tag_before, tag) in {("B", "B"), ("B", "O"), ("I", "B"), ("I", "O")}:
        return True
    return tag_before != "O" and type_before != kind


def count_as_conlleval(sentences):
    """Count correct, gold and predicted chunks in one pass over all tokens, type by type."""
    outside = ("O", "")
    counts = {}

    def bump(kind, place):
        counts.setdefault(kind, [0, 0, 0])[place] += 1

    gold_before = guess_before = outside
    both_open = False  # gold and guess are inside chunks of one type that started together
    for gold_tags, guess_tags in sentences:
        # The blank line after a sentence counts as a token tagged O.
        for pair in [*zip(gold_tags, guess_tags, strict=True), ("O", "O")]:
            gold, guess = (tuple(tag.split("-", 1)) if "-" in tag else outside for tag in pair)
            if both_open:
                gold_ended, guess_ended = ends(gold_before, gold), ends(guess_before, guess)
                if gold_ended and guess_ended and gold_before[1] == guess_before[1]:
                    bump(gold_before[1], 0)
                    both_open = False
                elif gold_ended != guess_ended or gold[1] != guess[1]:
                    both_open = False
            gold_started, guess_started = starts(gold_before, gold), starts(guess_before, guess)
            if gold_started and guess_started and gold[1] == guess[1]:
                both_open = True
            if gold_started:
                bump(gold[1], 1)
            if guess_started:
                bump(guess[1], 2)
            gold_before, guess_before = gold, guess
    return {kind: ChunkScore(*place) for kind, place in counts.items()}


def counter_of(*sentences):
    counter = ChunkCounter()
    for gold, predicted in sentences:
        counter.add(gold, predicted)
    return counter


def test_chunks_of_well_formed_tags_have_type_start_and_exclusive_end():
    found = chunks(["O", "B-city", "I-city", "I-city", "O", "B-day"])

    assert found == [("city", 1, 4), ("day", 5, 6)]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ([], []),
        (["O", "O"], []),
        (["B-a", "B-a"], [("a", 0, 1), ("a", 1, 2)]),
        (["I-a", "I-a"], [("a", 0, 2)]),
        (["O", "I-a", "O"], [("a", 1, 2)]),
        (["B-a", "I-b", "I-a"], [("a", 0, 1), ("b", 1, 2), ("a", 2, 3)]),
        (["I-a", "B-a", "I-a"], [("a", 0, 1), ("a", 1, 3)]),
        (["B-a", "O", "I-a"], [("a", 0, 1), ("a", 2, 3)]),
        (["B-a-b", "I-a-b", "I-a"], [("a-b", 0, 2), ("a", 2, 3)]),
        (["B", "I", "O", "I"], [("", 0, 2), ("", 3, 4)]),
    ],
)
def test_malformed_tags_start_chunks_where_conlleval_starts_them(tags, expected):
    assert chunks(tags) == expected


@pytest.mark.parametrize("tag", ["E-city", "S-city", "X", "<pad>", "o", "", "O-city"])
def test_a_tag_of_another_scheme_is_refused_with_its_position(tag):
    with pytest.raises(ValueError, match=rf'tags\[1\] = "{tag}": expected O, B-<type> or I-<type>'):
        chunks(["O", tag])


def test_counts_agree_with_conllevals_loop_sentence_by_sentence():
    for gold, predicted in random_pairs(3000):
        assert counter_of((gold, predicted)).per_type == count_as_conlleval([(gold, predicted)]), (gold, predicted)


def test_counts_agree_with_conllevals_loop_over_a_whole_corpus():
    corpus = list(random_pairs(3000, noise=0.1))

    counter = counter_of(*corpus)

    assert counter.per_type == count_as_conlleval(corpus)
    assert 0.5 < counter.overall.f1 < 0.95  # neither side is empty, nor are they all equal


def test_a_chunk_is_right_only_in_type_start_and_end():
    gold = ["B-city", "I-city", "O", "B-day", "O", "B-time", "I-time"]
    predicted = ["B-city", "O", "O", "B-time", "O", "B-time", "I-time"]

    counter = counter_of((gold, predicted))

    assert counter.per_type == {
        "city": ChunkScore(correct=0, gold=1, predicted=1),
        "day": ChunkScore(correct=0, gold=1, predicted=0),
        "time": ChunkScore(correct=1, gold=1, predicted=2),
    }
    assert counter.overall == ChunkScore(correct=1, gold=3, predicted=3)


def test_types_are_sorted_by_name():
    counter = counter_of((["B-time"], ["O"]), (["O"], ["B-city"]), (["B-day"], ["B-day"]))

    assert list(counter.per_type) == ["city", "day", "time"]


def test_precision_recall_and_f1_of_one_count():
    score = ChunkScore(correct=3, gold=4, predicted=6)

    assert score.precision == pytest.approx(3 / 6)
    assert score.recall == pytest.approx(3 / 4)
    assert score.f1 == pytest.approx(2 * (3 / 6) * (3 / 4) / (3 / 6 + 3 / 4))


@pytest.mark.parametrize("score", [ChunkScore(), ChunkScore(gold=2), ChunkScore(predicted=5), ChunkScore(0, 2, 5)])
def test_undefined_scores_are_zero(score):
    assert (score.precision, score.recall, score.f1) == (0.0, 0.0, 0.0)


def test_token_accuracy_compares_whole_tags():
    counter = counter_of((["O", "B-city", "I-city"], ["O", "B-city", "B-city"]), (["B-day", "O"], ["B-time", "O"]))

    assert counter.token_accuracy == pytest.approx(3 / 5)


def test_before_any_token_everything_is_zero():
    counter = counter_of(([], []))

    assert (counter.token_accuracy, counter.overall, counter.per_type) == (0.0, ChunkScore(), {})


def test_confusion_counts_tokens_by_gold_and_predicted_type():
    counter = counter_of(
        (["O", "B-from_city", "I-from_city", "B-day"], ["O", "B-to_city", "I-to_city", "B-day"]),
        (["B-from_city", "O"], ["I-to_city", "B-day"]),
    )

    assert counter.confusion == {
        ("O", "O"): 1,
        ("from_city", "to_city"): 3,
        ("day", "day"): 1,
        ("O", "day"): 1,
    }


def test_sequences_of_different_length_are_refused():
    with pytest.raises(
        ValueError,
        match="gold_tags has 3 tags, but predicted_tags has 2; expected one gold and one predicted tag per token",
    ):
        ChunkCounter().add(["O", "O", "O"], ["O", "O"])
