from __future__ import annotations

import gc
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlpipe_text.packed_sentences import PackedSentences, found_in
from dlpipe_text.tagged_files import iob

SENTENCES = [(["show", "O", "show"], ["O", "B-x", "O"]), ([], []), (["flights"], ["O"])]


def test_packed_sentences_are_what_was_packed():
    packed = PackedSentences.of(iter(SENTENCES))

    assert list(packed) == SENTENCES
    assert [packed[row] for row in (2, 0, -1)] == [SENTENCES[2], SENTENCES[0], SENTENCES[2]]
    assert len(packed) == 3
    with pytest.raises(IndexError):
        packed[3]


def test_words_in_lower_case_may_become_the_same():
    packed = PackedSentences.of([(["A", "a"], ["B-x", "O"])]).lowercased()

    assert list(packed) == [(["a", "a"], ["B-x", "O"])]
    assert packed.words.distinct == ["a"]


def test_selected_sentences_know_no_other_words():
    packed = PackedSentences.of(SENTENCES).selected(np.array([False, True, True]))

    assert list(packed) == SENTENCES[1:]
    assert (packed.words.distinct, packed.tags.distinct) == (["flights"], ["O"])


@settings(max_examples=200, deadline=None)
@given(*[st.lists(st.lists(st.sampled_from(["a", "A", "b", "-", "bA"]), max_size=3), max_size=5)] * 2)
def test_sentences_are_found_in_others_by_the_names_of_their_words(ours, theirs):
    def name(word):
        return word.strip("-").lower()

    def named(sentence):
        return [name(word) for word in sentence if name(word)]

    theirs_packed, ours_packed = (PackedSentences.of((each, each) for each in part) for part in (theirs, ours))

    assert found_in(theirs_packed, ours_packed, str).tolist() == [each in theirs for each in ours]
    assert found_in(theirs_packed, ours_packed, name).tolist() == [
        named(each) in list(map(named, theirs)) for each in ours
    ]


@pytest.mark.slow
def test_tagged_text_takes_at_most_forty_bytes_a_word(tmp_path):
    draw, words = random.Random(0), [f"word{number}" for number in range(500)]
    sentences = [draw.choices(words, k=10) for _ in range(20_000)]
    text = "\n\n".join("\n".join(f"{word} {'O' if len(word) == 5 else 'B-x'}" for word in each) for each in sentences)
    (tmp_path / "train.iob").write_text(text)
    (tmp_path / "dev.iob").write_text("word1 O\nword22 B-x\n")
    data = iob(path=tmp_path)
    tracemalloc.start()
    tensors = data.split("train").nbytes  # which torch allocates, unseen by tracemalloc
    gc.collect()
    kept = tracemalloc.get_traced_memory()[0] + tensors
    tracemalloc.stop()

    assert kept / 200_000 <= 40
