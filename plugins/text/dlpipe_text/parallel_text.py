"""Pairs of texts, a source and its target, as tensors: translations, or questions with answers.

The vocabularies come from the training split; any other unit (word, character or subword) becomes "other".
Axes: N pairs, S units of a source, T units of a target and its end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from dlpipe.data import IGNORE_INDEX, Columns, Ragged
from dlpipe.errors import DataError, InputError
from dlpipe.figures import shortened
from dlpipe_text.iob import MAX_WORDS, quoted
from dlpipe_text.pieces import BLANK, PieceUnit, character_pieces, joined, word_pieces
from dlpipe_text.same_hash import among
from dlpipe_text.strings import StringSequences
from dlpipe_text.subwords import Subwords, learn
from dlpipe_text.vocabulary import RESERVED, Learned, unknown_units, vocabulary
from dlpipe_text.word_features import OTHER, PADDING

Pair = tuple[str, str]  # source, target
#: The id of the unit after the last one of a target, and before its first one.
END = len(RESERVED)
#: What `vocabulary` begins with for targets.
RESERVED_TARGETS = (*RESERVED, "</s>")
SIDES = ("source", "target")


class ParallelText:
    """Data for turning one text into another. Files are read when they are needed.

    Args:
        read: returns the pairs of a split.
        splits: names of the splits.
        unit: what the model reads and writes one by one.
        num_subwords: how many subwords there are at most, in each language.
        min_count: units that occur less often in training become "other".
        max_length: units of a text that are used, the first ones; None uses all. `pairs` and `normalized` have all.
        lowercase: convert all texts to lower case.
    """

    text_items = True
    paddings: ClassVar[Mapping[str, float]] = {"tokens": PADDING, "targets": IGNORE_INDEX}

    def __init__(
        self,
        read: Callable[[str], list[Pair]],
        splits: Sequence[str],
        *,
        unit: PieceUnit = "word",
        num_subwords: int = 8000,
        min_count: int = 1,
        max_length: int | None = None,
        lowercase: bool = False,
    ) -> None:
        self.splits = tuple(splits)
        self.unit = unit
        self._read, self._num_subwords = read, num_subwords
        self._min_count, self._max_length, self._lowercase = min_count, max_length, lowercase
        self._pairs: dict[str, list[Pair]] = {}
        self._columns: dict[str, Columns] = {}
        self._splitters: tuple[Callable[[str], list[str]], ...] = ()
        self._known: Learned | None = None

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return ``vocabulary``, ``vocab_size`` and ``target_vocabulary``."""
        known = self._learned()
        return {
            "vocabulary": known["source"],
            "vocab_size": len(known["source"]),
            "target_vocabulary": known["target"],
        }

    def pairs(self, split: str) -> list[Pair]:
        """Return the (source, target) of a split."""
        if split not in self._pairs:
            self._pairs[split] = self._read(split)
        return self._pairs[split]

    def names(self, split: str) -> list[str]:
        """Return the sources of a split, shortened."""
        return [shortened(source, 100) for source, _ in self.pairs(split)]

    def split(self, name: str) -> Columns:
        """Return tokens (N, S) and targets (N, T), whose last unit is `END`."""
        known = self._learned()
        if name not in self._columns:
            self._columns[name] = self._encoded(known, [self._collected(name, side) for side in (0, 1)])
        return self._columns[name]

    def copies(self, split: str, other: str) -> tuple[Tensor, Tensor]:
        """Return which sources of `split` are in `other`: (N,) exactly, (N,) but for case and blanks."""
        theirs, ours = ([source for source, _ in self.pairs(name)] for name in (other, split))
        return among(theirs, ours), among(map(_plain, theirs), map(_plain, ours))

    def encode(self, item: str) -> dict[str, Tensor]:
        """Convert a source to tokens (S,).

        Raises:
            InputError: it is empty, or too long for a batch.
        """
        units = self._units(item)
        if not units:
            raise InputError(f"{item!r} has no {self.unit}; expected a text to translate")
        _check_length(len(units), "the text", InputError)
        ids = self._learned().ids("source")
        return {"tokens": torch.tensor([ids.get(unit, OTHER) for unit in units])}

    def present(self, item: str, prediction: Tensor) -> dict[str, Any]:
        """Return the text that the model writes, and which units are not in the vocabulary, and what share they are."""
        answer = unknown_units(self._units(item), self._learned().ids("source"))
        return {"text": self.text(prediction), **answer, "unknown": [joined([unit]) for unit in answer["unknown"]]}

    def text(self, prediction: Tensor) -> str:
        """Return the text of target ids (T,), up to the end."""
        names = self._learned()["target"]
        return joined([names[number] for number in prediction.tolist() if number not in (IGNORE_INDEX, END)])

    def source_names(self, tokens: Tensor) -> list[str]:
        """Return the units of source ids (S,)."""
        return [self._learned()["source"][number] for number in tokens.tolist()]

    def target_names(self, targets: Tensor) -> list[str]:
        """Return the units of target ids (T,), the end among them."""
        return [self._learned()["target"][number] for number in targets.tolist()]

    def normalized(self, text: str) -> str:
        """Return a text in the form of the training texts, with which what a model writes is to be compared."""
        return " ".join((text.lower() if self._lowercase else text).replace(BLANK, " ").split())

    def state(self) -> dict[str, Any]:
        """Return the units of both sides, each ordered by id, and how texts are split into subwords."""
        return dict(self._learned())

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set what `state` returned."""
        self._known = Learned(state)
        self._splitters = self._splitters_of(self._known)
        self._columns = {}

    def fingerprint(self) -> str:
        """Return a digest of all texts of all splits."""
        digest = hashlib.sha256()
        for split in self.splits:
            for source, target in self.pairs(split):
                digest.update(f"{split}\0{source}\0{target}\0".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:16]

    def _learned(self) -> Learned:
        if self._known is None:
            subwords = []
            if self.unit == "subword":
                for side, name in enumerate(SIDES):
                    texts = (self.normalized(pair[side]) for pair in self.pairs("train"))
                    subwords.append(learn(texts, self._num_subwords, what=f"{name} texts"))
            known = Learned({"subwords": subwords})
            self._splitters = self._splitters_of(known)
            found = [self._collected("train", side) for side in (0, 1)]
            for name, sequences in zip(SIDES, found, strict=True):
                known[name] = vocabulary(sequences.strings.counts(), self._min_count, f"{name} {self.unit}")
            known["target"].insert(END, RESERVED_TARGETS[END])
            self._known = known
            self._columns["train"] = self._encoded(known, found)  # the texts are split into units only once
        return self._known

    def _splitters_of(self, known: Learned) -> tuple[Callable[[str], list[str]], ...]:
        if self.unit == "subword":
            return tuple(map(Subwords, known["subwords"]))
        return (word_pieces if self.unit == "word" else character_pieces,) * 2

    def _units(self, text: str, side: int = 0) -> list[str]:
        self._learned()
        return self._splitters[side](self.normalized(text))[: self._max_length]

    def _collected(self, split: str, side: int) -> StringSequences:
        """Return the units of one side of a split."""
        found = StringSequences()
        splitter = self._splitters[side]
        for number, pair in enumerate(self.pairs(split)):
            units = splitter(self.normalized(pair[side]))[: self._max_length]
            if not units:
                raise DataError(f"the {split} split: the {SIDES[side]} of pair {number} is empty; expected a text")
            _check_length(len(units), f"the {SIDES[side]} {quoted(shortened(pair[side], 60))} of {split}", DataError)
            found.add(units)
        return found

    def _encoded(self, known: Learned, sides: Iterable[StringSequences]) -> Columns:
        """Return the ids of the units of both sides."""
        sources, targets = sides
        tokens = torch.from_numpy(sources.strings.looked_up(known.ids("source"), OTHER))
        words = torch.from_numpy(targets.strings.looked_up(known.ids("target"), OTHER))
        lengths = torch.from_numpy(targets.lengths)
        ends = lengths.cumsum(0) + torch.arange(len(lengths))
        written = torch.full((len(words) + len(lengths),), END)
        inner = torch.ones(len(written), dtype=torch.bool)
        inner[ends] = False
        written[inner] = words
        return Columns(
            {
                "tokens": Ragged(tokens, torch.from_numpy(sources.lengths), padding=PADDING),
                "targets": Ragged(written, lengths + 1, padding=IGNORE_INDEX),
            }
        )


def is_text(text: str) -> bool:
    """Return whether a text has anything but blanks."""
    return bool(text.replace(BLANK, " ").strip())


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _check_length(count: int, what: str, error: type[DataError] | type[InputError]) -> None:
    if count > MAX_WORDS:
        raise error(
            f"{what} has {count:,} units; expected at most {MAX_WORDS:,}, since a batch is padded to its longest text. "
            "Set max_length, or split the text"
        )
