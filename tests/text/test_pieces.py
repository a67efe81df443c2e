from __future__ import annotations

import builtins
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlpipe.errors import InputError
from dlpipe_text import subwords
from dlpipe_text.pieces import BLANK, character_pieces, joined, word_pieces
from dlpipe_text.subwords import Subwords, learn

TEXTS = ["low lower lowest", "new newer newest", "wide wider widest 很好"] * 4


def test_units_say_whether_a_blank_precedes_them():
    assert word_pieces("it's not  bad!") == ["▁it's", "▁not", "▁bad", "!"]
    assert word_pieces("很好 (a)") == ["▁很", "好", "▁(", "a", ")"]
    assert character_pieces(" not  bad ") == ["n", "o", "t", BLANK, "b", "a", "d"]


@cache
def splitter(unit):
    if unit == "subword":
        return Subwords(learn(TEXTS, 40, what="texts"))
    return word_pieces if unit == "word" else character_pieces


@pytest.mark.parametrize("unit", ["word", "char", "subword"])
@given(text=st.text())
def test_a_text_is_put_together_from_its_units_but_for_blanks(unit, text):
    assert joined(splitter(unit)(" ".join(text.split()))) == " ".join(text.replace(BLANK, " ").split())


def test_frequent_subwords_are_one_unit():
    split = Subwords(learn(TEXTS, 26, what="texts"))

    assert split("lowest newest") == ["▁lo", "west", "▁ne", "west"]
    assert joined(split("slowest zebra")) == "slowest zebra"
    assert Subwords(split.model)("widest") == split("widest")


def test_too_few_subwords_are_refused():
    with pytest.raises(
        InputError,
        match=r"num_subwords = 5: the source texts have more different characters; expected at least 14$",
    ):
        learn(TEXTS, 5, what="source texts")
    learn(TEXTS, 14, what="source texts")


def test_a_missing_package_is_said(monkeypatch):
    load = builtins.__import__

    def without(name, *given):
        if name == "sentencepiece":
            raise ImportError("No module named 'sentencepiece'")
        return load(name, *given)

    monkeypatch.setattr(builtins, "__import__", without)

    with pytest.raises(InputError, match=r'unit = "subword" needs the package sentencepiece, which cannot be imported'):
        subwords.learn(TEXTS, 40, what="texts")
