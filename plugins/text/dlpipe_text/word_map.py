"""A map of word vectors: the plane of their largest variance.

Axes: N words of the map, E numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.errors import InputError
from dlpipe.evaluation import Examples, write_csv
from dlpipe.figures import BLUE, GREY, drawing
from dlpipe.report_items import ReportItem
from dlpipe_text.analogies import vectors_and_data
from dlpipe_text.word_data import WordData

DEFAULT_WORDS = 60
MAX_PAIRS = 30


class WordMap:
    """Draw words in the plane of largest variance of their vectors (``map.png``, ``map.csv``), pairs with a line.

    The vectors have length 1 before; the plane is that of the words on the map, not of all.

    Args:
        words: to show; each may be two with a blank between, which a line joins: "Italy Rome". If not given, the pairs
            of the first section of the questions of the data, or its most frequent words.
        section: of the questions of the data whose pairs are shown.
    """

    primary: None = None
    goal: Literal["max"] = "max"

    def __init__(self, *, words: Sequence[str] = (), section: str | None = None) -> None:
        if section is not None and words:
            raise InputError(f'section = "{section}" has no effect with words; remove one of the two')
        self._words, self._section = words, section
        self._groups: list[list[str]] = []
        self._places = torch.zeros(0, 2)

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Return nothing; the split has no influence."""
        vectors, data = vectors_and_data("text.word_map", model, examples)
        self._groups = self._shown(data)
        names = [word for group in self._groups for word in group]
        numbers = torch.tensor([data.number_of(word) for word in names])
        chosen = vectors.vectors.detach()[numbers.to(vectors.vectors.device)].cpu()
        self._places = plane(F.normalize(chosen, dim=1))
        return {}

    def write(self, folder: Path) -> list[ReportItem]:
        """Write the map of the last `evaluate`, and its coordinates."""
        names = [word for group in self._groups for word in group]
        places = self._places.tolist()
        rows = [
            (number, word, f"{x:.4f}", f"{y:.4f}")
            for number, (word, (x, y)) in enumerate(zip(names, places, strict=True))
        ]
        write_csv(folder / "map.csv", [("number", "word", "x", "y"), *rows])
        with drawing(folder / "map.png", 8, 6.5) as figure:
            axes = figure.subplots()
            start = 0
            for group in self._groups:
                x, y = zip(*places[start : start + len(group)], strict=True)
                if len(group) == 2:
                    axes.plot(x, y, color=GREY, linewidth=0.7, zorder=1)
                start += len(group)
            axes.scatter(self._places[:, 0], self._places[:, 1], s=9, color=BLUE, zorder=2)
            for word, place in zip(names, places, strict=True):
                axes.annotate(word, place, xytext=(3, 2), textcoords="offset points", fontsize=7)
            axes.set(xlabel="first principal component", ylabel="second principal component")
        return [
            ReportItem(
                "map.png", "Map of words", "Words with similar vectors are close; a line joins two words of a pair."
            ),
            ReportItem("map.csv", "Places on the map"),
        ]

    def _shown(self, data: WordData) -> list[list[str]]:
        """Return the words to show, alone or in pairs."""
        if self._words:
            groups = [each.split() for each in self._words]
            if wrong := next(
                (each for each, group in zip(self._words, groups, strict=True) if len(group) not in (1, 2)), None
            ):
                raise InputError(f'words: "{wrong}" has other than one or two words; expected "Italy" or "Italy Rome"')
            return groups
        sections = dict.fromkeys(name for name, _ in data.questions)
        if self._section is not None and self._section not in sections:
            raise InputError(f'section = "{self._section}": the sections are {", ".join(sections) or "none"}')
        wanted = self._section or next(iter(sections), None)
        pairs = dict.fromkeys(words[:2] for name, words in data.questions if name == wanted)
        known = [list(pair) for pair in pairs if None not in map(data.id_of, pair)]
        return known[:MAX_PAIRS] or [[word] for word in data.vocabulary.words[:DEFAULT_WORDS]]


def plane(rows: Tensor) -> Tensor:
    """Return the coordinates (N, 2) of rows (N, E) in the plane of their largest variance; the signs are fixed."""
    centered = rows.double() - rows.double().mean(0)
    _, _, directions = torch.linalg.svd(centered, full_matrices=False)
    axes = directions[:2]
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))  # an axis may point either way
    places = centered @ (axes * largest.sign()).T
    return F.pad(places, (0, 2 - places.size(1)))
