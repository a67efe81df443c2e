"""The rule of the conformance kit for rules of ``dlpipe coach``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from dlpipe.coach.asking import ask
from dlpipe.coach.case import Case
from dlpipe.coach.curves import PARTS, curves_of
from dlpipe.coach.examination import Examination
from dlpipe.coach.verdict import Scores
from dlpipe.config.pipeline import Stage
from dlpipe.errors import with_place
from dlpipe.registry.specs import RegisteredComponent, RuleSpec

#: What every metric of a training was, at its log points; `metrics.jsonl` has None for NaN.
METRICS: Mapping[str, Sequence[float | None]] = {
    "no metrics": [],
    "metrics that are NaN": [None] * PARTS,
    "metrics of one point": [0.5],
    "metrics that are 0": [0.0] * PARTS,
    "metrics that fall": [1.0 - number / PARTS for number in range(PARTS)],
    "metrics that rise": [float(number) for number in range(PARTS)],
}
#: Its scores on train and on dev, of which the model before training has 0.1; one for each verdict.
SCORES: Mapping[str, tuple[float | None, float] | None] = {
    "no scores": None,
    "a score on dev alone": (None, 0.1),
    "scores that are as before training": (0.1, 0.1),
    "scores that are poor": (0.5, 0.5),
    "a score that is good on train alone": (1.0, 0.5),
    "scores that are good": (1.0, 1.0),
}
#: What was seen of its model.
EXAMINATIONS: Mapping[str, Examination | None] = {
    "a model that was not examined": None,
    "a model without parameters": Examination([], [], [], [], None, 1),
}
#: Of a score that is a share, how many examples were judged.
JUDGED = 100


def copes_with_little_known(rule: RegisteredComponent[RuleSpec], stages: Iterable[Stage]) -> None:
    """Check that a rule can be asked about stages of which the pipeline is known, and hardly anything else."""
    for stage in stages:
        for known, case in _cases(stage):
            try:
                ask(rule, case)
            except Exception as error:
                raise AssertionError(f"{with_place(error)}; it was asked about a training with {known}") from error


def _cases(stage: Stage) -> Iterator[tuple[str, Case]]:
    """Yield trainings of a stage, and what is known of each in words."""
    for names in product(METRICS, SCORES, EXAMINATIONS):
        values, reached, seen = METRICS[names[0]], SCORES[names[1]], EXAMINATIONS[names[2]]
        records = [_Line(step, value) for step, value in enumerate(values, start=1)]
        scores = reached and Scores(
            "judge/score", "max", *reached, "dev", JUDGED, 0.1, train_count=JUDGED, at_end=reached[0]
        )
        curves = curves_of(records, "judge/score", "max")
        case = Case(stage, len(records), None, None, "", curves, scores, seen, seen, records=records)
        yield f"{names[0]}, {names[1]} and {names[2]}", case


class _Line(dict[str, Any]):
    """A line of ``metrics.jsonl`` in which every metric has one value, whatever it is called."""

    def __init__(self, step: int, value: float | None) -> None:
        super().__init__(step=step)
        self._value = value

    def get(self, name: str, default: Any = None) -> Any:
        return self[name]

    def __missing__(self, name: str) -> float | None:
        return self._value
