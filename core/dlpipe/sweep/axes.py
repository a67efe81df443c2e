"""What an axis of a ``[sweep]`` can be: a list of values, named choices, or a range that a search draws from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dlpipe.config.toml_text import inline
from dlpipe.messages import nearest, shown

SCALES = ("linear", "log")
#: An axis of a path is a range if its table has one of these; choices are tables, never numbers.
ENDS = ("low", "high")
RANGE_KEYS = (*ENDS, "step", "scale")


@dataclass(frozen=True)
class Choice:
    """One value of an axis.

    Args:
        name: its name in labels.
        values: the values it sets, by path such as ``"trainer.optimizer.lr"``.
    """

    name: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Range:
    """An axis whose values lie between two numbers, both included; whole numbers if both ends are.

    Args:
        path: what it sets.
        step: distance between neighboring values; None for 1 (whole numbers) or any value.
        scale: "linear" or "log": on which scale values are uniformly distributed.
    """

    path: str
    low: float
    high: float
    step: float | None = None
    scale: str = "linear"

    @property
    def whole(self) -> bool:
        """Whether its values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def choice(self, value: float) -> Choice:
        """Return the choice of a value."""
        return Choice(compact(value) if self.whole else f"{value:.4g}", {self.path: value})

    @property
    def ends(self) -> list[Choice]:
        """The choices of both ends."""
        return [self.choice(self.low), self.choice(self.high)]


Axis = list[Choice] | Range


def is_range(axis: Any, is_path: bool) -> bool:
    """Return whether an axis is meant to be a range.

    Args:
        is_path: whether its key can only be a path, since it has a dot.
    """
    return isinstance(axis, dict) and (is_path or any(not isinstance(axis.get(end, {}), dict) for end in ENDS))


def range_mistakes(table: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the table of a range; empty if it is valid."""
    found = [f"unknown key {key}.{nearest(key, RANGE_KEYS)}" for key in table if key not in RANGE_KEYS]
    found += [f"{key} is missing" for key in ENDS if key not in table]
    numbers = {key: table[key] for key in (*ENDS, "step") if key in table}
    found += [f"{key} = {shown(value)}: expected a number" for key, value in numbers.items() if not _is_number(value)]
    scale = table.get("scale", "linear")
    if scale not in SCALES:
        found.append(f"scale = {shown(scale)}: expected {' or '.join(map(json.dumps, SCALES))}")
    if found:
        return found
    low, high, step = table["low"], table["high"], table.get("step")
    if low >= high:
        found.append(f"low = {shown(low)} is not below high = {shown(high)}")
    if scale == "log" and low <= 0:
        found.append(f'low = {shown(low)}: scale = "log" needs a number above 0')
    if step is not None and scale == "log":
        found.append(f'step = {shown(step)} has no effect with scale = "log"; remove one of the two')
    elif step is not None and not 0 < step <= high - low:
        found.append(f"step = {shown(step)}: expected a number above 0 and at most high - low = {high - low:g}")
    elif isinstance(step, float) and isinstance(low, int) and isinstance(high, int):
        found.append(f"step = {shown(step)}: expected a whole number, as both ends are; or write low = {float(low)}")
    elif step is not None and not _reaches(low, high, step):
        last = low + math.floor((high - low) / step) * step
        last = last if isinstance(last, int) else float(f"{last:.9g}")  # without errors of rounding
        reached = f"is never reached from low = {shown(low)} in steps of {shown(step)}; expected high = {shown(last)}"
        found.append(f"high = {shown(high)} {reached}")
    return found


def as_range(path: str, table: Mapping[str, Any]) -> Range:
    """Return the range of a table without mistakes."""
    whole = isinstance(table["low"], int) and isinstance(table["high"], int)
    number = int if whole else float
    step = table.get("step")
    return Range(path, number(table["low"]), number(table["high"]), step and number(step), table.get("scale", "linear"))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def compact(value: Any) -> str:
    """Format a value for labels: strings without quotes, nine equal layers as ``9 × 500``, the rest as TOML."""
    return value if isinstance(value, str) else inline(value, shorten=True)


def _reaches(low: float, high: float, step: float) -> bool:
    """Return whether `high` is a whole number of steps from `low`, but for rounding."""
    if all(isinstance(number, int) for number in (low, high, step)):
        return (high - low) % step == 0
    count = (high - low) / step
    return math.isclose(count, round(count), rel_tol=1e-9)
