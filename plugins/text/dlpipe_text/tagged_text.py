"""Sentences with a label for every word, as tensors.

Words and labels come from the training split. Any other word becomes "other" (its letter trigrams may
still be known). A label that occurs only in another split cannot be predicted: the targets leave its words out, and
`text.slot_f1`, which compares the tags themselves, counts it as missed.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from dlpipe.data import IGNORE_INDEX, Columns, Ragged, sequence_answer
from dlpipe.errors import DataError, InputError
from dlpipe_text.iob import MAX_WORDS
from dlpipe_text.letters import COMBINING, plain
from dlpipe_text.packed_sentences import PackedSentences, Sentence, found_in
from dlpipe_text.strings import Strings
from dlpipe_text.vocabulary import RESERVED, Learned, unknown_units, vocabulary
from dlpipe_text.word_features import OTHER, PADDING

#: Only this many letters of a word are split into trigrams; longer words are numbers or mistakes.
MAX_LETTERS = 32
#: Not str.split(): as in files, a no-break space belongs to a word.
_WORD = re.compile(r"[^ \t\r\n]+")
_END_OF_PHRASE = re.compile(rf"[,;:!?]+$|(?<=[\w{COMBINING}]{{3}})\.$|^\.+$")


class TaggedText:
    """Data for tagging. Files are read when they are needed.

    Args:
        read: returns the sentences of a split.
        splits: names of the splits.
        min_count: words that occur less often in training become "other".
        lowercase: convert all words to lower case, those of the files and those of typed sentences.

    A typed sentence is split at spaces and tabs, as the lines of a file are. It is converted to lower case if no
    training word has a capital letter, and loses punctuation at the ends of phrases if no training word ends in such.
    """

    text_items = True
    paddings: ClassVar[Mapping[str, float]] = {"tokens": PADDING, "trigrams": PADDING, "targets": IGNORE_INDEX}

    def __init__(
        self,
        read: Callable[[str], Sequence[Sentence]],
        splits: Sequence[str],
        *,
        min_count: int = 1,
        lowercase: bool = False,
    ) -> None:
        self.splits = tuple(splits)
        self._read = read
        self._min_count, self._lowercase = min_count, lowercase
        self._sentences: dict[str, PackedSentences] = {}
        self._columns: dict[str, Columns] = {}
        self._known: Learned | None = None
        self._spelling: dict[str, bool] = {}

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return ``vocabulary``, ``vocab_size``, ``trigrams``, ``num_trigrams``, ``labels`` and ``num_labels``."""
        known = self._learned()
        return {
            "vocabulary": known["words"],
            "vocab_size": len(known["words"]),
            "trigrams": known["trigrams"],
            "num_trigrams": len(known["trigrams"]),
            "labels": known["labels"],
            "num_labels": len(known["labels"]),
        }

    def sentences(self, split: str) -> PackedSentences:
        """Return the (words, tags) of a split."""
        if split not in self._sentences:
            read = self._read(split)
            packed = read if isinstance(read, PackedSentences) else PackedSentences.of(read)
            self._sentences[split] = packed.lowercased() if self._lowercase else packed
        return self._sentences[split]

    def split(self, name: str) -> Columns:
        """Return tokens (N, T), trigrams (N, T, G) and targets (N, T) of a split."""
        if name not in self._columns:
            sentences = self.sentences(name)
            lengths = torch.from_numpy(sentences.lengths)
            columns = self._encoded(sentences.words, lengths)
            labels = self._learned().ids("labels")
            counts = sentences.tags.counts()
            if unknown := Counter({tag: count for tag, count in counts.items() if tag not in labels}):
                examples = ", ".join(tag for tag, _ in unknown.most_common(3))
                warnings.warn(
                    f"{len(unknown)} tags of the {name} split ({examples} …, {unknown.total()} words) never occur in "
                    "the training split and cannot be predicted: text.slot_f1 counts them as missed, other evaluators "
                    "leave these words out",
                    stacklevel=2,
                )
            targets = torch.from_numpy(sentences.tags.looked_up(labels, IGNORE_INDEX))
            self._columns[name] = Columns(columns | {"targets": Ragged(targets, lengths, padding=IGNORE_INDEX)})
        return self._columns[name]

    def copies(self, split: str, other: str) -> tuple[Tensor, Tensor]:
        """Return which sentences of `split` are in `other`: (N,) exactly, (N,) but for case and punctuation."""
        ours, theirs = self.sentences(split), self.sentences(other)
        exact = found_in(theirs, ours, str)
        return exact, exact | found_in(theirs, ours, plain)

    def encode(self, item: str) -> dict[str, Tensor]:
        """Convert a sentence to tokens (T,) and trigrams (T, G).

        Raises:
            InputError: it has no words, or too many for a batch.
        """
        words = self.words(item)
        if not words:
            raise InputError(f"{item!r} has no words; expected a sentence such as: leave taipei on november 2nd")
        if len(words) > MAX_WORDS:
            raise InputError(f"a sentence of {len(words):,} words; expected at most {MAX_WORDS:,}; give one per line")
        # All of the same width, so that sentences can be batched.
        columns = self._encoded(PackedSentences.of([(words, [])]).words, torch.tensor([len(words)]), width=MAX_LETTERS)
        return {name: column.concatenated() for name, column in columns.items()}

    def present(self, item: str, prediction: Tensor, probabilities: Tensor | None, top: int = 0) -> dict[str, Any]:
        """Return the words, their labels, and which words are not in the vocabulary, and what share they are.

        On request, also the probability of each label, and the most probable labels of each word.
        """
        words = self.words(item)
        answer = {"tokens": words, **sequence_answer(self._learned()["labels"], prediction, probabilities, top)}
        return answer | unknown_units(words, self._learned().ids("words"))

    def words(self, item: str) -> list[str]:
        """Split a typed sentence into words that are spelled as those of the training split."""
        self._learned()
        words = _WORD.findall(item)
        if not self._spelling["punctuation"]:
            words = [word for word in (_END_OF_PHRASE.sub("", part) for part in words) if word]
        return _lower(words) if self._spelling["lowercase"] else words

    def tags(self, prediction: Tensor) -> list[str]:
        """Return the labels with the predicted ids (T,)."""
        labels = self._learned()["labels"]
        return [labels[index] for index in prediction.tolist()]

    def state(self) -> dict[str, Any]:
        """Return the words, trigrams and labels, each ordered by id, and how the training words are spelled."""
        return {**self._learned(), "spelling": dict(self._spelling)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set what `state` returned.

        Raises:
            ValueError: one is not a string.
        """
        if not all(isinstance(text, str) for name in ("words", "trigrams", "labels") for text in state[name]):
            raise ValueError("a word, trigram or label is not a string")
        self._known = Learned({name: state[name] for name in ("words", "trigrams", "labels")})
        self._columns = {}
        self._spelling = {"lowercase": True, "punctuation": False} | dict(state.get("spelling", {}))

    def fingerprint(self) -> str:
        """Return a digest of all sentences of all splits."""
        digest = hashlib.sha256()
        for split in self.splits:
            for words, tags in self.sentences(split):
                digest.update(f"{split}\t{' '.join(words)}\t{' '.join(tags)}\n".encode())
        return digest.hexdigest()[:16]

    def _learned(self) -> Learned:
        if self._known is None:
            sentences = self.sentences("train")
            counts = sentences.words.counts()
            self._spelling = {
                "lowercase": all(word == word.lower() for word in counts),
                "punctuation": any(_END_OF_PHRASE.search(word) for word in counts),
            }
            words = vocabulary(counts, self._min_count, "word")
            tags = sorted(sentences.tags.distinct)
            if len(tags) < 2:
                raise DataError(
                    f"the tags of the training split are {tags}; expected at least two, such as O and B-city. "
                    "Check the last column of the training file"
                )
            trigrams = sorted({trigram for word in words[len(RESERVED) :] for trigram in letter_trigrams(word)})
            self._known = Learned({"words": words, "trigrams": [*RESERVED, *trigrams], "labels": tags})
        return self._known

    def _encoded(self, words: Strings, lengths: Tensor, width: int = 0) -> dict[str, Ragged]:
        """Return tokens and trigrams of the words of sentences of these lengths, at least `width` trigrams per word."""
        learned = self._learned()
        known, trigrams = learned.ids("words"), learned.ids("trigrams")
        # Trigrams are computed once per distinct word, not once per token.
        of_word = [[trigrams.get(trigram, OTHER) for trigram in letter_trigrams(word)] for word in words.distinct]
        width = max(width, *map(len, of_word))
        table = torch.tensor([ids + [PADDING] * (width - len(ids)) for ids in [*of_word, []]])
        rows, tokens = torch.from_numpy(words.numbers), torch.from_numpy(words.looked_up(known, OTHER))
        return {
            "tokens": Ragged(tokens, lengths, padding=PADDING),
            "trigrams": Ragged(rows, lengths, padding=len(of_word), table=table),
        }


def _lower(words: Sequence[str]) -> list[str]:
    return [word.lower() for word in words]


def letter_trigrams(word: str, max_letters: int = MAX_LETTERS) -> list[str]:
    """Return the letter trigrams of ``#word#`` (Huang et al. 2013): apple is #ap app ppl ple le#."""
    marked = f"#{word[:max_letters]}#"
    return [marked[start : start + 3] for start in range(len(marked) - 2)] or [marked]
