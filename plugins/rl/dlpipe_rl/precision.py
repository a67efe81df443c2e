"""Networks whose outputs have full precision whatever the precision of the run."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dlpipe.compute import Compute


def in_float32(network: nn.Module, compute: Compute) -> Callable[..., Tensor]:
    """Return a network as a function that computes in the precision of the run and returns float32."""
    if compute.dtype is torch.float32:
        return network  # no context to enter and to leave several times a step

    def outputs(*inputs: Tensor) -> Tensor:
        with compute.autocast():
            return network(*inputs).float()  # type: ignore[no-any-return]

    return outputs
