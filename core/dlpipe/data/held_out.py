"""Which examples are held out: a share of each class, or one of several folds."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence


def stratified_sample(labels: Sequence[str], share: float, seed: int) -> set[int]:
    """Return the numbers of random examples, the same share of each class, at least one of a class of two or more.

    Args:
        labels: (N,) the class of each example; the same for all where there are none.
        share: between 0 and 1.
    """
    chosen: set[int] = set()
    for numbers in _by_class(labels, seed):
        chosen.update(numbers[: min(max(1, round(share * len(numbers))), len(numbers) - 1)])
    return chosen


def stratified_fold(labels: Sequence[str], fold: int, folds: int, seed: int) -> set[int]:
    """Return the numbers of the examples of a fold; each class is spread evenly over the folds.

    Args:
        labels: (N,) the class of each example; the same for all where there are none.
        fold: from 1 to `folds`.
    """
    chosen: set[int] = set()
    start = 0  # the surplus of one class goes to other folds than that of the class before
    for numbers in _by_class(labels, seed):
        chosen.update(number for place, number in enumerate(numbers, start) if place % folds == fold - 1)
        start += len(numbers)
    return chosen


def _by_class(labels: Sequence[str], seed: int) -> list[list[int]]:
    """Return the numbers of the examples of each class, shuffled."""
    classes: dict[str, list[int]] = defaultdict(list)
    for number, label in enumerate(labels):
        classes[label].append(number)
    rng = random.Random(seed)
    return [rng.sample(classes[label], len(classes[label])) for label in sorted(classes)]
