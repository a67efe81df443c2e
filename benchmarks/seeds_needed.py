"""How often `dlpipe compare` finds a difference of two standard errors, by the number of seeds.

Metrics of seeds are drawn from a normal distribution. Two standard errors are those of the difference of the means.
"""

from __future__ import annotations

import math

import click
import numpy as np

from dlpipe.scores.statistics import over_seeds


def found(seeds: int, difference: float, cases: int, rng: np.random.Generator, *, paired: bool) -> float:
    """Return the share of cases of which the interval excludes zero.

    Args:
        difference: of the two pipelines, in standard errors of the difference of their means.
    """
    shift = difference * math.sqrt(2 / seeds)
    one, other = rng.normal(size=(cases, seeds)), rng.normal(shift, size=(cases, seeds))
    estimates = [over_seeds(first, second, paired=paired) for first, second in zip(one, other, strict=True)]
    return sum(each.low > 0 or each.high < 0 for each in estimates) / cases


@click.command()
@click.option("--cases", default=4000, show_default=True, help="Simulated comparisons for each number.")
def main(cases: int) -> None:
    """Print the table."""
    rng = np.random.default_rng(0)
    print("| seeds of each | Welch: no difference, found | paired: no difference, found |\n|---|---|---|")
    for seeds in (2, 3, 5, 10, 20):
        cells = []
        for paired in (False, True):
            none, true = (found(seeds, size, cases, rng, paired=paired) for size in (0.0, 2.0))
            cells.append(f"{100 * (1 - none):.0f}, {100 * true:.0f}")
        print(f"| {seeds} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
