"""What a run keeps of each test example (``predictions.jsonl``)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dlpipe.errors import RunFolderError
from dlpipe.messages import relative
from dlpipe.runs.files import read_json_lines
from dlpipe.runs.folder import METRICS, PREDICTIONS
from dlpipe.scores.statistics import Array, Scores, score_with_interval

#: How far the metric of the kept scores may be from the recorded one, which may be computed in float32.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class JudgedExamples:
    """What an evaluator found for N examples.

    Args:
        lines: of ``predictions.jsonl``, in the order of their rows.
    """

    lines: list[dict[str, Any]]

    @cached_property
    def rows(self) -> list[int]:
        """The numbers of the examples."""
        return [line["row"] for line in self.lines]

    @cached_property
    def scores(self) -> Array:
        """(N,), 0 where a score is not defined."""
        return np.array([line["score"] or 0.0 for line in self.lines])

    @cached_property
    def weights(self) -> Array:
        """(N,)."""
        return np.array([line.get("weight", 1.0) for line in self.lines])

    @property
    def unknown(self) -> int:
        """How many examples count and have no score, such as an infinite loss."""
        return sum(line["score"] is None and line.get("weight", 1.0) > 0 for line in self.lines)

    @property
    def are_all(self) -> bool:
        """Whether no example was left out of the file for its size, as far as the numbers of the rows say."""
        return len(self.rows) == self.rows[-1] + 1

    def metric(self) -> float:
        """Return the metric: the weighted mean of the scores."""
        total = self.weights.sum()
        return float((self.scores * self.weights).sum() / total) if total else math.nan


def read_examples(stage_folder: Path, metric: str, recorded: float | None = None) -> JudgedExamples | None:
    """Return what was found for each test example, or None if that was not kept.

    Args:
        metric: such as "digits/accuracy".
        recorded: its value on test, which the scores must give; None if it is not known.

    Raises:
        RunFolderError: the file is damaged: it cannot be read, or does not give that value.
    """
    path = stage_folder / PREDICTIONS
    lines = [line for line in read_json_lines(path) if line["metric"] == metric] if path.is_file() else []
    if not lines:
        return None
    found = JudgedExamples(lines)
    if any(later <= earlier for earlier, later in zip(found.rows, found.rows[1:], strict=False)):
        raise RunFolderError(f"{relative(path)}: the rows of {metric} are not in ascending order. {_RESTORE}")
    computed = found.metric()
    if recorded is None or found.unknown or not found.are_all or math.isnan(computed):
        return found
    if not math.isclose(computed, recorded, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
        raise RunFolderError(
            f"{relative(path)} gives {metric} = {computed:.6f}, but {METRICS} has {recorded:.6f}. {_RESTORE}"
        )
    return found


_RESTORE = "Lines are missing or were edited; restore the file, or remove it to compare without a test over examples"


def score_interval(stage_folder: Path, metric: str) -> tuple[float, float, float] | None:
    """Return the score of a stage, and the ends of its 90 % bootstrap interval over test examples.

    Args:
        stage_folder: that of the run, where it has no ``[stages]``.
        metric: without the split, such as "digits/accuracy".

    Returns:
        value, lower end, upper end; None if there are no scores of that metric, or if one is not finite.

    Raises:
        RunFolderError: ``predictions.jsonl`` is damaged.
    """
    found = read_examples(stage_folder, metric)
    if found is None or len(found.lines) < 2 or found.unknown or not found.weights.any():
        return None
    estimate = score_with_interval(Scores(found.scores[None], found.weights[None]))
    return estimate.value, estimate.low, estimate.high
