"""A vocabulary whose words have vectors, and expressions such as "Rome - Italy + Germany".

Axes: V words of the vocabulary, T terms of an expression.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from rapidfuzz import process
from rapidfuzz.distance import OSA
from torch import Tensor, nn

from dlpipe.data import Columns
from dlpipe.errors import InputError
from dlpipe_text.word_vectors import WordVectors, nearest_words

#: Section, and the words of "a is to b as c is to d".
Question = tuple[str, tuple[str, str, str, str]]

NUM_NEIGHBORS = 10
MAX_SUGGESTED = 3
#: Words of an expression.
MAX_TERMS = 16
#: Beyond this share of wrong letters, a word is not suggested.
MAX_WRONG = 0.4
#: Not str.split(): as in other files of this plugin, a no-break space belongs to a word.
BETWEEN_BLANKS = re.compile(r"[^ \t\r\n]+")
_OPERATORS = {"+": 1.0, "-": -1.0, "−": -1.0}


@dataclass
class Vocabulary:
    """The words of a corpus, the most frequent first, and the size of the corpus.

    Args:
        counts: occurrences of each word.
        num_sentences: sentences with at least one word, whether it is in the vocabulary or not.
        num_words: occurrences of all words, those outside of the vocabulary too.
        lengths: words of each sentence; empty if the vocabulary comes from a run folder.
    """

    words: list[str]
    counts: list[int]
    num_sentences: int
    num_words: int
    lengths: array[int] = field(default_factory=lambda: array("H"))


class WordData(ABC):
    """Data about words: what typed words and expressions mean, and which words are nearest.

    Args:
        questions: analogies about the words, for text.analogies.
    """

    text_items = True
    splits = ("train", "test")

    def __init__(self, questions: Sequence[Question] = ()) -> None:
        self.questions = questions
        self._vocabulary: Vocabulary | None = None
        self._ids: dict[str, int] = {}

    @abstractmethod
    def learned(self) -> Vocabulary:
        """Read the files and return what was found."""

    @abstractmethod
    def rarest(self) -> str:
        """Return which words are in the vocabulary, for a message."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return ``words``, the vocabulary, the most frequent word first; the first use reads all files."""
        return {"words": self.vocabulary.words}

    @property
    def vocabulary(self) -> Vocabulary:
        """Return the words."""
        if self._vocabulary is None:
            self._vocabulary = self.learned()
        return self._vocabulary

    def every_word(self) -> Columns:
        """Return words (V, 1) and signs (V, 1), all of them 1."""
        words = torch.arange(len(self.vocabulary.words)).unsqueeze(1)
        return Columns({"words": words, "signs": torch.ones(words.shape)})

    def id_of(self, word: str) -> int | None:
        """Return the place of a word in the vocabulary, as it is written or else in lower case; None if it has none."""
        if not self._ids:
            self._ids = {each: number for number, each in enumerate(self.vocabulary.words)}
        return self._ids.get(word, self._ids.get(word.lower()))

    def number_of(self, word: str) -> int:
        """Return the place of a word in the vocabulary.

        Raises:
            InputError: it has none; the message names words that are spelled nearly so.
        """
        number = self.id_of(word)
        if number is not None:
            return number
        known = self.vocabulary.words
        near = process.extract(
            word,
            known,
            scorer=OSA.normalized_distance,
            processor=str.casefold,
            limit=MAX_SUGGESTED,
            score_cutoff=MAX_WRONG,
        )
        names = " or ".join(f'"{each}"' for each, _, _ in near)
        suggested = f" Did you mean {names}?" if near else ""
        raise InputError(
            f'"{word}" is not among the {len(known):,} words of the vocabulary, {self.rarest()}.{suggested}'
        )

    def encode(self, item: str) -> dict[str, Tensor]:
        """Convert an expression such as "Rome - Italy + Germany", or a word, to words (T,) and signs (T,), T = 16.

        The signs after the last word are 0.

        Raises:
            InputError: it is not one, is longer, is zero, or a word is not in the vocabulary.
        """
        terms = self._terms(item)
        if len(terms) > MAX_TERMS:
            raise InputError(f"an expression of {len(terms)} words; expected at most {MAX_TERMS}")
        totals: dict[int, float] = defaultdict(float)
        for number, sign in terms:
            totals[number] += sign
        if not any(totals.values()):
            raise InputError(f"{item!r}: the words cancel each other out, so that no vector is left; leave some out")
        words, signs = torch.zeros(MAX_TERMS, dtype=torch.long), torch.zeros(MAX_TERMS)
        for place, (number, sign) in enumerate(terms):
            words[place], signs[place] = number, sign
        return {"words": words, "signs": signs}

    def present(self, item: str, prediction: Tensor, model: nn.Module) -> dict[str, Any]:
        """Return the words whose vectors are nearest to that of the item, without the words of the item."""
        if not isinstance(model, WordVectors):
            raise InputError(f"the model is of type {type(model).__name__}; expected text.word_vectors")
        excluded = torch.tensor([sorted({number for number, _ in self._terms(item)})])
        if excluded.size(1) == len(self.vocabulary.words):
            raise InputError(
                f"{item!r} has all words of the vocabulary, so that none is left as an answer; leave some out"
            )
        similarities, numbers = nearest_words(model, prediction.unsqueeze(0), excluded, NUM_NEIGHBORS)
        return {
            "nearest": [self.vocabulary.words[number] for number in numbers[0].tolist()],
            "cosine": [round(value, 4) for value in similarities[0].tolist()],
        }

    def state(self) -> dict[str, Any]:
        """Return the vocabulary with its counts, and the size of the corpus."""
        known = self.vocabulary
        return {
            "words": known.words,
            "counts": known.counts,
            "num_sentences": known.num_sentences,
            "num_words": known.num_words,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set what `state` returned.

        Raises:
            ValueError: it is not a vocabulary.
        """
        words, counts = state["words"], state["counts"]
        if not words or len(words) != len(counts) or not all(isinstance(word, str) for word in words):
            raise ValueError("expected as many words as counts")
        self._ids = {}
        self._vocabulary = Vocabulary(list(words), list(counts), state["num_sentences"], state["num_words"])

    def _terms(self, item: str) -> list[tuple[int, float]]:
        """Return the places of the words of an expression in the vocabulary, with their signs."""
        return [(self.number_of(word), sign) for word, sign in terms_of(item)]


def terms_of(item: str) -> list[tuple[str, float]]:
    """Return the words of an expression with their signs: "a - b + c" is (a, 1), (b, -1), (c, 1).

    A sign stands between blanks, so that "well-known" is a word.

    Raises:
        InputError: a word or a sign is missing.
    """
    parts = BETWEEN_BLANKS.findall(item)
    expected = 'expected a word, or words with + and - between blanks, such as "Rome - Italy + Germany"'
    terms: list[tuple[str, float]] = []
    sign: float | None = 1.0
    for part in parts:
        if part in _OPERATORS:
            if sign is not None and terms:
                raise InputError(f"{item!r}: two signs in a row; {expected}")
            sign = _OPERATORS[part]
        elif sign is None:
            raise InputError(f"{item!r}: no sign before {part!r}; {expected}. A phrase is one word: new_york")
        else:
            terms.append((part, sign))
            sign = None
    if not terms or sign is not None:
        raise InputError(f"{item!r}: no word {'after the last sign' if terms else 'in it'}; {expected}")
    return terms
