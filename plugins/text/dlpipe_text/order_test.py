"""Test whether a model reads or counts: minimal pairs that a bag of words cannot tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from torch import nn

from dlpipe.errors import InputError
from dlpipe.evaluation import Examples, write_csv
from dlpipe.report_items import ReportItem
from dlpipe_text.labeled_text import LabeledText
from dlpipe_text.occlusion import logits_of
from dlpipe_text.review_pairs import KINDS, minimal_pairs
from dlpipe_text.reviews import LANGUAGES


class OrderTest:
    """Classify pairs of texts of opposite sentiment that differ in a negation or in the order of two halves.

    ``evaluate`` returns ``negation`` ("the film is good", "the film is not good", and the same with "bad") and
    ``order`` ("the film is bad but the plot is good" and the other way round), the shares of right answers, and
    ``pairs``, the share of pairs in which both are right. A sum of word weights gets at most 0.75 of the negations
    right, since good, bad, "not good" and "not bad" cannot all be, and exactly half of the orders. ``write`` writes
    ``pairs.csv``.

    Args:
        labels: the name of each class.
        language: of the pairs: English, Traditional Chinese, or both.
        positive: the name of the class of positive texts.
        negative: the name of the class of negative texts.
    """

    primary = "pairs"
    goal: Literal["max"] = "max"

    def __init__(
        self,
        labels: Sequence[str],
        *,
        language: Literal["en", "zh", "both"] = "both",
        positive: str = "positive",
        negative: str = "negative",
    ) -> None:
        for option, name in (("positive", positive), ("negative", negative)):
            if name not in labels:
                raise InputError(
                    f'{option} = "{name}": the labels are {", ".join(labels)}; set {option} to one of them'
                )
        self._labels = list(labels)
        self._names = (positive, negative)
        self._pairs = [pair for each in LANGUAGES[language] for pair in minimal_pairs(each)]
        self._rows: list[tuple[str, ...]] = []

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Return the shares of right answers; the split has no influence."""
        data = examples.data
        if not isinstance(data, LabeledText):
            raise InputError(
                f"text.order_test got data of type {type(data).__name__}; expected texts with labels: text.reviews"
            )
        texts = [text for pair in self._pairs for text in (pair.positive, pair.negative)]
        kinds = [pair.kind for pair in self._pairs for _ in self._names]
        logits = logits_of(model, data.columns(list(map(data.units, texts))), examples.compute)
        found = [self._labels[number] for number in logits.argmax(1).tolist()]
        true = [*self._names] * len(self._pairs)
        self._rows = list(zip(kinds, texts, true, found, strict=True))
        right = [name == label for name, label in zip(found, true, strict=True)]
        both = [first and second for first, second in zip(right[::2], right[1::2], strict=True)]
        shares = {kind: _mean([r for r, of in zip(right, kinds, strict=True) if of == kind]) for kind in KINDS}
        return {**shares, "pairs": _mean(both)}

    def write(self, folder: Path) -> list[ReportItem]:
        """Write the texts of the last `evaluate` with their true and predicted class, a pair in two rows."""
        write_csv(folder / "pairs.csv", [("kind", "text", "true", "predicted"), *self._rows])
        return [
            ReportItem(
                "pairs.csv",
                "Texts of the same words in another order",
                "Two rows are a pair, of which only the order of the words decides the class.",
            )
        ]


def _mean(right: Sequence[bool]) -> float:
    return sum(right) / len(right)
