"""The embedded flight-booking sentences: reproducible, correctly labeled, and not solvable word by word."""

import hashlib
import re

import pytest

from dlpipe_text import flight_patterns as patterns
from dlpipe_text import flight_words
from dlpipe_text.flight_sentences import (
    clock_times,
    expand,
    flight_sentences,
    short_ordinal,
    spoken_ordinal,
)

CITY_SLOTS = {"from_city", "to_city", "stop_city"}


@pytest.fixture(scope="module")
def train():
    return flight_sentences("train", 4000, seed=7)


@pytest.fixture(scope="module")
def dev():
    return flight_sentences("dev", 500, seed=7)


@pytest.fixture(scope="module")
def held_out():
    return flight_sentences("test", 1000, seed=7)


def values(sentences, slots):
    """Return every occurrence of a value of these slots."""
    found = []
    for words, tags in sentences:
        for word, tag in zip(words, tags, strict=True):
            if tag[2:] in slots and tag[0] == "B":
                found.append(word)
            elif tag[2:] in slots:
                found[-1] += f" {word}"
    return found


def slots_of_word(sentences, word):
    return {tag[2:] for words, tags in sentences for each, tag in zip(words, tags, strict=True) if each == word}


def share_unseen(sentences, train):
    seen = set(values(train, CITY_SLOTS))
    named = values(sentences, CITY_SLOTS)
    return sum(city not in seen for city in named) / len(named)


def test_the_sentences_are_the_same_on_every_machine_and_python():
    text = repr([flight_sentences(split, 50, seed=7) for split in ("train", "dev", "test")])

    # After changing a pattern or a word, update the digest and repeat the measurements in docs and tests.
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "5246e814ba714a0b40b8709625f180cbee8f41e6b6a696d40d476e439fc369d9"
    )


def test_a_larger_count_only_adds_sentences_at_the_end():
    assert flight_sentences("dev", 11, seed=3)[:5] == flight_sentences("dev", 5, seed=3)


def test_seeds_and_splits_give_different_sentences():
    first = [flight_sentences(split, 1, seed)[0] for split in ("train", "dev", "test") for seed in (0, 1)]

    assert len({" ".join(words) for words, _ in first}) == 6


def test_no_test_sentence_is_a_training_sentence(train, held_out):
    assert not {" ".join(words) for words, _ in train} & {" ".join(words) for words, _ in held_out}


def test_every_tag_continues_its_own_slot_or_begins_one(train, held_out):
    for words, tags in train + held_out:
        assert len(words) == len(tags)
        for before, tag in zip(["O", *tags], tags, strict=False):
            assert re.fullmatch(r"O|[BI]-[a-z_]+", tag)
            assert tag[0] != "I" or before in (f"B-{tag[2:]}", tag), (words, tags)


def test_words_are_lower_case_without_spaces_or_placeholders(train, held_out):
    words = {word for words, _ in train + held_out for word in words}

    assert all(re.fullmatch(r"[a-z0-9'/:]+", word) for word in words)


def test_training_shows_every_slot_and_every_tag_of_the_other_splits(train, dev, held_out):
    train_tags, other_tags = ({tag for _, tags in split for tag in tags} for split in (train, dev + held_out))

    assert {tag[2:] for tag in train_tags} - {""} == set(patterns.SLOT_KINDS)
    assert len(patterns.SLOT_KINDS) >= 12
    assert other_tags <= train_tags


def expanded(lines) -> set[str]:
    """Return the distinct patterns of lines with alternatives."""
    return {pattern for line in lines for pattern in expand(line)}


def test_there_are_200_patterns_and_a_fifth_only_in_test():
    lines = patterns.REQUESTS + patterns.TEST_ONLY_REQUESTS

    assert len(expanded(patterns.REQUESTS)) >= 200
    assert len(set(lines)) == len(lines)
    assert expanded(patterns.TEST_ONLY_REQUESTS) - expanded(patterns.REQUESTS)
    assert 0.15 <= len(patterns.TEST_ONLY_REQUESTS) / len(lines) <= 0.25


def test_test_only_patterns_are_used_in_test_and_nowhere_else(train, dev, held_out):
    phrase = "is where my meeting is and"

    used = [sum(phrase in " ".join(words) for words, _ in split) for split in (train, dev, held_out)]

    assert used[0] == used[1] == 0
    assert used[2] > 3


