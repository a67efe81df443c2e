"""The first questions of the recipe: whether a model is good on its training examples, and on others.

Source: Hung-yi Lee, "Deep Learning Tutorial" (lecture), part II, "Recipe of Deep Learning".
Departs from it: "good" is a number. How far a score is from a perfect one is measured in units of how far the untrained
model, or a predictor that looks at no input, is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from dlpipe.messages import shown_number

Verdict = Literal["not learned", "underfitting", "overfitting", "good", "unknown"]
#: The verdicts in words; why there is none, `Scores.why_unknown` says.
IN_WORDS: Mapping[Verdict, str] = {
    "not learned": "it has learned hardly anything: at least 90 % of the error without training is left",
    "underfitting": "underfitting: it is not good on its training examples, so more of them would not help",
    "overfitting": "overfitting: what it learns from its training examples does not hold for others",
    "good": "good on its training examples, and on others",
}

#: What is left of the error that a model without training has. Above the first, it has learned nothing; below the
#: second, what is left is no reason to change anything.
NOTHING_LEARNED, GOOD = 0.9, 0.05
#: A difference between two splits below this many standard errors is noise.
STANDARD_ERRORS = 2.0
#: Fewer examples say little about a share.
FEW = 10


@dataclass(frozen=True)
class Scores:
    """What a model reaches by one metric.

    Args:
        metric: such as "digits/accuracy".
        goal: whether it should grow or fall, "max" or "min".
        train: on training examples; None if they cannot be judged.
        other: on the other split; None if there is none.
        split: its name.
        count: of its examples that were judged; None if they have no number.
        train_count: of the training examples that were judged, as `count`.
        at_end: on training examples, with the last weights instead of the best ones; None as `train`.
        untrained: of the model with its first weights, on the same training examples, or else on the other split.
        trivial: of the predictor that looks at no input, and the score that it reaches, on the test split; None if
            there is none.
        target: a score that would be good; None for a perfect one.
    """

    metric: str
    goal: str
    train: float | None
    other: float | None
    split: str
    count: int | None
    untrained: float | None
    trivial: tuple[str, float] | None = None
    target: float | None = None
    train_count: int | None = None
    at_end: float | None = None

    def error(self, score: float) -> float:
        """Return how far a score is from what would be good, at least 0; NaN if it is not known what that is."""
        perfect = self._perfect() if self.target is None else self.target
        distance = perfect - score if self.goal == "max" else score - perfect
        return distance if math.isnan(distance) else max(0.0, distance)

    def _perfect(self) -> float:
        """Return the best score that there is: 1 for a share, or what is compared with one, and 0 for an error."""
        reached = [score for score in (self.train, self.other) if score is not None]
        known = [*reached, *([] if self.untrained is None else [self.untrained])]
        if self.goal == "min":
            return 0.0 if all(score >= 0 for score in known) else math.nan
        # A coefficient of determination is below 0 for what is worse than the mean, which has 0.
        is_share = all(score >= 0 for score in reached) or (self.trivial is not None and self.trivial[1] >= 0)
        return 1.0 if is_share and all(score <= 1 for score in known) else math.nan

    @property
    def start(self) -> float:
        """The error without training: that of the untrained model, or of the trivial predictor if it is smaller."""
        scores = [score for score in (self.untrained, self.trivial and self.trivial[1]) if score is not None]
        return min(map(self.error, scores), default=math.nan)

    @property
    def left(self) -> float:
        """The share of the error without training that is left on the training examples; NaN if not known."""
        return math.nan if self.train is None else self._share(self.error(self.train))

    @property
    def gap(self) -> float:
        """How much more of it is left on the other split; NaN if not known, 0 if the difference is noise."""
        if self.train is None or self.other is None:
            return math.nan
        difference = self.error(self.other) - self.error(self.train)
        noise = math.hypot(self.noise(self.train, self.train_count), self.noise(self.other, self.count))
        return 0.0 if difference <= STANDARD_ERRORS * noise else self._share(difference)

    def _share(self, error: float) -> float:
        """Return an error as a share of that without training."""
        if self.start == 0:  # the target is reached without training
            return 0.0 if error == 0 else math.nan
        return error / self.start

    def noise(self, score: float, count: int | None) -> float:
        """Return the standard error of a mean of right and wrong answers; 0 if the metric is none.

        Source: Agresti & Coull 1998, "Approximate is Better than 'Exact' for Interval Estimation of Binomial
        Proportions", https://doi.org/10.1080/00031305.1998.10480550: two right and two wrong answers are added.
        Departs from it: fewer than `FEW` answers do not say how many are right.
        """
        if self.goal != "max" or not count or not 0 <= score <= 1:
            return 0.0
        share, count = (0.5, count) if count < FEW else ((score * count + 2) / (count + 4), count + 4)
        return math.sqrt(share * (1 - share) / count)

    @property
    def verdict(self) -> Verdict:
        """The answer."""
        if math.isnan(self.left):
            return self._where_it_acts()
        if self.left >= NOTHING_LEARNED:
            return "not learned"
        gap = 0.0 if math.isnan(self.gap) else self.gap
        if max(self.left, gap) < GOOD:
            return "good"
        return "underfitting" if self.left >= gap else "overfitting"

    def _where_it_acts(self) -> Verdict:
        """Return the answer for an agent, whose training examples are what it does."""
        if self.train is not None or self.other is None:
            return "unknown"
        if self._share(self.error(self.other)) < GOOD:
            return "good"
        if self.untrained is None:
            return "unknown"
        worse = self.other <= self.untrained if self.goal == "max" else self.other >= self.untrained
        return "not learned" if worse else "unknown"

    def why_unknown(self) -> str:
        """Say why there is no verdict."""
        reached = self.other if self.train is None else self.train
        if reached is None:
            return "there is no score"
        if math.isnan(self.error(reached)):
            return "it is not known what a perfect score would be (--target says it)"
        if math.isnan(self.start):
            return "it is not known what the score is without training"
        if self.train is None:
            return "there are no training examples to judge; it is better than before training, and not good"
        return "the target is reached without training"

    def reached(self) -> dict[str, float]:
        """Return the scores that are known, by where or by what they are reached."""
        found = {"on train": self.train, f"on {self.split}": self.other, "before training": self.untrained}
        found |= {f"by {name}": score for name, score in [self.trivial or ("", None)]}
        return {where: score for where, score in found.items() if score is not None}

    def words(self) -> str:
        """Return the scores in words."""
        return ", ".join(f"{shown_number(score)} {where}" for where, score in self.reached().items())
