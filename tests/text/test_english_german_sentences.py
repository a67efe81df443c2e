from __future__ import annotations

from itertools import pairwise

import pytest

from dlpipe_text.english_german import english_german
from dlpipe_text.english_german_sentences import belongs_to, translated_sentences
from dlpipe_text.english_german_words import OBJECT_ADJECTIVES, OBJECTS, PERSON_ADJECTIVES, PERSONS

#: Translated by hand.
BY_HAND = {
    "I have not repaired the cheap cars.": "Ich habe die billigen Autos nicht repariert.",
    "A sick guest will not see any strange umbrellas.": "Ein kranker Gast wird keine seltsamen Regenschirme sehen.",
    "Please answer these friendly uncles.": "Antworten Sie bitte diesen freundlichen Onkeln.",
    "On Tuesdays five strange uncles do not send their big shirt back.": (
        "Dienstags schicken fünf seltsame Onkel ihr großes Hemd nicht zurück."
    ),
    "My sister is tired because I should not give our map back.": (
        "Meine Schwester ist müde, weil ich unsere Karte nicht zurückgeben soll."
    ),
    "They are happy because she gives a letter back today.": "Sie sind froh, weil sie heute einen Brief zurückgibt.",
    "Her new sister who has trusted a tall child will need my old boat.": (
        "Ihre neue Schwester, die einem großen Kind vertraut hat, wird mein altes Boot brauchen."
    ),
    "In two days we cannot buy a bottle.": "In zwei Tagen können wir keine Flasche kaufen.",
    "Do you bring these cheap chairs along every day?": "Bringen Sie diese billigen Stühle jeden Tag mit?",
    "Why did I not see a child?": "Warum habe ich kein Kind gesehen?",
}


@pytest.fixture(scope="module")
def train():
    return dict(translated_sentences("train", 6000, 1))


@pytest.mark.parametrize("english", BY_HAND)
def test_sentences_are_translated_as_by_hand(train, english):
    assert train[english] == BY_HAND[english]


def test_a_larger_number_of_sentences_only_adds_some(train):
    assert translated_sentences("train", 70, 1) == list(train.items())[:70]
    assert translated_sentences("train", 70, 2) != list(train.items())[:70]


def test_no_sentence_is_in_two_splits(train):
    test = dict(translated_sentences("test", 500, 1))

    assert not test.keys() & train.keys()
    assert {belongs_to(english) for english in test} == {"test"}
    assert {belongs_to(english) for english in train} == {"train"}


def described(sentences):
    """Return the pairs of an adjective and a noun that sentences have."""
    forms = {each.english: each.english for each in (*OBJECTS, *PERSONS)}
    forms |= {each.english_plural: each.english for each in (*OBJECTS, *PERSONS)}
    adjectives = {*OBJECT_ADJECTIVES, *PERSON_ADJECTIVES}
    words = (sentence.rstrip(".?").split() for sentence in sentences)
    pairs = (pair for sentence in words for pair in pairwise(sentence))
    return {f"{first} {forms[second]}" for first, second in pairs if first in adjectives and second in forms}


def test_dev_and_test_have_pairs_of_adjective_and_noun_of_their_own(train):
    seen = described(train)

    for split in ("dev", "test"):
        own = {pair for pair in described(dict(translated_sentences(split, 2000, 1))) if belongs_to(pair) == split}
        assert len(own) > 20
        assert not own & seen
    assert {belongs_to(pair) for pair in seen} == {"train"}


def test_the_other_direction_has_the_same_pairs():
    data, turned = (english_german(num_train=30, num_dev=2, num_test=2, reverse=reverse) for reverse in (False, True))

    assert [(target, source) for source, target in turned.pairs("train")] == data.pairs("train")
