"""Split a text into the units that a model reads: words, characters or letter trigrams.

Chinese and Japanese are written without blanks, so each of their characters is a word of its own unless a segmenter
finds words; in trigrams, a run of them counts as one word. Any text with a visible character has at least one unit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal

from dlpipe_text.letters import COMBINING
from dlpipe_text.segmenters import Segment
from dlpipe_text.tagged_text import letter_trigrams

Unit = Literal["word", "char", "trigram"]

#: Chunks between blanks of at most this many characters are cached with their words.
MAX_CACHED = 32
#: Han characters with their extensions, and kana.
_HAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_LETTERS = rf"[^\W_{_HAN}]"
#: Most words are done after their letters, so that what may follow these begins with a quick test.
_LATIN_WORD = rf"{_LETTERS}+(?:(?:['’](?={_LETTERS})|(?![\0-\x7f])[{COMBINING}]+){_LETTERS}*)*"
#: A run of the same mark is one word ("…", "!!!"), and so is a control character.
_MARKS = r"([^\w\s]|_)\1*"
_WORD = re.compile(rf"[{_HAN}]|{_LATIN_WORD}|{_MARKS}")
_RUN = re.compile(rf"[{_HAN}]+|{_LATIN_WORD}|{_MARKS}")
_HAN_ONLY = re.compile(rf"[{_HAN}]")
_LETTERS_ONLY = re.compile(rf"[{_HAN}]|{_LATIN_WORD}")
_LETTERS_RUN = re.compile(rf"[{_HAN}]+|{_LATIN_WORD}")


def words_of(text: str) -> list[str]:
    """Return the words and marks: "it's not bad!" is it's, not, bad and !; 很好 is 很 and 好."""
    return [
        word for chunk in text.split() for word in (_words_in(chunk) if len(chunk) <= MAX_CACHED else _found_in(chunk))
    ]


def _found_in(chunk: str) -> list[str]:
    return [found[0] for found in _WORD.finditer(chunk)]


@lru_cache(2**16)
def _words_in(chunk: str) -> list[str]:
    """Return the words of a chunk between blanks, from the cache if possible: most chunks are frequent."""
    return _found_in(chunk)


def letters_of(text: str) -> list[str]:
    """Return the words without the marks: "it's not bad!" is it's, not and bad; 很好 is 很 and 好."""
    return _LETTERS_ONLY.findall(text)


def segmented(segment: Segment, *, marks: bool) -> Callable[[str], list[str]]:
    """Return `words_of` or, without marks, `letters_of`, with the words of `segment` in place of Chinese characters."""
    pattern = _RUN if marks else _LETTERS_RUN

    def split(text: str) -> list[str]:
        runs = (found[0] for found in pattern.finditer(text))
        return [word for run in runs for word in (segment(run) if is_han(run) else [run])]

    return split


def is_han(character: str) -> bool:
    """Return whether a character is written without blanks around it: a Han character or kana."""
    return bool(_HAN_ONLY.match(character))


def characters_of(text: str) -> list[str]:
    """Return the characters; blanks around the text are dropped, and those within it are one blank."""
    return list(" ".join(text.split()))


def trigrams_of(text: str) -> list[str]:
    """Return the letter trigrams of all words, one word after the other."""
    return [trigram for found in _RUN.finditer(text) for trigram in letter_trigrams(found[0], len(found[0]))]


#: Also the marks that are written beside them.
_NO_BLANK = re.compile(rf"[{_HAN}\u3000-\u303f\uff00-\uffef]")


def spaced(units: Sequence[str], unit: Unit) -> list[str]:
    """Return units as they are shown in a row: with a blank after each, unless it is a character or beside Chinese."""
    if unit == "char":
        return list(units)
    ends = [bool(_NO_BLANK.match(each[-1])) for each in units]
    starts = [bool(_NO_BLANK.match(each[0])) for each in units]
    blanks = ["" if end or start else " " for end, start in zip(ends, [*starts[1:], True], strict=True)]
    return [each + blank for each, blank in zip(units, blanks, strict=True)]


UNITS: dict[Unit, Callable[[str], list[str]]] = {"word": words_of, "char": characters_of, "trigram": trigrams_of}
