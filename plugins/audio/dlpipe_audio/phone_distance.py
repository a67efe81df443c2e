"""The cosine of vectors against the edit distance of phones: whether words that sound alike lie close together.

Source: Chung et al. 2016, https://arxiv.org/abs/1603.00982, section 5.2.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Literal

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor, nn

from dlpipe.evaluation import Examples, write_csv
from dlpipe.figures import BLUE, drawing
from dlpipe.report_items import ReportItem
from dlpipe_audio.retrieval import cosines
from dlpipe_audio.word_vectors import known_phones, word_vectors

WHO = "audio.phone_distance"


class PhoneDistance:
    """Correlate the cosine of two words with the number of phones to insert, delete or replace.

    Each pair of words counts once, with the mean cosine over all recordings of two different speakers.
    ``evaluate`` returns ``spearman``, the rank correlation (-1 is best), and the mean cosine of pairs of the same word,
    ``cosine_at_0``, and of words that differ in one, two or three phones. ``write`` writes ``phone_distance.csv`` and
    ``phone_distance.png``.
    """

    primary = "spearman"
    goal: Literal["min"] = "min"

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Compare all pairs of words."""
        found = word_vectors(model, examples, WHO)
        phones = known_phones(found.segments, WHO)
        names = sorted(phones)
        edits = torch.zeros(len(names), len(names))
        for first, second in combinations(range(len(names)), 2):
            edits[first, second] = edits[second, first] = Levenshtein.distance(
                phones[names[first]], phones[names[second]]
            )
        means = _means_of_pairs(cosines(found.vectors), found.words, found.speakers, len(names))
        known = ~means.isnan()
        upper = torch.ones_like(known).triu()
        means, edits = means[known & upper], edits[known & upper]
        self._points = means, edits
        metrics = {"spearman": spearman(means, edits)}
        for distance in range(4):
            if (chosen := means[edits == distance]).numel():
                metrics[f"cosine_at_{distance}"] = float(chosen.mean())
        return metrics

    def write(self, folder: Path) -> list[ReportItem]:
        """Write the mean cosine at each distance, and draw it."""
        means, edits = self._points
        distances = edits.unique().tolist()
        chosen = [means[edits == distance] for distance in distances]
        rows = [
            (int(distance), len(each), round(float(each.mean()), 4), round(float(each.std(correction=0)), 4))
            for distance, each in zip(distances, chosen, strict=True)
        ]
        write_csv(folder / "phone_distance.csv", [("edit_distance", "pairs_of_words", "cosine", "deviation"), *rows])
        with drawing(folder / "phone_distance.png", 5, 3) as figure:
            axes = figure.subplots()
            axes.errorbar(
                distances, [row[2] for row in rows], [row[3] for row in rows], color=BLUE, marker="o", capsize=3
            )
            axes.set(
                xlabel="edit distance of the phones", ylabel="mean cosine and standard deviation", xticks=distances
            )
        return [
            ReportItem(
                "phone_distance.png",
                "Similarity by distance of the phones",
                "The cosine should fall as more phones differ. Bars are one standard deviation.",
            ),
            ReportItem("phone_distance.csv", "Mean cosine at each distance"),
        ]


def _means_of_pairs(scores: Tensor, words: Tensor, speakers: Tensor, count: int) -> Tensor:
    """Return the mean score (count, count) of each pair of words over recordings of different speakers, or NaN."""
    one_hot = torch.nn.functional.one_hot(words, count).to(scores.dtype)
    across = (speakers.unsqueeze(1) != speakers).to(scores.dtype)
    total: Tensor = one_hot.T @ (scores * across) @ one_hot
    return total.div(one_hot.T @ across @ one_hot)


def spearman(first: Tensor, second: Tensor) -> float:
    """Return the rank correlation of two lists (P,); equal values share their mean rank."""
    ranks = torch.stack([_ranks(first), _ranks(second)])
    return float(torch.corrcoef(ranks)[0, 1])


def _ranks(values: Tensor) -> Tensor:
    _, group, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    middle: Tensor = last - (counts.double() - 1) / 2
    return middle[group]
