"""Where two states differ: tensors, plain values, and lists and dicts of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def difference(one: Any, other: Any, place: str = "") -> str:
    """Return where two states differ, such as ``["optimizer"]["step"]``, or an empty string."""
    if isinstance(one, Tensor):
        same = isinstance(other, Tensor) and one.shape == other.shape and one.dtype == other.dtype
        return "" if same and _equal(one.cpu(), other.cpu()) else place or " "
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if one.keys() != other.keys():
            return f"{place}[{next(iter([*(one.keys() - other.keys()), *(other.keys() - one.keys())]))!r}]"
        found = (difference(one[key], other[key], f"{place}[{key!r}]") for key in one)
        return next(filter(None, found), "")
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        if len(one) != len(other):
            return place or " "
        found = (difference(a, b, f"{place}[{n}]") for n, (a, b) in enumerate(zip(one, other, strict=True)))
        return next(filter(None, found), "")
    return "" if one == other or (one != one and other != other) else place or " "


def _equal(one: Tensor, other: Tensor) -> bool:
    return bool(((one == other) | ((one != one) & (other != other))).all())  # a NaN equals a NaN
