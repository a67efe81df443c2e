"""What a change of one phone does to the vector of a word: whether the same change always moves it the same way.

Source: Chung et al. 2016, https://arxiv.org/abs/1603.00982, section 5.3 and figures 3 and 4.
Axes: P pairs of words, V numbers of a vector.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe.evaluation import Examples, write_csv
from dlpipe.fields import Positive
from dlpipe.figures import COLORS, drawing, shortened
from dlpipe.report_items import ReportItem
from dlpipe_audio.retrieval import cosines
from dlpipe_audio.word_data import WordData
from dlpipe_audio.word_vectors import known_phones, mean_vectors, principal_plane, word_vectors

WHO = "audio.vector_differences"
COLUMNS = 3
Change = tuple[str, str]


@dataclass(frozen=True)
class MinimalPair:
    """Two words that differ in one phone.

    Args:
        words: the first has the first phone of the change.
        change: the two phones in alphabetical order.
        place: how many phones stand before them.
    """

    words: tuple[str, str]
    change: Change
    place: int


class VectorDifferences:
    """Compare the differences between the vectors of words that differ in one phone: fear − near with fame − name.

    The vector of a word is the mean over all its recordings. ``evaluate`` returns ``cosine``, the mean cosine of two
    differences with the same change at the same place of the word, and ``other_cosine``, that of differences whose
    changes have no phone in common, which is about 0. Pairs that share a word are not compared. ``write`` draws the
    differences as arrows in the plane of their first two principal components, at most eight in one panel for each
    change and place, with the mean cosine (``vector_differences.png``), and writes the cosine of each
    (``vector_differences.csv``).

    Args:
        max_changes: maximum number of changes to draw, those with the most pairs.
    """

    primary = "cosine"
    goal: Literal["max"] = "max"

    def __init__(self, *, max_changes: Positive = 6) -> None:
        self._max_changes = max_changes

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Compare the differences of all minimal pairs."""
        found = word_vectors(model, examples, WHO)
        pairs = minimal_pairs(known_phones(cast(WordData, examples.data).segments(examples.split), WHO))
        if not _compared(pairs)[0].any():
            raise InputError(
                f"{WHO} compares pairs of words that differ in the same phones, such as fear and near with fame and "
                f"name; the {examples.split} split has no two such pairs. Use more words, or leave the split out with "
                "splits = [...]"
            )
        means = mean_vectors(found)  # of fewer words, if only a part of the split is used
        self._pairs = [pair for pair in pairs if set(pair.words) <= set(means)]
        self._differences = torch.stack(
            [means[pair.words[1]] - means[pair.words[0]] for pair in self._pairs] or [torch.zeros(1)]
        )
        same, other = _compared(self._pairs)
        self._cosines = cosines(self._differences)
        return {"cosine": _mean(self._cosines, same), "other_cosine": _mean(self._cosines, other)}

    def write(self, folder: Path) -> list[ReportItem]:
        """Draw the differences, and write the cosine of each change."""
        groups: dict[tuple[Change, int], list[int]] = defaultdict(list)
        for row, pair in enumerate(self._pairs):
            groups[pair.change, pair.place].append(row)
        same = _compared(self._pairs)[0]
        rows: list[tuple[object, ...]] = [("first_phone", "second_phone", "place", "pairs", "cosine", "words")]
        drawn = []
        for (change, place), members in sorted(groups.items(), key=lambda group: -len(group[1])):
            words = " ".join("-".join(self._pairs[row].words) for row in members)
            mean = _mean(self._cosines[members][:, members], same[members][:, members])
            rows.append((*change, place + 1, len(members), "" if math.isnan(mean) else round(mean, 4), words))
            if not math.isnan(mean):
                title = f"{' → '.join(map(shortened, change))}, phone {place + 1} ({mean:.2f})"
                drawn.append((title, members[: len(COLORS)]))
        write_csv(folder / "vector_differences.csv", rows)
        if drawn:
            self._draw(folder / "vector_differences.png", drawn[: self._max_changes])
        items = [ReportItem("vector_differences.csv", "Differences of vectors", "A row for each change of a phone.")]
        if drawn:
            caption = (
                "Each arrow is the difference between the vectors of two words that differ in one phone. Arrows of one "
                "panel point the same way if the vectors have learned the change; in brackets, their mean cosine."
            )
            items.insert(0, ReportItem("vector_differences.png", "Changes of one phone", caption))
        return items

    def _draw(self, path: Path, changes: list[tuple[str, list[int]]]) -> None:
        """Draw one panel for each title and rows of differences."""
        places = principal_plane(self._differences[[row for _, members in changes for row in members]])
        ends = iter((places / places.abs().max().clamp_min(1e-9)).tolist())
        columns = min(COLUMNS, len(changes))
        lines = -(-len(changes) // columns)
        with drawing(path, 2.6 * columns + 0.2, 2.4 * lines + 0.2) as figure:
            panels = figure.subplots(lines, columns, squeeze=False).flatten()
            for panel in panels[len(changes) :]:
                panel.set_axis_off()
            for panel, (title, members) in zip(panels, changes, strict=False):
                panel.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), xticks=[], yticks=[], title=title)
                for number, (row, color) in enumerate(zip(members, COLORS, strict=False)):
                    label = shortened("→".join(self._pairs[row].words))
                    panel.annotate("", next(ends), (0, 0), arrowprops={"arrowstyle": "->", "color": color})
                    panel.text(-1.05, 1 - 0.14 * number, label, color=color, fontsize=7)
            figure.supxlabel("first principal component of the differences", fontsize=8)
            figure.supylabel("second principal component", fontsize=8)


def minimal_pairs(phones: Mapping[str, tuple[str, ...]]) -> list[MinimalPair]:
    """Return the pairs of words of equally many phones that differ in exactly one."""
    found = []
    for first, second in combinations(sorted(phones), 2):
        if len(phones[first]) != len(phones[second]):
            continue
        places = [place for place, (a, b) in enumerate(zip(phones[first], phones[second], strict=True)) if a != b]
        if len(places) == 1:
            (sound, word), (other, another) = sorted((phones[each][places[0]], each) for each in (first, second))
            found.append(MinimalPair((word, another), (sound, other), places[0]))
    return found


def _compared(pairs: list[MinimalPair]) -> tuple[Tensor, Tensor]:
    """Return which pairs (P, P) of pairs have the same change at the same place, and which have no phone in common."""
    same, other = torch.zeros(2, len(pairs), len(pairs), dtype=torch.bool)
    for (row, first), (column, second) in combinations(enumerate(pairs), 2):
        if not set(first.words) & set(second.words):
            same[row, column] = (first.change, first.place) == (second.change, second.place)
            other[row, column] = not set(first.change) & set(second.change)
    return same, other


def _mean(scores: Tensor, chosen: Tensor) -> float:
    """Return the mean of the chosen scores, NaN if there are none."""
    return float(scores[chosen].mean()) if chosen.any() else math.nan
