"""Text without labels, read again for every pass, and the words that occur in it often enough."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from dlpipe.data import Columns
from dlpipe.errors import DataError, InputError
from dlpipe_text.phrases import Phrases
from dlpipe_text.segmenters import Segment
from dlpipe_text.text_units import letters_of, segmented, words_of
from dlpipe_text.word_data import BETWEEN_BLANKS, Question, Vocabulary, WordData

Unit = Literal["word", "char", "blank"]

#: gensim drops what a sentence has beyond these words without a message; `gensim.models.word2vec.LineSentence` cuts
#: longer lines into pieces of this length, and so does `Corpus`.
MAX_SENTENCE = 10_000


class Corpus(WordData):
    """Data for learning word vectors: the training split is the text, the test split the vocabulary.

    Args:
        documents: starts a new pass over the texts, one document at a time.
        fingerprint: returns a string that changes if the texts do.
        unit: how a document is split: words (each Chinese character is one), characters, or what is between blanks.
        punctuation: keep marks as words of their own.
        segment: splits a run of Chinese characters into words; without it, each character is one.
        lowercase: convert everything to lower case.
        min_count: words that occur less often are left out, as if the sentences did not have them.
        phrases: rounds of joining words that occur together more often than by chance.
        phrase_threshold: score from which two words are joined.
        questions: analogies about the words, for text.analogies.
    """

    def __init__(
        self,
        documents: Callable[[], Iterator[str]],
        fingerprint: Callable[[], str],
        *,
        unit: Unit = "word",
        punctuation: bool = False,
        segment: Segment | None = None,
        lowercase: bool = True,
        min_count: int = 5,
        phrases: int = 0,
        phrase_threshold: float = 10.0,
        questions: Sequence[Question] = (),
    ) -> None:
        super().__init__(questions)
        self._documents, self._fingerprint = documents, fingerprint
        whole = words_of if punctuation else letters_of
        words = segmented(segment, marks=punctuation) if segment else whole
        split: dict[Unit, Callable[[str], list[str]]] = {
            "word": words,
            "char": lambda text: [each for each in text if not each.isspace()],
            "blank": BETWEEN_BLANKS.findall,
        }
        self._split, self._lowercase = split[unit], lowercase
        self._min_count = min_count
        self._num_phrases, self._phrase_threshold = phrases, phrase_threshold
        self._phrases: list[Phrases] | None = None

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
        return Sentences(self) if name == "train" else self.every_word()

    def fingerprint(self) -> str:
        """Return a string that changes if the texts do."""
        return self._fingerprint()

    def rarest(self) -> str:
        """Return which words are in the vocabulary."""
        return f"which occur at least {self._min_count} times in the corpus"

    def learned(self) -> Vocabulary:
        """Read the corpus once and return its words."""
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
        frequent.reverse()
        words = sorted(frequent, key=lambda word: -counts[word])
        return Vocabulary(words, [counts[word] for word in words], len(lengths), sum(lengths), lengths)


class Sentences(IterableDataset[dict[str, Tensor]]):
    """The sentences of a corpus as ids of words, read again in each pass; words outside of the vocabulary are left out.

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
