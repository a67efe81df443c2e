"""Show which words decide: texts with each word colored by its contribution to the prediction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Literal

from torch import nn

from dlpipe.errors import InputError
from dlpipe.evaluation import Answers, Examples, collect, write_csv
from dlpipe.fields import Positive
from dlpipe.figures import BLUE, VERMILION
from dlpipe.report_items import ReportItem
from dlpipe_text.labeled_text import LabeledText
from dlpipe_text.occlusion import contributions, logits_of, variants

#: Longer texts are shown without colors: each word takes a pass of the model.
MAX_UNITS = 400
HEAD = """<!doctype html>
<meta charset="utf-8">
<title>Contributions of words</title>
<style>body { font: 16px/1.7 sans-serif; max-width: 60em; margin: 2em auto; } small { color: #666; }</style>
<p>Blue words support the predicted class, red ones oppose it: the stronger the color, the more the log-odds of
the class change when the word is replaced by an unknown one.</p>
"""


@dataclass(frozen=True)
class Shown:
    """A text with its words and their contributions."""

    group: str
    row: int
    true: str
    predicted: str
    confidence: float
    words: Sequence[str]
    contributed: Sequence[float]


class WordContributions:
    """Color the words of some texts by occlusion: the most confident mistakes, the least and the most certain ones.

    ``write`` writes ``words.html`` and ``words.csv``.

    Args:
        labels: the name of each class.
        count: texts of each of the three groups.
    """

    primary = None
    goal: Literal["max"] = "max"

    def __init__(self, labels: Sequence[str], *, count: Positive = 10) -> None:
        self._labels, self._count = list(labels), count
        self._shown: list[Shown] = []

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Compute the contributions; there are no metrics."""
        data = examples.data
        if not isinstance(data, LabeledText):
            raise InputError(
                f"text.word_contributions got data of type {type(data).__name__}; expected texts with labels, such as "
                "text.reviews"
            )
        answers = collect(examples.predictions(model), len(self._labels), model)
        if answers.confidence is None:
            raise InputError("text.word_contributions needs a model that returns logits; choose another evaluator")
        texts = data.texts(examples.split)
        self._shown = []
        for group, place in self._chosen(answers):
            row, predicted = int(answers.rows[place]), int(answers.predicted[place])
            units = data.units(texts[row][0])
            found = [0.0] * len(units)
            if len(units) <= MAX_UNITS:
                logits = logits_of(model, data.columns(variants(units)), examples.compute)
                found = contributions(logits, predicted).tolist()
            true, label = self._labels[int(answers.targets[place])], self._labels[predicted]
            confidence = float(answers.confidence[place])
            self._shown.append(Shown(group, row, true, label, confidence, data.spaced(units), found))
        return {}

    def write(self, folder: Path) -> list[ReportItem]:
        """Write the texts of the last `evaluate`."""
        (folder / "words.html").write_text("".join(self._html()), encoding="utf-8")
        heading = ("group", "row", "true", "predicted", "confidence", "word", "contribution")
        rows = [
            (each.group, each.row, each.true, each.predicted, f"{each.confidence:.4f}", word.strip(" "), f"{share:.4f}")
            for each in self._shown
            for word, share in zip(each.words, each.contributed, strict=True)
        ]
        write_csv(folder / "words.csv", [heading, *rows])
        return [
            ReportItem(
                "words.html",
                "What each word contributes",
                "Blue words support the predicted class, red ones oppose it.",
            ),
            ReportItem("words.csv", "Contributions of words", "The numbers behind the colors, a row for each word."),
        ]

    def _chosen(self, answers: Answers) -> Iterator[tuple[str, int]]:
        """Yield a group and the index of an answer; none is in two groups."""
        assert answers.confidence is not None
        certain = answers.confidence.argsort(descending=True, stable=True).tolist()
        wrong = [place for place in certain if not answers.right[place]][: self._count]
        others = [place for place in certain if place not in set(wrong)]
        least = others[::-1][: self._count]
        most = [place for place in others if place not in set(least)][: self._count]
        for group, places in (("wrong, most confident first", wrong), ("least certain", least), ("most certain", most)):
            yield from ((group, place) for place in places)

    def _html(self) -> Iterator[str]:
        yield HEAD
        group = ""
        for each in self._shown:
            if each.group != group:
                group = each.group
                yield f"<h2>{escape(group)}</h2>\n"
            largest = max(map(abs, each.contributed), default=0.0) or 1.0
            words = "".join(
                _word(word, contributed / largest)
                for word, contributed in zip(each.words, each.contributed, strict=True)
            )
            verdict = f"{each.predicted} {each.confidence:.3f}, truly {each.true}, row {each.row}"
            yield f"<p>{words}<br><small>{escape(verdict)}</small></p>\n"


def _word(word: str, strength: float) -> str:
    """Return a word of a page, colored by a strength from -1 to 1."""
    color = BLUE if strength > 0 else VERMILION
    return f'<span style="background: {color}{round(160 * abs(strength)):02x}">{escape(word)}</span>'
