"""A map of words: the plane in which the mean vectors of the words of a split differ most.

Axes: N words of the vocabulary, V numbers of a vector.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import nn

from dlpipe.evaluation import Examples, write_csv
from dlpipe.fields import Positive
from dlpipe.figures import COLORS, drawing, shortened
from dlpipe.report_items import ReportItem
from dlpipe_audio.word_vectors import mean_vectors, principal_plane, word_vectors

WHO = "audio.word_map"


class WordMap:
    """Draw the mean vector of each word in two dimensions (principal components), colored by its first sound.

    ``write`` writes ``word_map.png``; the vectors themselves as ``vectors.tsv`` with ``words.tsv``, which the Embedding
    Projector of TensorBoard loads; and ``words.csv`` with the place of each word.

    Args:
        max_words: maximum number of words to draw, evenly spaced in alphabetical order.
    """

    primary = None
    goal: Literal["max"] = "max"

    def __init__(self, *, max_words: Positive = 80) -> None:
        self._max_words = max_words

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Average the vectors of each word; return nothing."""
        found = word_vectors(model, examples, WHO)
        self._vectors, self._labels = found.vectors, [(each.word, each.speaker, each.name) for each in found.segments]
        means = mean_vectors(found)
        places = torch.stack(list(means.values()))
        first = {segment.word: (segment.phones or segment.word)[0] for segment in found.segments}
        self._words = [(name, first[name]) for name in means]
        self._places = principal_plane(places - places.mean(0))
        return {}

    def write(self, folder: Path) -> list[ReportItem]:
        """Draw the map and write the vectors."""
        vectors = "\n".join("\t".join(f"{value:.6g}" for value in vector) for vector in self._vectors.tolist())
        (folder / "vectors.tsv").write_text(vectors + "\n", encoding="utf-8")
        lines = [
            "\t".join(" ".join(part.split()) for part in label)
            for label in [("word", "speaker", "name"), *self._labels]
        ]
        (folder / "words.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8", errors="backslashreplace")
        rows = [(word, sound, *place) for (word, sound), place in zip(self._words, self._places.tolist(), strict=True)]
        write_csv(folder / "words.csv", [("word", "first_sound", "x", "y"), *rows])
        sounds = sorted({sound for _, sound in self._words})
        chosen = rows[:: -(-len(rows) // self._max_words)]
        with drawing(folder / "word_map.png", 6, 5) as figure:
            axes = figure.subplots()
            for word, sound, x, y in chosen:
                color = COLORS[sounds.index(sound) % len(COLORS)]
                axes.plot(x, y, ".", color=color)
                axes.annotate(shortened(word), (x, y), color=color, fontsize=7)
            axes.set(xlabel="first principal component", ylabel="second principal component")
            axes.set_title("words, colored by their first sound")
        return [
            ReportItem(
                "word_map.png", "Map of words", "The mean vectors of words on their first two principal components."
            ),
            ReportItem("words.csv", "Places on the map"),
        ]
