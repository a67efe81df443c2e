from __future__ import annotations

from itertools import pairwise

import pytest

from dlpipe_text.english_german import english_german
from dlpipe_text.english_german_sentences import belongs_to, translated_sentences
from dlpipe_text.english_german_words import OBJECT_ADJECTIVES, OBJECTS, PERSON_ADJECTIVES, PERSONS

#: Translated by hand.
BY_HAND = {
    "Please answer these friendly uncles.": "Antworten Sie bitte diesen freundlichen Onkeln.",
    "On Tuesdays I bring the black suitcase along.": "Dienstags bringe ich den schwarzen Koffer mit.",
    "An old doctor who has found four cheap umbrellas has washed the hat.": (
        "Ein alter Arzt, der vier billige Regenschirme gefunden hat, hat den Hut gewaschen."
    ),
    "Next week they cannot help a child.": "Nächste Woche können sie keinem Kind helfen.",
    "You cannot try their brown book out next week.": "Sie können ihr braunes Buch nächste Woche nicht ausprobieren.",
    "We bring a car along every day.": "Wir bringen jeden Tag ein Auto mit.",
    "Why did I not wash this blue boat?": "Warum habe ich dieses blaue Boot nicht gewaschen?",
    "She does not give any new pictures back today.": "Sie gibt heute keine neuen Bilder zurück.",
    "My sister is tired because I have tried a black map out.": (
        "Meine Schwester ist müde, weil ich eine schwarze Karte ausprobiert habe."
    ),
    "They forget his brown knife every day.": "Sie vergessen sein braunes Messer jeden Tag.",
    "He should not find my old uncle.": "Er sollte meinen alten Onkel nicht finden.",
}


@pytest.fixture(scope="module")
def train():
    return dict(translated_sentences("train", 12_000, 1))


@pytest.mark.parametrize("english", BY_HAND)
def test_sentences_are_translated_as_by_hand(train, english):
    assert train[english] == BY_HAND[english]


def test_a_larger_number_of_sentences_only_adds_some(train):
    assert translated_sentences("train", 70, 1) == list(train.items())[:70]
    assert translated_sentences("train", 70, 2) != list(train.items())[:70]


def test_no_sentence_is_in_two_splits(train):
    test = dict(translated_sentences("test", 500, 1))

    assert not test.keys() & train.keys()
    assert {belongs_to(german) for german in test.values()} == {"test"}
    assert {belongs_to(german) for german in train.values()} == {"train"}
    assert len({*train.values()}) == len(train)


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


def test_what_has_no_translation_word_by_word_is_not_said(train):
    """ "Not every day" is "nicht jeden Tag"; English asks "when did", and nobody asks others to need something."""
    clauses = [text.removeprefix("I do not know why") for text in train if "every day" in text]
    assert not [text for text in clauses if " not " in text or "cannot" in text]
    assert not [text for text in train if text.startswith(("When have", "When has"))]
    assert not [text for text in train if text.startswith(("Please need", "Please love"))]


def test_the_other_direction_has_the_same_pairs():
    data, turned = (english_german(num_train=30, num_dev=2, num_test=2, reverse=reverse) for reverse in (False, True))

    assert [(target, source) for source, target in turned.pairs("train")] == data.pairs("train")
