"""Judge word vectors by how similar people find two words (WordSim-353, SimLex-999, MEN).

Source: Finkelstein et al. 2002, "Placing Search in Context: The Concept Revisited",
https://doi.org/10.1145/503104.503110 Axes: N pairs of words, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from dlpipe.errors import DataError, InputError
from dlpipe.evaluation import Examples, write_csv
from dlpipe.report_items import ReportItem
from dlpipe_text.analogies import vectors_and_data
from dlpipe_text.corpus_files import lines_of
from dlpipe_text.iob import quoted

Array = NDArray[np.float64]
RESAMPLES = 1000
#: With fewer pairs a correlation says nothing.
MIN_PAIRS = 3


class WordSimilarity:
    """Spearman's rank correlation between the cosine of two words and the similarity that people see in them.

    ``low`` and ``high`` are the ends of a 95 % interval (percentile bootstrap over the pairs), ``coverage`` is the
    share of pairs whose words are both in the vocabulary; the others are left out. ``write`` writes ``pairs.csv``.

    Args:
        pairs: a file with two words and a number in each line, separated by tabs, commas or blanks; a first line
            without a number is a heading.
        encoding: of the file.
    """

    primary = "spearman"
    goal: Literal["max"] = "max"

    def __init__(self, *, pairs: Path | None = None, encoding: str = "utf-8") -> None:
        if pairs is None:
            raise DataError("pairs is not given; give a file of word pairs with their similarity")
        self._path, self._encoding = pairs, encoding
        self._rows: list[Sequence[object]] = []

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Return ``spearman``, ``low``, ``high`` and ``coverage``; the split has no influence."""
        vectors, data = vectors_and_data("text.word_similarity", model, examples)
        pairs = read_pairs(self._path, self._encoding)
        found = [(data.id_of(first), data.id_of(second)) for first, second, _ in pairs]
        known = [row for row, numbers in enumerate(found) if None not in numbers]
        if len(known) < MIN_PAIRS:
            raise InputError(
                f"{self._path}: {len(known)} of {len(pairs)} pairs, such as {pairs[0][0]} and {pairs[0][1]}, are in "
                f"the vocabulary; expected at least {MIN_PAIRS}. Check the language and the spelling of the words"
            )
        unit = F.normalize(vectors.vectors.detach(), dim=1)
        cosines = [float(unit[found[row][0]] @ unit[found[row][1]]) for row in known]
        self._rows = [(*pairs[row], f"{cosine:.4f}") for row, cosine in zip(known, cosines, strict=True)]
        people = np.array([pairs[row][2] for row in known])
        low, high = interval(people, np.array(cosines))
        return {
            "spearman": spearman(people, np.array(cosines)),
            "low": low,
            "high": high,
            "coverage": len(known) / len(pairs),
        }

    def write(self, folder: Path) -> list[ReportItem]:
        """Write the pairs of the last `evaluate` with both similarities."""
        write_csv(folder / "pairs.csv", [("first", "second", "people", "cosine"), *self._rows])
        return [
            ReportItem(
                "pairs.csv",
                "Similarity of pairs of words",
                "How similar people rate the words, and the cosine of their vectors.",
            )
        ]


def spearman(first: Array, second: Array) -> float:
    """Return the correlation of the ranks of two samples (N,); equal values have the mean of their ranks."""
    ranks = np.stack([_ranks(first), _ranks(second)])
    centered = ranks - ranks.mean(1, keepdims=True)
    sizes = np.sqrt((centered**2).sum(1))
    return float(centered[0] @ centered[1] / (sizes[0] * sizes[1])) if sizes.all() else 0.0


def interval(first: Array, second: Array, resamples: int = RESAMPLES) -> tuple[float, float]:
    """Return the ends of a 95 % interval of the correlation: pairs are drawn with replacement, R times."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(first), (resamples, len(first)))
    low, high = np.percentile([spearman(first[rows], second[rows]) for rows in drawn], [2.5, 97.5])
    return float(low), float(high)


def read_pairs(path: Path, encoding: str) -> list[tuple[str, str, float]]:
    """Read word pairs with their similarity.

    Raises:
        DataError: the file cannot be read, or a line has other fields.
    """
    found = []
    for number, line in lines_of(path, encoding):
        if not line.strip() or line.startswith("#"):
            continue
        separator = "\t" if "\t" in line else "," if "," in line else None
        fields = [field.strip() for field in line.split(separator)]
        try:
            first, second, score = fields
            similarity = float(score)
        except ValueError:
            if number == 1 and len(fields) == 3:
                continue  # a heading
            similarity = math.nan
        if not math.isfinite(similarity):
            raise DataError(
                f"{path}:{number}: {quoted(line)}; expected two words and a number, separated by tabs. Correct the line"
            )
        found.append((first, second, similarity))
    if not found:
        raise DataError(f"{path}: no pairs; expected two words and a number in a line. Use another file")
    return found


def _ranks(values: Array) -> Array:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    ranks: Array = (last - (counts - 1) / 2)[places]
    return ranks
