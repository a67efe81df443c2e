"""Generated sentences whose words stand in known relations, and the questions about them."""

from __future__ import annotations

import hashlib

import pytest

from dlpipe_text.analogy_sentences import FAMILIES, analogy_sentences, questions


def test_the_sentences_and_questions_are_the_same_on_every_machine_and_python():
    text = repr((list(analogy_sentences(300, 1, ("en", "zh"))), questions(("en", "zh"))))

    # After changing a pattern or a word, update the digest and repeat the measurements in docs and tests.
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "f6d7fa943bc2101bbfb4f189a9ebfe9feed0931d21a2d7472522476f98892b30"
    )


def test_a_sentence_names_one_form_of_a_thing_and_two_different_things_it_is_known_for():
    known = {
        form: known
        for family in FAMILIES["en"].values()
        for forms, known in family.things
        for form in forms
        if len(known) > 1
    }

    for sentence in analogy_sentences(200, 2, ("en",)):
        words = sentence.split()
        assert any(len(set(words) & set(known[word])) >= 2 for word in words if word in known), sentence


@pytest.mark.parametrize("language", FAMILIES)
def test_no_answer_is_the_word_that_the_question_repeats(language):
    asked = questions((language,))

    assert len(set(asked)) == len(asked)
    assert all(second != fourth for _, (_, second, _, fourth) in asked)
    assert all(first != third for _, (first, _, third, _) in asked)
