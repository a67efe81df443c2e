"""Split Chinese text, which has no blanks between its words, into words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from dlpipe.errors import InputError

Segmenter = Literal["jieba"]
#: Splits a run of characters; its words, one after the other, are the run.
Segment = Callable[[str], list[str]]


def segment_by(name: Segmenter | None) -> Segment | None:
    """Return the function that splits a run of Chinese characters; None if each character is a word.

    Raises:
        InputError: its package is not installed.
    """
    if name is None:
        return None
    try:
        from rjieba import Jieba
    except ImportError as error:
        raise InputError(
            f'segmenter = "{name}" needs the package rjieba, which cannot be imported ({error}); install with: '
            "pip install rjieba; or remove segmenter, and each Chinese character is a word"
        ) from error
    segment: Segment = Jieba().cut
    return segment
