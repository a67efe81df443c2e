"""Robust statistics of returns.

Source: Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice",
https://arxiv.org/abs/2108.13264: interquartile mean and bootstrap confidence intervals.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dlpipe_rl.checked_env import Array

RESAMPLES = 2000


def interquartile_mean(values: Array) -> Array:
    """Return the mean of the middle half of `values` (…, n) along the last axis."""
    count = values.shape[-1]
    cut = count // 4
    return np.asarray(np.sort(values, axis=-1)[..., cut : count - cut].mean(-1))


def bootstrap_interval(
    values: Array, statistic: Callable[[Array], Array], *, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the bootstrap confidence interval of a statistic of `values` (n,)."""
    rng = np.random.default_rng(0)
    resampled = values[rng.integers(len(values), size=(RESAMPLES, len(values)))]
    low, high = np.quantile(statistic(resampled), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
