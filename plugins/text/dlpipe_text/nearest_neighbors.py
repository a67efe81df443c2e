"""Which words have the nearest vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from dlpipe.evaluation import Examples, write_csv
from dlpipe.fields import Positive
from dlpipe.report_items import ReportItem
from dlpipe_text.analogies import vectors_and_data
from dlpipe_text.word_vectors import nearest_words

DEFAULT_WORDS = 50


class NearestNeighbors:
    """List the nearest words of some words, by the cosine (``neighbors.csv``).

    Args:
        of: the words; the 50 most frequent ones if not given.
        count: neighbors of each.
    """

    primary: None = None
    goal: Literal["max"] = "max"

    def __init__(self, *, of: Sequence[str] = (), count: Positive = 10) -> None:
        self._of, self._count = of, count
        self._rows: list[Sequence[object]] = []

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Return nothing; the split has no influence."""
        vectors, data = vectors_and_data("text.nearest_neighbors", model, examples)
        chosen = self._of or data.vocabulary.words[:DEFAULT_WORDS]
        numbers = torch.tensor([data.number_of(word) for word in chosen])
        queries = vectors.vectors.detach()[numbers.to(vectors.vectors.device)]
        cosines, found = nearest_words(vectors, queries, numbers.unsqueeze(1), self._count)
        self._rows = [
            (word, rank, data.vocabulary.words[number], f"{cosine:.4f}")
            for word, row, values in zip(chosen, found.tolist(), cosines.tolist(), strict=True)
            for rank, (number, cosine) in enumerate(zip(row, values, strict=True), start=1)
        ]
        return {}

    def write(self, folder: Path) -> list[ReportItem]:
        """Write the neighbors of the last `evaluate`."""
        write_csv(folder / "neighbors.csv", [("word", "rank", "neighbor", "cosine"), *self._rows])
        return [ReportItem("neighbors.csv", "Nearest neighbors", "Of each word, those with the highest cosine.")]
