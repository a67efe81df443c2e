"""Whether figures that were measured again agree with the recorded ones.

* On the same kind of CPU, with the same instruction set, number of threads and versions of the libraries, a run gives
  the same bits: the six digits that are recorded have to be equal.
* Anywhere else, rounding differs, and training amplifies it until the run is like one with another seed. Each run has
  to lie within the bounds of the figure. By rule "interval" these are the 99 % prediction interval of one more run,

      mean ± (t(0.995, n - 1) · deviation · sqrt(1 + 1 / n) + step),

  over the runs on all recorded instruction sets; n is the number of runs on one of them or of different values,
  whichever is larger, so that a value that two of them share does not count twice. With one run, the difference of the
  instruction sets takes the place of t · deviation. What a figure cannot be by definition is left out, and no recorded
  value lies outside.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from scoring.sheet import Experiment, Measured

from dlpipe.scores.statistics import t_quantile

CONFIDENCE = 0.99


@dataclass(frozen=True)
class Verdict:
    """What became of one value.

    Args:
        name: ``EXPERIMENT.FIGURE``.
        run: the seed, or the trial and the seed.
        recorded: the value on the page's machine; None if this run was not recorded.
        expected: what was allowed, in words.
    """

    name: str
    run: str
    recorded: float | None
    found: float
    expected: str
    agrees: bool


def digits(value: float) -> float:
    """Return a value as it is recorded."""
    return float(f"{value:.6g}")


def bounds(experiment: Experiment, name: str) -> tuple[float, float] | None:
    """Return the bounds of a figure: the given ones, or those that follow from the values; None without any."""
    figure = experiment.figures[name]
    if figure.rule == "given":
        return figure.bounds
    machines = [list(values.values()) for values in experiment.values(name).values()]
    if not machines:
        return None
    every = [value for values in machines for value in values]
    count = max(max(map(len, machines)), len(set(every)))
    if max(map(len, machines)) > 1:
        factor = t_quantile(1 - (1 - CONFIDENCE) / 2, count - 1) * math.sqrt(1 + 1 / count)
        spread = factor * statistics.stdev(every)
    else:
        spread = max(every) - min(every)
    mean = statistics.fmean(every)
    least, greatest = figure.limits or (-math.inf, math.inf)
    low, high = max(mean - spread - figure.step, least), min(mean + spread + figure.step, greatest)
    return digits(min(low, *every)), digits(max(high, *every))


def follows_instructions(experiment: Experiment, figure: str) -> bool | None:
    """Return whether the recorded values of a figure depend on the instruction set; None if only one was measured."""
    sets: dict[str, dict[str, float]] = {
        each.instructions: each.values[figure]
        for each in experiment.measured
        if each.instructions is not None and figure in each.values
    }
    if len(sets) < 2:
        return None
    first, *others = sets.values()
    return any(value != other[run] for other in others for run, value in first.items() if run in other)


def same_kind(one: Measured, other: Measured) -> bool:
    """Return whether two measurements have to agree in every digit."""
    shared = one.versions.keys() & other.versions.keys()
    return (
        one.cpu is not None
        and (one.cpu, one.instructions, one.threads) == (other.cpu, other.instructions, other.threads)
        and {"torch", "numpy"} <= shared
        and all(one.versions[name] == other.versions[name] for name in shared - {"dlpipe"})
    )


def verdicts(experiment_name: str, experiment: Experiment, again: Measured) -> list[Verdict]:
    """Compare what was measured again with what is recorded, value by value."""
    alike = next((each for each in experiment.measured if same_kind(each, again)), None)
    shown = alike or next(iter(experiment.measured), None)
    found = []
    for figure, values in again.values.items():
        recorded = shown.values.get(figure, {}) if shown else {}
        for run, value in values.items():
            before = recorded.get(run)
            if alike and before is not None:
                expected, agrees = "the same digits: the same kind of CPU and versions", value == before
            elif (allowed := experiment.figures[figure].bounds) is not None:
                expected, agrees = f"{allowed[0]:g} to {allowed[1]:g}", allowed[0] <= value <= allowed[1]
            else:
                expected, agrees = "a recorded value; run `record`", False
            found.append(Verdict(f"{experiment_name}.{figure}", run, before, value, expected, agrees))
    return found
