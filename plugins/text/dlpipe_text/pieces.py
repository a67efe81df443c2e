"""Split a text into units from which the text can be put together again: words, characters or subwords.

A unit that follows a blank begins with `BLANK`, as in Kudo & Richardson 2018, "SentencePiece: A simple and language
independent subword tokenizer and detokenizer for Neural Text Processing", https://arxiv.org/abs/1808.06226
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from dlpipe_text.text_units import characters_of, words_of

#: What a model reads and writes one by one.
PieceUnit = Literal["word", "char", "subword"]
#: Stands for the blank before a unit. One that a text contains becomes a blank.
BLANK = "▁"


def word_pieces(text: str) -> list[str]:
    """Return the words and marks of a text: "it's not bad!" is ▁it's, ▁not, ▁bad and !."""
    found = []
    for chunk in text.replace(BLANK, " ").split():
        first, *others = words_of(chunk)
        found += [BLANK + first, *others]
    return found


def character_pieces(text: str) -> list[str]:
    """Return the characters of a text, a blank as `BLANK`: "not bad" is n, o, t, ▁, b, a and d."""
    return [BLANK if character == " " else character for character in characters_of(text.replace(BLANK, " "))]


def joined(pieces: Sequence[str]) -> str:
    """Return the text that consists of some units."""
    return "".join(pieces).replace(BLANK, " ").strip()
