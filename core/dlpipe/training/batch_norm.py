"""Batch normalization with the statistics of the whole batch, of which each process has a part.

torch's ``SyncBatchNorm`` does the same on GPUs only, and counts what a process without examples is given to take part.
"""

from __future__ import annotations

from types import MethodType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dlpipe.errors import InputError
from dlpipe.ranks import Ranks


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.total(own)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.ranks.total(gradients[0].contiguous()), None


def _total(own: Tensor, ranks: Ranks) -> Tensor:
    """Return the sum over all ranks, whose gradient is the sum of theirs."""
    return cast(Tensor, _Total.apply(own, ranks))


class SyncedBatchNorm:
    """Makes the layers of batch normalization of a model use the statistics over all ranks while they train.

    Each layer adds a sum over the ranks to the forward and to the backward pass, so all ranks run the model equally
    often.

    Attributes:
        counts: whether the examples of the next forward pass count in the statistics.

    Raises:
        InputError: the model has no such layer.
        ValueError: in the forward pass, as that of torch: there is no more than one value per channel.
    """

    def __init__(self, model: nn.Module, ranks: Ranks) -> None:
        layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        if not layers:
            raise InputError(
                f"sync_batch_norm = true: {type(model).__name__} has no batch normalization; expected a model with it, "
                "or leave it out"
            )
        self._ranks, self.counts = ranks, True
        if ranks.size > 1:
            for layer in layers:
                layer.forward = MethodType(self._forward, layer)  # type: ignore[method-assign]

    def _forward(self, layer: _BatchNorm, inputs: Tensor) -> Tensor:
        if not layer.training:
            return type(layer).forward(layer, inputs)
        axes = [axis for axis in range(inputs.dim()) if axis != 1]
        shape = [1, -1] + [1] * (inputs.dim() - 2)
        counted = 1.0 if self.counts else 0.0
        values = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
        own = counted * (values.numel() // values.shape[1])
        count = self._ranks.total(values.new_full((1,), own))
        # Reading the count waits for the device, so only where this rank does not know that there are two values.
        if own < 2 and count < 2:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {inputs.shape}")
        mean = _total(values.sum(axes) * counted, self._ranks) / count
        centered = values - mean.view(shape)
        variance = _total(centered.square().sum(axes) * counted, self._ranks) / count
        self._update(layer, mean.detach(), variance.detach() * count / (count - 1))
        normal: Tensor = centered * (variance + layer.eps).rsqrt().view(shape)
        if layer.affine:
            normal = normal * layer.weight.view(shape) + layer.bias.view(shape)
        return normal.to(inputs.dtype)

    @staticmethod
    def _update(layer: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
        """Update the running statistics, as the layer itself would."""
        if not layer.track_running_stats:
            return
        assert layer.num_batches_tracked is not None
        assert layer.running_mean is not None
        assert layer.running_var is not None
        layer.num_batches_tracked.add_(1)
        # Without a momentum, they are the mean over all batches.
        share = (1.0 / layer.num_batches_tracked).to(mean) if layer.momentum is None else layer.momentum
        layer.running_mean.lerp_(mean, share)
        layer.running_var.lerp_(variance, share)
