"""What an evaluator found for each example, and the file that keeps it for `dlpipe compare`.

The primary metric is the weighted mean of the scores of the examples, so whoever has the file can compute it again for
any choice of examples, without the evaluator: a mean has equal weights, and F1 is the mean of the F1 of each
sentence, weighted with the number of its true and predicted chunks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlpipe.config.pipeline import table_name
from dlpipe.errors import with_place
from dlpipe.messages import relative
from dlpipe.protocols import Data, Evaluator, SupportsExampleScores, SupportsNames
from dlpipe.runs.files import write_text

#: No evaluator gets more lines than this, and the file of a stage is about this large at most.
MAX_EXAMPLES, MAX_BYTES = 100_000, 50_000_000
#: Texts of a line that are left out where the file would be too large otherwise.
_DETAILS = ("name", "true", "predicted")


@dataclass(frozen=True)
class ExampleScores:
    """What an evaluator found for each of N examples.

    Args:
        rows: (N,) the number of each example in its split, or of whatever the evaluator judges (a recording, an
            episode); each once.
        scores: (N,) the primary metric of each example by itself, such as 1.0 or 0.0 for a right or wrong class. A
            score that is not defined is NaN; its weight is 0.
        weights: (N,) of each score in the primary metric, which is ``sum(weights * scores) / sum(weights)``; None for
            equal weights.
        names: (N,) what a person calls each example; None for the names that the data gives to the rows.
        true: (N,) what would have been right, plain values; None if there is no such thing.
        predicted: (N,) what the model said, plain values.

    Raises:
        ValueError: these are not all of one length, or a row occurs twice.
    """

    rows: Sequence[int]
    scores: Sequence[float]
    weights: Sequence[float] | None = None
    names: Sequence[str] | None = None
    true: Sequence[Any] | None = None
    predicted: Sequence[Any] | None = None

    def __post_init__(self) -> None:
        for name, column in vars(self).items():
            if column is not None and len(column) != len(self.rows):
                raise ValueError(f"ExampleScores: {name} has {len(column)} entries for {len(self.rows)} rows")
        if len(set(self.rows)) < len(self.rows):
            raise ValueError("ExampleScores: a row occurs twice; expected each example once")

    def metric(self) -> float:
        """Return the primary metric of these examples; NaN if no example counts."""
        weights = self.weights or [1.0] * len(self.rows)
        total = math.fsum(weights)
        return math.fsum(w * s for w, s in zip(weights, self.scores, strict=True) if w) / total if total else math.nan


def disagreement(evaluator: Evaluator, value: float) -> str:
    """Return how the scores of the examples contradict the primary metric, `value`; an empty string if they do not."""
    found = evaluator.example_scores() if isinstance(evaluator, SupportsExampleScores) and evaluator.primary else None
    if found is None or not math.isfinite(value) or math.isclose(found.metric(), value, rel_tol=1e-4, abs_tol=1e-4):
        return ""
    return f"their weighted mean is {found.metric():.6g}, but evaluate() gives {evaluator.primary} = {value:.6g}"


def write_predictions(
    path: Path,
    evaluators: Mapping[str, Evaluator],
    data: Data,
    split: str,
    *,
    stage: str,
    notice: Callable[[str], None],
    warn: Callable[[str], None],
) -> None:
    """Write what the evaluators found for each example in their last `evaluate`, a line for each; atomically.

    Whatever fails is a warning: a file that is missing takes nothing from the metrics.

    Args:
        split: that they judged.
        stage: the name of their stage, for messages.
        notice: called with a sentence on what was left out for its size.
        warn: called with the warning.
    """
    lines: list[dict[str, Any]] = []
    for name, evaluator in evaluators.items():
        try:
            found = (
                evaluator.example_scores()
                if isinstance(evaluator, SupportsExampleScores) and evaluator.primary
                else None
            )
            if found is None:
                continue
            names = data.names(split) if found.names is None and isinstance(data, SupportsNames) else None
            lines += _lines(f"{name}/{evaluator.primary}", found, names)
        except Exception as error:
            table = table_name(stage, "evaluators", name)
            warn(f"{table} {with_place(error)}. Its examples are missing in {relative(path)}; metrics are not affected")
            continue
        if len(found.rows) > MAX_EXAMPLES:
            notice(f"{relative(path)}: {name} keeps {MAX_EXAMPLES:,} of {len(found.rows):,} examples, evenly spaced")
    if not lines:
        path.unlink(missing_ok=True)  # of an earlier evaluation of this stage
        return
    text = _text(lines)
    if len(text.encode()) > MAX_BYTES:
        notice(f"{relative(path)}: names and answers are left out, as it would have more than {MAX_BYTES:,} bytes")
        text = _text([{key: value for key, value in line.items() if key not in _DETAILS} for line in lines])
    write_text(path, text)


def _lines(metric: str, found: ExampleScores, names: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    """Yield the lines of an evaluator, in the order of the rows; evenly spaced ones if there are too many."""
    order = sorted(range(len(found.rows)), key=found.rows.__getitem__)
    if len(order) > MAX_EXAMPLES:
        order = [order[number * len(order) // MAX_EXAMPLES] for number in range(MAX_EXAMPLES)]
    for place in order:
        row = int(found.rows[place])
        name = found.names[place] if found.names is not None else names[row] if names is not None else None
        score = float(found.scores[place])
        yield {
            "metric": metric,
            "row": row,
            **({} if name is None else {"name": str(name)}),
            **({} if found.true is None else {"true": found.true[place]}),
            **({} if found.predicted is None else {"predicted": found.predicted[place]}),
            "score": score if math.isfinite(score) else None,
            **({} if found.weights is None else {"weight": float(found.weights[place])}),
        }


def _text(lines: Sequence[Mapping[str, Any]]) -> str:
    # A file name need not be UTF-8: ASCII keeps halves of characters as escapes.
    return "".join(json.dumps(line) + "\n" for line in lines)
