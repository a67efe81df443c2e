"""Text without labels, read anew for every pass, and the words that occur in it often enough.

Axes: V words of the vocabulary, T terms of an expression such as "Rome - Italy + Germany".
"""

from __future__ import annotations

import re
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from rapidfuzz import process
from rapidfuzz.distance import OSA
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from dlpipe.data import Columns
from dlpipe.errors import DataError, InputError
from dlpipe_text.phrases import Phrases
from dlpipe_text.text_units import letters_of, words_of
from dlpipe_text.word_vectors import WordVectors, nearest_words

Unit = Literal["word", "char", "blank"]
#: Section, and the words of "a is to b as c is to d".
Question = tuple[str, tuple[str, str, str, str]]

#: gensim drops what a sentence has beyond these words without a message; `gensim.models.word2vec.LineSentence` cuts
#: longer lines into pieces of this length, and so does `Corpus`.
MAX_SENTENCE = 10_000
NUM_NEIGHBOURS = 10
MAX_SUGGESTED = 3
#: Words of an expression.
MAX_TERMS = 16
#: Beyond this share of wrong letters, a word is not suggested.
MAX_WRONG = 0.4
#: Not str.split(): as in other files of this plugin, a no-break space belongs to a word.
_BETWEEN_BLANKS = re.compile(r"[^ \t\r\n]+")
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


