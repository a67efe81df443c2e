"""What an object keeps in its attributes, as far as it can be compared: numbers, strings, tensors, generators."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: Stands for what cannot be compared.
_OPAQUE = object()


def plain_attributes(component: object) -> dict[str, Any]:
    """Return copies of the attributes of `component` that can be compared, by name."""
    found = {name: _plain(value) for name, value in getattr(component, "__dict__", {}).items()}
    return {name: value for name, value in found.items() if value is not _OPAQUE}


def _plain(value: Any) -> Any:
    """Return a copy that consists of tensors, plain values, and lists and dicts of them; `_OPAQUE` for other things."""
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, (np.ndarray, np.generic)):
        return torch.from_numpy(np.array(value)) if value.dtype.kind in "biuf" else np.array(value).tolist()
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, np.random.Generator):
        return _plain(value.bit_generator.state)
    if isinstance(value, random.Random):
        return _plain(value.getstate())
    if callable(getattr(value, "state_dict", None)) and not isinstance(value, type):
        return _plain(value.state_dict())
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(vars(value))
    if isinstance(value, (set, frozenset)):
        return _plain(sorted(value, key=repr))
    if isinstance(value, Mapping):
        return _parts(dict(zip(value, map(_plain, value.values()), strict=True)))
    if isinstance(value, (list, tuple, deque)):
        return _parts(dict(enumerate(map(_plain, value))))
    return _OPAQUE


def _parts(parts: dict[Any, Any]) -> Any:
    return _OPAQUE if any(part is _OPAQUE for part in parts.values()) else parts
