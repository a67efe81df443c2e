from __future__ import annotations

import pytest

from dlpipe_text.corpus import Corpus
from dlpipe_text.phrases import Phrases


def sentences():
    return [f"new york is not york{number % 7} in a new town {number % 5}".split() for number in range(40)]


def test_phrases_are_those_of_gensim():
    models = pytest.importorskip("gensim.models")
    ours = Phrases.learned(sentences(), threshold=0.2)
    theirs = models.Phrases(sentences(), threshold=0.2, min_count=5)

    assert [ours.joined(words) for words in sentences()] == [theirs[words] for words in sentences()]
    assert ("new", "york") in ours.pairs
    assert ("a", "new") in ours.pairs


def test_of_overlapping_pairs_the_first_one_counts():
    phrases = Phrases([("a", "b"), ("b", "c"), ("c", "d")])

    assert phrases.joined(list("abcd")) == ["a_b", "c_d"]
    assert phrases.joined(list("bcd")) == ["b_c", "d"]
    assert phrases.joined([]) == []


def test_chinese_parts_are_joined_without_a_mark():
    documents = ["蔡英文就職"] * 9 + ["英里文章蔡市就要"] * 3
    data = Corpus(lambda: iter(documents), str, min_count=1, phrases=2, phrase_threshold=0.1)

    assert next(data.sentences()) == ["蔡英文就", "職"]
    assert data.encode("蔡英文就")["signs"].sum() == 1
