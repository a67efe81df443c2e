"""Texts with one label each, as tensors.

The vocabulary comes from the training split; any other unit (word, character or trigram) becomes "other".
Axes: N texts, T units of a text, G n-grams of a text, K labels.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dlpipe.compute import Compute
from dlpipe.data import IGNORE_INDEX, Columns, Ragged, class_answer
from dlpipe.errors import DataError, InputError
from dlpipe.messages import Weighted
from dlpipe_text.iob import MAX_WORDS, quoted
from dlpipe_text.letters import plain
from dlpipe_text.occlusion import contributions, logits_of, variants
from dlpipe_text.same_hash import among
from dlpipe_text.segmenters import Segment
from dlpipe_text.strings import StringSequences
from dlpipe_text.text_units import UNITS, Unit, segmented, spaced
from dlpipe_text.vocabulary import RESERVED, Learned, unknown_units, vocabulary
from dlpipe_text.word_features import OTHER, PADDING

Text = tuple[str, str]  # text, label
#: Longer texts are not colored when they are typed: each unit takes a pass of the model.
MAX_COLORED = 200


class LabeledText:
    """Data for classifying texts. Files are read when they are needed.

    Args:
        read: returns the texts of a split with their labels.
        splits: names of the splits.
        unit: what the model reads one by one.
        segment: splits a run of Chinese characters into words; without it, each character is one.
        min_count: units (and n-grams) that occur less often in training become "other".
        max_length: units of a text that are used, the first ones; None uses all.
        ngrams: also count sequences of up to this many units; 0 counts none.
        char_ngrams: also count sequences of up to this many characters, blanks included, among the n-grams; 0 counts
            none.
        lowercase: convert all texts to lower case, those that are typed for `dlpipe predict` too. Without it, a typed
            text is converted if no training text has a capital letter.
    """

    text_items = True
    paddings: ClassVar[Mapping[str, float]] = {"tokens": PADDING, "ngrams": PADDING}

    def __init__(
        self,
        read: Callable[[str], list[Text]],
        splits: Sequence[str],
        *,
        unit: Unit = "word",
        segment: Segment | None = None,
        min_count: int = 1,
        max_length: int | None = None,
        ngrams: int = 0,
        char_ngrams: int = 0,
        lowercase: bool = True,
    ) -> None:
        self.splits = tuple(splits)
        self._read = read
        self._unit, self._min_count, self._max_length = unit, min_count, max_length
        self._split = segmented(segment, marks=True) if segment else UNITS[unit]
        self._max_ngram, self._max_char_ngram, self._lowercase = ngrams, char_ngrams, lowercase
        self._texts: dict[str, list[Text]] = {}
        self._columns: dict[str, Columns] = {}
        self._known: Learned | None = None
        self._lowercase_typed = False

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return ``vocabulary``, ``vocab_size``, ``ngrams``, ``num_ngrams``, ``labels`` and ``num_classes``."""
        known = self._learned()
        return {
            "vocabulary": known["units"],
            "vocab_size": len(known["units"]),
            "ngrams": known["ngrams"],
            "num_ngrams": len(known["ngrams"]),
            "labels": known["labels"],
            "num_classes": len(known["labels"]),
        }

    def texts(self, split: str) -> list[Text]:
        """Return the (text, label) of a split."""
        if split not in self._texts:
            self._texts[split] = self._read(split)
        return self._texts[split]

    def names(self, split: str) -> list[str]:
        """Return the texts of a split, shortened."""
        return [_shortened(text) for text, _ in self.texts(split)]

    def split(self, name: str) -> Columns:
        """Return tokens (N, T), targets (N,) and, if they are counted, ngrams (N, G) of a split."""
        if name not in self._columns:
            texts = self.texts(name)
            labels = self._learned().ids("labels")
            unknown = Counter(label for _, label in texts if label not in labels)
            if unknown:
                raise DataError(
                    f"the {name} split has {unknown.total()} texts with labels that never occur in train: "
                    f"{', '.join(map(quoted, sorted(unknown)[:5]))}; expected {', '.join(map(quoted, labels))}. "
                    "Correct the labels, or add such texts to train"
                )
            self._columns[name] = self._with_targets(texts, self._collected_from(texts))
        return self._columns[name]

    def copies(self, split: str, other: str) -> tuple[Tensor, Tensor]:
        """Return which texts of `split` are in `other`: (N,) exactly, (N,) but for case, blanks and punctuation."""
        exact = among(self._strings(other), self._strings(split))
        return exact, exact | among(map(_plain, self._strings(other)), map(_plain, self._strings(split)))

    def _strings(self, split: str) -> Iterator[str]:
        return (text for text, _ in self.texts(split))

    def encode(self, item: str) -> dict[str, Tensor]:
        """Convert a text to tokens (T,) and, if they are counted, ngrams (G,).

        Raises:
            InputError: it is empty, or too long for a batch.
        """
        units = self._typed(item)
        if not units:
            raise InputError(f'{item!r} has no {self._unit}; expected a text such as "not bad at all"')
        _check_length(units, "the text", InputError)
        return {name: column.concatenated() for name, column in self._encoded(self._collected([units])).items()}

    def present(
        self,
        item: str,
        prediction: Tensor,
        probabilities: Tensor | None,
        model: nn.Module,
        top: int = 0,
        explain: bool = False,
    ) -> dict[str, Any]:
        """Return the label and its probability, and which units are not in the vocabulary, and what share they are.

        To explain it, also the words, each with its contribution to the prediction.
        """
        units = self._typed(item)
        answer = class_answer(self._learned()["labels"], prediction, probabilities, top)
        answer |= unknown_units(units, self._learned().ids("units"))
        if explain and len(units) <= MAX_COLORED:
            # A majority class has buffers only.
            tensor = next(chain(model.parameters(), model.buffers()), torch.empty(0))
            compute = Compute(tensor.device)
            found = contributions(logits_of(model, self.columns(variants(units)), compute), int(prediction))
            answer["words"] = list(map(Weighted, self.spaced(units), found.tolist()))
        return answer

    def columns(self, texts: Sequence[Sequence[str]]) -> Columns:
        """Return what a model takes of texts that are split into units already."""
        return Columns(self._encoded(self._collected(texts)))

    def spaced(self, units: Sequence[str]) -> list[str]:
        """Return units as they are shown in a row, with blanks where they are usual."""
        return spaced(units, self._unit)

    def units(self, text: str) -> list[str]:
        """Split a text into the units that a model reads."""
        return self._split(text.lower() if self._lowercase else text)[: self._max_length]

    def _typed(self, item: str) -> list[str]:
        """Split a typed text into units that are spelled as those of the training split."""
        self._learned()
        return self.units(item.lower() if self._lowercase_typed else item)

    def state(self) -> dict[str, Any]:
        """Return the units, n-grams and labels, each ordered by id, and whether the training texts are lower case."""
        return {**self._learned(), "lowercase": self._lowercase_typed}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set what `state` returned."""
        self._known = Learned({name: state[name] for name in ("units", "ngrams", "labels")})
        self._lowercase_typed = bool(state.get("lowercase", False))  # the runs of earlier versions do not say
        self._columns = {}

    def fingerprint(self) -> str:
        """Return a digest of all texts of all splits."""
        digest = hashlib.sha256()
        for split in self.splits:
            for text, label in self.texts(split):
                digest.update(f"{split}\t{len(text)}\t{text}\t{label}\n".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:16]

    def _learned(self) -> Learned:
        if self._known is None:
            texts = self.texts("train")
            labels = sorted({label for _, label in texts})
            if len(labels) < 2:
                raise DataError(
                    f"all {len(texts)} training texts have the label {', '.join(map(quoted, labels))}; expected at "
                    "least two labels, such as negative and positive. Check the column of labels, or the files"
                )
            self._lowercase_typed = all(text == text.lower() for text, _ in texts)
            found = self._collected_from(texts)
            units, ngrams = (
                vocabulary(found[column].strings.counts(), self._min_count, kind) if column in found else []
                for column, kind in (("tokens", self._unit), ("ngrams", "n-gram"))
            )
            self._known = Learned({"units": units, "ngrams": ngrams, "labels": labels})
            self._columns["train"] = self._with_targets(texts, found)  # the texts are split into units only once
        return self._known

    def _ngrams_of(self, units: Sequence[str]) -> list[str]:
        """Return all sequences of up to `ngrams` units and of up to `char_ngrams` characters.

        No unit contains the line feed that joins units and that stands before characters. An unknown unit is a line
        feed among the characters, so that what contains it is unknown, too.
        """
        known = ["\n" if unit == RESERVED[OTHER] else unit for unit in units]
        characters = f" {''.join(self.spaced(known)).strip(' ')} "
        return [
            *("\n".join(each) for each in _sequences(units, self._max_ngram)),
            *("\n" + "".join(each) for each in _sequences(characters, self._max_char_ngram)),
        ]

    @property
    def _counts_ngrams(self) -> bool:
        return bool(self._max_ngram or self._max_char_ngram)

    def _collected_from(self, texts: Iterable[Text]) -> dict[str, StringSequences]:
        return self._collected(self.units(text) for text, _ in texts)

    def _collected(self, texts: Iterable[Sequence[str]]) -> dict[str, StringSequences]:
        """Return the units, ``tokens``, and the ``ngrams``, if they are counted, of texts of units."""
        columns = {"tokens": StringSequences()}
        if self._counts_ngrams:
            columns["ngrams"] = StringSequences()
        # Characters have hundreds of n-grams in a text: only those of one text are in memory as strings.
        for number, units in enumerate(texts):
            _check_length(units, f"text {number}", DataError)
            for name, column in columns.items():
                column.add(units if name == "tokens" else self._ngrams_of(units))
        return columns

    def _with_targets(self, texts: Sequence[Text], columns: Mapping[str, StringSequences]) -> Columns:
        """Return the ids of what the columns of some texts have, and the ids of their labels."""
        labels = self._learned().ids("labels")
        targets = torch.tensor([labels.get(label, IGNORE_INDEX) for _, label in texts])
        return Columns({**self._encoded(columns), "targets": targets})

    def _encoded(self, columns: Mapping[str, StringSequences]) -> dict[str, Ragged]:
        """Return the ids of what the columns have."""
        learned = self._learned()
        tables = {"tokens": learned.ids("units"), "ngrams": learned.ids("ngrams")}
        return {
            name: Ragged(
                torch.from_numpy(column.strings.looked_up(tables[name], OTHER)),
                torch.from_numpy(column.lengths),
                padding=PADDING,
            )
            for name, column in columns.items()
        }


def _sequences(parts: Sequence[str], longest: int) -> Iterator[Sequence[str]]:
    """Yield all parts of a text that are next to each other, up to `longest` of them."""
    for size in range(1, longest + 1):
        for start in range(len(parts) - size + 1):
            yield parts[start : start + size]


def _check_length(units: Sequence[str], what: str, error: type[DataError] | type[InputError]) -> None:
    if len(units) > MAX_WORDS:
        raise error(
            f"{what} has {len(units):,} units ({quoted(' '.join(units[:12]))}); expected at most {MAX_WORDS:,}, since "
            "a batch is padded to its longest text. Set max_length, or split the text"
        )


def _shortened(text: str) -> str:
    return text if len(text) <= 100 else text[:97] + "..."


def _plain(text: str) -> str:
    """Return the letters and digits of a text in lower case; of a text without any, the text itself."""
    return plain(text) or text