def test_a_fifth_of_the_cities_of_dev_and_test_is_unseen(train, dev, held_out):
    assert 0.15 <= share_unseen(dev, train) <= 0.25
    assert 0.15 <= share_unseen(held_out, train) <= 0.25


def test_values_reserved_for_dev_and_test_occur_in_no_other_split():
    for words in flight_words.KINDS.values():
        assert not set(words.known) & set(words.dev + words.test)
        assert not set(words.dev) & set(words.test)


def test_a_third_of_the_cities_and_airlines_is_held_out():
    for words in (flight_words.CITIES, flight_words.AIRLINES):
        new = len(words.dev + words.test)

        assert 0.33 <= new / (new + len(words.known)) <= 0.4


def test_two_thirds_of_the_words_belong_to_no_slot(train):
    tags = [tag for _, tags in train for tag in tags]

    assert 0.6 <= tags.count("O") / len(tags) <= 0.67


def test_a_word_alone_does_not_determine_its_slot(train):
    assert slots_of_word(train, "tokyo") >= {"from_city", "to_city", "stop_city"}
    assert slots_of_word(train, "singapore") >= {"from_city", "to_city", "stop_city", "airline", ""}
    assert slots_of_word(train, "friday") >= {"depart_date", "arrive_date", "return_date"}
    assert slots_of_word(train, "noon") >= {"depart_time", "arrive_time"}
    assert slots_of_word(train, "five") >= {"passengers", "price_limit", "depart_time", "arrive_time"}


def test_places_and_dates_that_are_only_mentioned_have_no_slot(train):
    mentions = re.compile(r"my sister lives in|my last flight with|i called you at|i wrote to you on")

    openings = [tags[:5] for words, tags in train if mentions.match(" ".join(words))]

    assert len(openings) > 20
    assert all(tags == ["O"] * 5 for tags in openings)


def test_no_city_occurs_twice_in_a_sentence(train):
    for sentence in train:
        cities = values([sentence], CITY_SLOTS)

        assert len(set(cities)) == len(cities)


def test_the_alternatives_of_a_pattern_are_spelled_out():
    assert expand("(from|to) {to_city} (|please)") == (
        "from {to_city}",
        "from {to_city} please",
        "to {to_city}",
        "to {to_city} please",
    )


def test_every_placeholder_of_every_pattern_has_values():
    texts = [
        *patterns.REQUESTS,
        *patterns.TEST_ONLY_REQUESTS,
        *patterns.PHRASES,
        *patterns.CLAUSES,
        *patterns.OPENINGS,
        *patterns.CLOSINGS,
    ]
    texts += [text for fillers in patterns.FILLERS.values() for text in fillers]
    generated = {"date", "clock", "flight_number"}

    for brackets, name, kind in re.findall(r"([{<])(\w+):?(\w*)[}>]", " ".join(texts)):
        assert name in (
            patterns.SLOT_KINDS if brackets == "{" else {*patterns.FILLERS, *flight_words.KINDS, *generated}
        )
        assert not kind or kind in flight_words.KINDS


def test_days_are_spelled_in_english():
    assert [short_ordinal(day) for day in (1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 30, 31)] == [
        "1st",
        "2nd",
        "3rd",
        "4th",
        "11th",
        "12th",
        "13th",
        "21st",
        "22nd",
        "23rd",
        "30th",
        "31st",
    ]
    assert [spoken_ordinal(day) for day in (1, 12, 20, 21, 30, 31)] == [
        "first",
        "twelfth",
        "twentieth",
        "twenty first",
        "thirtieth",
        "thirty first",
    ]


def test_times_are_spelled_in_english():
    assert {"noon", "2 pm", "12 am", "14:00", "nine o'clock in the evening"} <= set(clock_times((0,)))
    assert {"half past nine", "0:30", "12:30 pm", "half past two in the afternoon"} <= set(clock_times((30,)))
    assert {"quarter to seven", "6:45 am", "18:45"} <= set(clock_times((45,)))


def test_an_unknown_split_is_an_error():
    with pytest.raises(ValueError, match="split is 'valid'; expected one of 'train', 'dev', 'test'"):
        flight_sentences("valid", 5, seed=0)


@pytest.mark.parametrize("count", [0, -3])
def test_a_count_below_one_is_an_error(count):
    with pytest.raises(ValueError, match=f"count is {count}; expected a whole number above 0"):
        flight_sentences("dev", count, seed=0)
