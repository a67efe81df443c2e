"""Query by example: given a spoken word, find others who say the same; compared with simple methods in one table.

Axes: N words of a split, T frames, F numbers per frame.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, Strict
from torch import Tensor, nn

from dlpipe.evaluation import Examples, write_csv
from dlpipe.fields import NonNegative, OnlyWith, Positive
from dlpipe.report_items import ReportItem
from dlpipe_audio.baselines import down_sampled, segment_means, untrained
from dlpipe_audio.dtw import dtw_distances
from dlpipe_audio.retrieval import average_precision, cosines, mean_average_precision, precision_at
from dlpipe_audio.smoothing import embedded, smoothed
from dlpipe_audio.word_vectors import WordVectors, require_two_speakers, word_vectors

WHO = "audio.query_by_example"
#: Distractors whose durations differ from that of the query by at most this share are matched.
MATCHED = 0.1
TOP = 10
HEAD = ("method", "map", "p_at_10", "matched_map", "same_different_ap", "ms_per_comparison", "times_faster_than_dtw")


@dataclass(frozen=True)
class Task:
    """What is asked of a split.

    Args:
        relevant: (N, N) bool, the same word.
        candidates: (N, N) bool, said by somebody else.
        matched: (N, N) bool, candidates without the distractors of another duration than the query's.
    """

    relevant: Tensor
    candidates: Tensor
    matched: Tensor

    @classmethod
    def of(cls, words: WordVectors) -> Task:
        """Return the task of some words."""
        relevant = words.words.unsqueeze(1) == words.words
        candidates = words.speakers.unsqueeze(1) != words.speakers
        lengths = torch.tensor([float(len(word)) for word in words.frames])
        near = (lengths.unsqueeze(1) - lengths).abs() <= MATCHED * lengths.unsqueeze(1)
        return cls(relevant, candidates, candidates & (relevant | near))

    def metrics(self, scores: Tensor) -> dict[str, float]:
        """Return how well scores (N, N), the higher the nearer, rank the candidates of each word."""
        asked = (scores, self.relevant, self.candidates)
        first, second = torch.triu_indices(len(scores), len(scores), offset=1)
        return {
            "map": float(mean_average_precision(*asked)),
            "p_at_10": float(precision_at(TOP, *asked)),
            "matched_map": float(mean_average_precision(scores, self.relevant, self.matched)),
            "same_different_ap": average_precision(scores[first, second], self.relevant[first, second]),
        }


class QueryByExample:
    """Rank all words that others say by the cosine of their vectors, for each word of the split.

    ``evaluate`` returns ``map``, the mean average precision, and ``p_at_10``, the right answers among the first ten
    as a share of ten, or of all right ones where there are fewer; ``matched_map``, with only those wrong answers
    that are about as long as the query (10 %), so that duration alone says nothing; ``same_different_ap``, the
    average precision of all pairs together; and with `baselines` ``dtw_map``, ``segment_map``, ``downsample_map``
    and ``untrained_map``; with `neighbors` ``smoothed_map`` and ``anonymous_map``, the same where nobody knows who
    speaks, and with both ``dtw_smoothed_map`` and ``segment_smoothed_map``.
    All are NaN for a part of a split in which no word has two speakers.
    ``write`` writes ``comparison.csv``: all methods with milliseconds per comparison.

    Args:
        baselines: compare with chance, duration, the untrained model, segment means, down-sampling and dynamic time
            warping, once per split.
        num_parts: parts of a word for segment means and down-sampling.
        max_words: maximum number of words of the split to compare, evenly spaced; the warping of `baselines` compares
            all pairs, 100,000 of half a second in about six seconds. None uses all.
        neighbors: also search with smoothed vectors: each is averaged with this many nearest recordings of its speaker,
            then of all, without knowing the words; with 0, the vectors of each speaker are centered, and no more. That
            needs all recordings of the split at once.
    """

    primary = "map"
    goal: Literal["max"] = "max"

    def __init__(
        self,
        *,
        baselines: bool = False,
        num_parts: Annotated[Positive, OnlyWith("baselines")] = 10,
        max_words: Annotated[int, Strict(), Field(gt=1)] | None = None,
        neighbors: NonNegative | None = None,
    ) -> None:
        self._baselines, self._num_parts, self._max_words = baselines, num_parts, max_words
        self._neighbors = neighbors
        self._known: dict[str, dict[str, tuple[dict[str, float], float]]] = {}
        self._rows: dict[str, tuple[dict[str, float], float]] = {}

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Search for every word of the split."""
        words = self._chosen(word_vectors(model, examples, WHO))
        require_two_speakers(examples, WHO)
        task = Task.of(words)
        self._rows = {"this model": _timed(task, lambda: cosines(words.vectors))}
        found = dict(self._rows["this model"][0])
        if self._neighbors is not None:
            nobody = torch.zeros_like(words.speakers)
            for name, speakers in (("smoothed_map", words.speakers), ("anonymous_map", nobody)):
                self._rows[SMOOTHED[name]] = self._timed_smoothed(task, words.vectors, speakers)
                found[name] = self._rows[SMOOTHED[name]][0]["map"]
        if self._baselines:
            if examples.split not in self._known:
                before = self._chosen(untrained(model, examples, WHO))
                self._known[examples.split] = self._compared(task, words, before)
            self._rows = self._known[examples.split] | self._rows
            for name, method in (METHODS | SMOOTHED).items():
                if method in self._rows:
                    found[name] = self._rows[method][0]["map"]
        return found

    def write(self, folder: Path) -> list[ReportItem]:
        """Write the table of all methods."""
        dtw = self._rows.get(METHODS["dtw_map"])
        rows: list[tuple[object, ...]] = [HEAD]
        for method, (metrics, ms) in self._rows.items():
            faster = round(dtw[1] / ms) if dtw and ms else None
            rows.append((method, *(round(value, 4) for value in metrics.values()), f"{ms:.2g}", faster))
        write_csv(folder / "comparison.csv", rows)
        return [
            ReportItem(
                "comparison.csv",
                "Search by example",
                "Mean average precision (map) and other scores of each method, and the time of a comparison.",
            )
        ]

    def _chosen(self, words: WordVectors) -> WordVectors:
        count = len(words.segments)
        if self._max_words is None or count <= self._max_words:
            return words
        rows = torch.linspace(0, count - 1, self._max_words).long().tolist()
        return WordVectors(
            [words.segments[row] for row in rows], words.vectors[rows], [words.frames[row] for row in rows]
        )

    def _compared(
        self, task: Task, words: WordVectors, before: WordVectors
    ) -> dict[str, tuple[dict[str, float], float]]:
        """Return metrics and milliseconds per comparison of the methods that do not learn."""
        count = len(words.frames)
        lengths = torch.tensor([float(len(word)) for word in words.frames])
        random = torch.rand(count, count, generator=torch.Generator().manual_seed(0))
        means, sampled = (make(words.frames, self._num_parts) for make in (segment_means, down_sampled))
        distances = cache(lambda: dtw_distances(words.frames))
        compared = {
            "chance": (task.metrics(random), 0.0),
            "duration alone": _timed(task, lambda: -(lengths.unsqueeze(1) - lengths).abs()),
            METHODS["untrained_map"]: _timed(task, lambda: cosines(before.vectors)),
            METHODS["downsample_map"]: _timed(task, lambda: cosines(sampled)),
            METHODS["segment_map"]: _timed(task, lambda: cosines(means)),
            METHODS["dtw_map"]: _timed(task, lambda: -distances(), symmetric=True),
        }
        if self._neighbors is not None:
            warped = self._timed_smoothed(task, embedded(distances()), words.speakers)
            compared[SMOOTHED["segment_smoothed_map"]] = self._timed_smoothed(task, means, words.speakers)
            compared[SMOOTHED["dtw_smoothed_map"]] = warped[0], warped[1] + compared[METHODS["dtw_map"]][1]
        return compared

    def _timed_smoothed(self, task: Task, vectors: Tensor, speakers: Tensor) -> tuple[dict[str, float], float]:
        neighbors = self._neighbors or 0
        return _timed(task, lambda: cosines(smoothed(vectors, speakers, neighbors)))


#: Metrics of the baselines, and their names in the table.
METHODS = {
    "dtw_map": "dynamic time warping",
    "segment_map": "segment means",
    "downsample_map": "down-sampling",
    "untrained_map": "this model, untrained",
}
SMOOTHED = {
    "smoothed_map": "this model, smoothed",
    "anonymous_map": "this model, smoothed, speakers unknown",
    "segment_smoothed_map": "segment means, smoothed",
    "dtw_smoothed_map": "dynamic time warping, smoothed",
}


def _timed(task: Task, scores: Callable[[], Tensor], *, symmetric: bool = False) -> tuple[dict[str, float], float]:
    """Return the metrics of scores (N, N) and the milliseconds that one of them takes.

    Args:
        symmetric: only half of them are computed.
    """
    start = time.perf_counter()
    found = scores()
    seconds = time.perf_counter() - start
    return task.metrics(found), 1000 * seconds / found.numel() * (1 + symmetric)
