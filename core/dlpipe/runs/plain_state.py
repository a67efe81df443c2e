"""States as they are saved: which values can be, and whether two are the same."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

#: What `unsavable` accepts, in words.
PLAIN = "tensors, numbers, strings, lists and dicts, which no code is in"
# Exactly these types, since a class that is derived from them is code that would have to run when the file is read.
_DICTS, _LISTS = (dict, OrderedDict, Counter), (list, tuple, set, torch.Size)
_VALUES = (int, float, complex, bool, str, bytes, type(None), torch.dtype, torch.device)


def unsavable(state: Any, place: str = "") -> str:
    """Return which part of a state could not be loaded with ``weights_only``, in words; an empty string if all can."""
    if type(state) in _DICTS:
        parts = [
            *((key, f"{place} key {key!r}") for key in state),
            *((state[key], f"{place}[{key!r}]") for key in state),
        ]
        return next(filter(None, (unsavable(part, where) for part, where in parts)), "")
    if type(state) in _LISTS:
        return next(filter(None, (unsavable(part, f"{place}[{n}]") for n, part in enumerate(state))), "")
    return "" if type(state) in _VALUES or isinstance(state, Tensor) else f"{place} is of type {type(state).__name__}"


def difference(one: Any, other: Any, place: str = "") -> str:
    """Return where two states differ, such as ``["optimizer"]["step"]``, or an empty string."""
    if isinstance(one, Tensor):
        same = isinstance(other, Tensor) and one.shape == other.shape and one.dtype == other.dtype
        return "" if same and _equal(one.detach().cpu(), other.detach().cpu()) else place or " "
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
