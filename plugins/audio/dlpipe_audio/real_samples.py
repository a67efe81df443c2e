"""Which samples of a batch belong to recordings, and which pad them.

Axes: B recordings, S samples of the longest.
"""

from __future__ import annotations

import torch
from torch import Tensor


def is_real(samples: Tensor, lengths: Tensor) -> Tensor:
    """Return which samples (B, S) are no padding, given the lengths (B,) on the CPU."""
    steps = torch.arange(samples.size(1), device=samples.device)
    return steps < lengths.to(samples.device, non_blocking=True).unsqueeze(1)