class Corpus:
    """Data for learning word vectors: the training split is the text, the test split the vocabulary.

    Args:
        documents: starts a new pass over the texts, one document at a time.
        fingerprint: returns a string that changes if the texts do.
        unit: how a document is split: words (each Chinese character is one), characters, or what is between blanks.
        punctuation: keep marks as words of their own.
        lowercase: convert everything to lower case.
        min_count: words that occur less often are left out, as if the sentences did not have them.
        phrases: rounds of joining words that occur together more often than by chance.
        phrase_threshold: score from which two words are joined.
        questions: analogies about the words, for text.analogies.
    """

    splits = ("train", "test")

    def __init__(
        self,
        documents: Callable[[], Iterator[str]],
        fingerprint: Callable[[], str],
        *,
        unit: Unit = "word",
        punctuation: bool = False,
        lowercase: bool = True,
        min_count: int = 5,
        phrases: int = 0,
        phrase_threshold: float = 10.0,
        questions: Sequence[Question] = (),
    ) -> None:
        self._documents, self._fingerprint = documents, fingerprint
        split: dict[Unit, Callable[[str], list[str]]] = {
            "word": words_of if punctuation else letters_of,
            "char": lambda text: [each for each in text if not each.isspace()],
            "blank": _BETWEEN_BLANKS.findall,
        }
        self._split, self._lowercase = split[unit], lowercase
        self._min_count = min_count
        self._num_phrases, self._phrase_threshold = phrases, phrase_threshold
        self._phrases: list[Phrases] | None = None
        self._vocabulary: Vocabulary | None = None
        self._ids: dict[str, int] = {}
        self.questions = questions

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return ``words``, the vocabulary, the most frequent word first; the first use reads the whole corpus."""
        return {"words": self.vocabulary.words}

    @property
    def vocabulary(self) -> Vocabulary:
        """Return what a pass over the corpus found."""
        if self._vocabulary is None:
            self._vocabulary = self._counted()
        return self._vocabulary

    def sentences(self) -> Iterator[list[str]]:
        """Yield the words of each sentence, at most 10,000, words outside of the vocabulary included."""
        if self._phrases is None:
            self._phrases = []
            for _ in range(self._num_phrases):  # each round reads what the rounds before have joined
                self._phrases.append(Phrases.learned(self.sentences(), self._phrase_threshold))
        for document in self._documents():
            words = self._split(document.lower() if self._lowercase else document)
            for phrases in self._phrases:
                words = phrases.joined(words)
            for start in range(0, len(words), MAX_SENTENCE):
                yield words[start : start + MAX_SENTENCE]

    def split(self, name: str) -> Columns | Sentences:
        """Return the sentences, as a stream, or the vocabulary: words (V, 1) and signs (V, 1), all of them 1."""
        if name == "train":
            return Sentences(self)
        words = torch.arange(len(self.vocabulary.words)).unsqueeze(1)
        return Columns({"words": words, "signs": torch.ones(words.shape)})

    def id_of(self, word: str) -> int | None:
        """Return the place of a word in the vocabulary, as it is written or else in lower case; None if it has none."""
        if not self._ids:
            self._ids = {each: number for number, each in enumerate(self.vocabulary.words)}
        return self._ids.get(word, self._ids.get(word.lower()))

    def encode(self, item: str) -> dict[str, Tensor]:
        """Convert an expression such as "Rome - Italy + Germany", or a word, to words (T,) and signs (T,), T = 16.

        The signs after the last word are 0.

        Raises:
            InputError: it is not one, is longer, or a word is not in the vocabulary.
        """
        terms = self._terms(item)
        if len(terms) > MAX_TERMS:
            raise InputError(f"an expression of {len(terms)} words; expected at most {MAX_TERMS}")
        words, signs = torch.zeros(MAX_TERMS, dtype=torch.long), torch.zeros(MAX_TERMS)
        for place, (number, sign) in enumerate(terms):
            words[place], signs[place] = number, sign
        return {"words": words, "signs": signs}

    def present(self, item: str, prediction: Tensor, model: nn.Module) -> dict[str, Any]:
        """Return the words whose vectors are nearest to that of the item, without the words of the item."""
        if not isinstance(model, WordVectors):
            raise InputError(f"the model is of type {type(model).__name__}; expected text.word_vectors")
        excluded = torch.tensor([[number for number, _ in self._terms(item)]])
        similarities, numbers = nearest_words(model, prediction.unsqueeze(0), excluded, NUM_NEIGHBOURS)
        return {
            "nearest": [self.vocabulary.words[number] for number in numbers[0].tolist()],
            "cosine": [f"{value:.4f}" for value in similarities[0].tolist()],
            "query": item,
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

    def fingerprint(self) -> str:
        """Return a string that changes if the texts do."""
        return self._fingerprint()

    def _terms(self, item: str) -> list[tuple[int, float]]:
        """Return the places of the words of an expression in the vocabulary, with their signs."""
        found = []
        for word, sign in terms_of(item):
            number = self.id_of(word)
            if number is None:
                raise InputError(self._unknown(word))
            found.append((number, sign))
        return found

    def _unknown(self, word: str) -> str:
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
        return (
            f'"{word}" is not among the {len(known):,} words of the vocabulary, which occur at least '
            f"{self._min_count} times in the corpus.{suggested}"
        )

    def _counted(self) -> Vocabulary:
        """Read the corpus once."""
        counts: dict[str, int] = defaultdict(int)
        lengths = array("H")  # MAX_SENTENCE fits
        for sentence in self.sentences():
            lengths.append(len(sentence))
            for word in sentence:
                counts[word] += 1
        if not counts:
            raise DataError("the corpus has no words; expected text, one document per line. Check the path and unit")
        frequent = [word for word, count in counts.items() if count >= self._min_count]
        if len(frequent) < 2:
            second = sorted(counts.values())[-2:][0]
            raise InputError(
                f"min_count = {self._min_count}: {len(frequent)} of {len(counts):,} words occur so often; expected at "
                f"least two words, so a number up to {second}, or a larger corpus"
            )
        # The order of gensim: of equally frequent words, the one that occurs first in the corpus comes last.
        words = sorted(reversed(frequent), key=lambda word: -counts[word])
        return Vocabulary(words, [counts[word] for word in words], len(lengths), sum(lengths), lengths)


class Sentences(IterableDataset[dict[str, Tensor]]):
    """The sentences of a corpus as ids of words, read anew in each pass; words outside of the vocabulary are left out.

    A trainer that needs the words themselves takes `Corpus.sentences`.
    """

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus

    def __len__(self) -> int:
        return self._corpus.vocabulary.num_sentences

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        ids = {word: number for number, word in enumerate(self._corpus.vocabulary.words)}
        for sentence in self._corpus.sentences():
            yield {"words": torch.tensor([ids[word] for word in sentence if word in ids], dtype=torch.long)}


def terms_of(item: str) -> list[tuple[str, float]]:
    """Return the words of an expression with their signs: "a - b + c" is (a, 1), (b, -1), (c, 1).

    A sign stands between blanks, so that "well-known" is a word.

    Raises:
        InputError: a word or a sign is missing.
    """
    parts = _BETWEEN_BLANKS.findall(item)
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
