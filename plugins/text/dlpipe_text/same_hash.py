"""Which of many things are among many others, in 8 bytes for each."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import numpy as np
import torch
from torch import Tensor


def among(theirs: Iterable[Hashable], ours: Iterable[Hashable]) -> Tensor:
    """Return which of ours are among theirs: (N,) bool.

    Only their hashes are kept. Those of two different strings, or sequences of bytes, are equal with a probability of
    2⁻⁶⁴.
    """
    known, asked = (torch.from_numpy(np.fromiter(map(hash, each), np.int64)) for each in (theirs, ours))
    return torch.isin(asked, known)
