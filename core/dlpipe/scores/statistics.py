"""Whether two scores differ by more than noise: over test examples, over seeds, and over both.

Sources: Efron & Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13 (percentile interval); Hesterberg 2015,
"What Teachers Should Know About the Bootstrap", https://arxiv.org/abs/1411.5279 (expanded percentiles, for few
examples); Welch 1947, "The Generalization of 'Student's' Problem", https://doi.org/10.1093/biomet/34.1-2.28;
Cornfield & Tukey 1956, "Average Values of Mean Squares in Factorials", https://doi.org/10.1214/aoms/1177728067 (two
random factors).
Axes: S seeds, N examples, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dlpipe.json_text import finite

Array = NDArray[np.float64]

#: The level of all intervals. A difference is called one if the interval excludes zero, so of 100 comparisons of what
#: does not differ, 90 are called "no difference", and of 100 differences of two standard errors, 64 are found. At a
#: level of 95 %, these are 95 and 52: too many real improvements would be missed.
CONFIDENCE = 0.90
RESAMPLES = 4000
#: Resamples that are computed together.
_CHUNK_NUMBERS = 4_000_000


class Scores(NamedTuple):
    """Scores and their weights (S, N) of the same N examples by S trained models of one pipeline."""

    scores: Array
    weights: Array

    def metrics(self) -> Array:
        """Return the metric (S,) of each model: the weighted mean of its scores."""
        return np.asarray((self.scores * self.weights).sum(1) / self.weights.sum(1))


@dataclass(frozen=True)
class Estimate:
    """A difference (the second minus the first), or a score, with its interval.

    Args:
        low, high: infinite if there is no noise that the difference could be compared with.
        p: probability of at least such a difference if there is none; None for a score.
        method: how it was found, in words.
    """

    value: float
    low: float
    high: float
    p: float | None
    method: str

    @property
    def differs(self) -> bool:
        """Whether zero is outside of the interval."""
        return self.low > 0 or self.high < 0

    def plain(self) -> dict[str, Any]:
        """Return it JSON-serializable; what is infinite is None."""
        return dict(finite({**vars(self), "differs": self.differs}))


def over_examples(one: Scores, other: Scores) -> Estimate:
    """Return the difference of two pipelines on other test examples, by a paired bootstrap.

    Each resample takes N of the examples with replacement, the same ones for all models.
    """
    value = float(other.metrics().mean() - one.metrics().mean())
    draws = resampled(other, one)
    count = one.scores.shape[1]
    low, high = _percentiles(draws, count)
    text = f"paired bootstrap over {count:,} test examples"
    return Estimate(value, low, high, _share_beyond(draws, count), text)


def over_seeds(one: Array, other: Array, *, paired: bool) -> Estimate:
    """Return the difference of two pipelines trained with other seeds, on the same test examples.

    Args:
        one, other: the metric of each model, (S,) and (S',), at least two of each.
        paired: whether the entries belong to the same seeds.
    """
    variance, freedom, method = _seed_variance(one, other, paired=paired)
    return _interval(float(other.mean() - one.mean()), variance, freedom, method)


def over_both(one: Scores, other: Scores, *, paired: bool) -> Estimate:
    """Return the difference of two pipelines trained with other seeds, on other test examples.

    Seeds and examples are two random factors. Both variances contain the one that is due to neither alone (which
    examples a seed happens to get right), so it is subtracted once. For paired seeds, it is that of the differences:
    what a seed does to both models alike cancels out.
    """
    count = one.scores.shape[1]
    first, second = one.metrics(), other.metrics()
    of_seeds, freedom, method = _seed_variance(first, second, paired=paired)
    of_examples = float(resampled(other, one).var()) * count / (count - 1)
    influences = [_influence(one), _influence(other)]
    interaction = sum(map(_interaction, [influences[1] - influences[0]] if paired else influences))
    variance = max(of_seeds + of_examples - interaction, of_seeds, of_examples)
    both = of_seeds**2 / freedom + of_examples**2 / (count - 1)
    freedom = variance**2 / both if both else math.inf
    text = f"{method}, and a bootstrap over {count:,} test examples"
    return _interval(float(second.mean() - first.mean()), variance, freedom, text)


def score_with_interval(scores: Scores) -> Estimate:
    """Return the mean metric of a pipeline on other test examples."""
    count = scores.scores.shape[1]
    low, high = _percentiles(resampled(scores), count)
    return Estimate(float(scores.metrics().mean()), low, high, None, f"bootstrap over {count:,} test examples")


def resampled(scores: Scores, minus: Scores | None = None) -> Array:
    """Return the mean metric (R,) on resampled examples, or the difference from that of `minus` on the same ones."""
    each = [scores] if minus is None else [scores, minus]
    parts = np.concatenate([part for one in each for part in (one.scores * one.weights, one.weights)])  # (2 S, N)
    count = parts.shape[1]
    rng = np.random.default_rng(0)
    sums = np.empty((RESAMPLES, len(parts)))
    step = max(1, _CHUNK_NUMBERS // count)
    for first in range(0, RESAMPLES, step):
        rows = min(step, RESAMPLES - first)
        chosen = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(chosen.ravel(), minlength=rows * count).reshape(rows, count)
        sums[first : first + rows] = times @ parts.T
    found, place = [], 0
    for one in each:
        models = len(one.scores)
        totals, weights = sums[:, place : place + models], sums[:, place + models : place + 2 * models]
        # A resample in which nothing counts (no slot at all) has the metric of no success.
        found.append(np.divide(totals, weights, out=np.zeros_like(totals), where=weights > 0).mean(1))
        place += 2 * models
    return np.asarray(found[0] if minus is None else found[0] - found[1])


def _seed_variance(one: Array, other: Array, *, paired: bool) -> tuple[float, float, str]:
    """Return the variance of a difference of means over seeds, its degrees of freedom, and the method."""
    if paired:
        return float((other - one).var(ddof=1)) / len(one), len(one) - 1.0, f"paired t interval over {len(one)} seeds"
    parts = [float(each.var(ddof=1)) / len(each) for each in (one, other)]
    below = sum(part**2 / (len(each) - 1) for part, each in zip(parts, (one, other), strict=True))
    freedom = sum(parts) ** 2 / below if below else len(one) + len(other) - 2.0
    return sum(parts), freedom, f"Welch's t interval over {len(one)} and {len(other)} seeds"


def _influence(scores: Scores) -> Array:
    """Return what each example adds to the metric of each model, times N (S, N); the mean of each row is 0."""
    shares = scores.weights / scores.weights.mean(1, keepdims=True)
    return np.asarray(shares * (scores.scores - scores.metrics()[:, None]))


def _interaction(influence: Array) -> float:
    """Return the variance of a mean over seeds and examples (S, N) that is due to neither alone (delta method)."""
    models, count = influence.shape
    left = influence - influence.mean(0)
    return float((left**2).sum() / ((models - 1) * (count - 1) * models * count))


def _interval(value: float, variance: float, freedom: float, method: str) -> Estimate:
    error = math.sqrt(variance)
    if not error and value:  # of few seeds that happen to differ alike, the noise is not 0, but not known
        unknown = f"{method}, which all show the same difference: this cannot be tested; train more seeds"
        return Estimate(value, -math.inf, math.inf, 1.0, unknown)
    reach = t_quantile((1 + CONFIDENCE) / 2, freedom) * error
    p = 2 * (1 - t_probability(abs(value) / error, freedom)) if error else 1.0
    return Estimate(value, value - reach, value + reach, p, method)


def _percentiles(draws: Array, count: int) -> tuple[float, float]:
    """Return the percentile interval, as much wider as a t interval is: with few examples it would be too narrow."""
    reach = t_quantile((1 + CONFIDENCE) / 2, count - 1) * math.sqrt(count / (count - 1))
    tail = 1 - NormalDist().cdf(reach)
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def _share_beyond(draws: Array, count: int) -> float:
    """Return the p value of the intervals of `_percentiles`: 1 - the level of the widest that excludes zero."""
    ties = (draws == 0).mean() / 2
    beyond = min((draws < 0).mean(), (draws > 0).mean()) + ties
    reach = -NormalDist().inv_cdf(max(float(beyond), 1 / (len(draws) + 1)))
    return min(1.0, 2 * (1 - t_probability(reach * math.sqrt((count - 1) / count), count - 1)))


def t_quantile(probability: float, freedom: float) -> float:
    """Return a quantile of Student's t distribution above the median."""
    points, below = _t_table(round(float(min(freedom, 1e6)), 3))
    return float(np.interp(probability, below, points))


def t_probability(value: float, freedom: float) -> float:
    """Return how probable a smaller value is, for a value of at least 0."""
    points, below = _t_table(round(float(min(freedom, 1e6)), 3))
    return float(np.interp(value, points, below))


@cache
def _t_table(freedom: float) -> tuple[Array, Array]:
    """Return values of at least 0 and their cumulative probabilities, with t = tan(angle) * sqrt(freedom)."""
    end = min(math.pi / 2, 40 / math.sqrt(freedom))
    angles = np.linspace(0, end, 20_001)
    with np.errstate(divide="ignore"):
        density = np.cos(angles).clip(0) ** (freedom - 1)
    sums = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return np.tan(angles[:-1]) * math.sqrt(freedom), (0.5 + 0.5 * sums / sums[-1])[:-1]


def sign_test(wins: int, losses: int) -> float:
    """Return the p value of McNemar's exact test: how probable such unequal numbers are if both were equally good."""
    total, fewer = wins + losses, min(wins, losses)
    logs = [math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1) for k in range(fewer + 1)]
    return min(1.0, 2 * sum(math.exp(log - total * math.log(2)) for log in logs))


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean, and the standard deviation over seeds if there are several."""
    array = np.asarray(values, dtype=np.float64)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None
