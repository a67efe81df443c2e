"""A copy of a network that follows it, so that the values an agent learns from do not move with every update."""

from __future__ import annotations

import copy

import torch
from torch import nn

from dlpipe_rl.noisy import NoisyLinear


class TargetNetwork:
    """A network whose weights follow those of another one.

    It has no dropout, and takes running statistics instead of those of the batch; noise only where it is learned.

    Args:
        online: the network that it follows.
        tau: τ, how far each update moves its weights to those of the other network; 1 copies them.

    Attributes:
        module: the network.
    """

    def __init__(self, online: nn.Module, tau: float) -> None:
        self.module = copy.deepcopy(online).train().requires_grad_(False)
        for module in self.module.modules():
            module.training = module.training and isinstance(module, NoisyLinear)
        self._online, self._tau = online, tau
        # Listed once: traversing the modules in every update would cost more than the update itself.
        self._online_weights = [parameter.detach() for parameter in online.parameters()]
        self._weights = [parameter.detach() for parameter in self.module.parameters()]
        self._has_buffers = any(True for _ in online.buffers())

    def update(self) -> None:
        """Move the weights by τ; buffers, such as running statistics, are copied."""
        with torch.no_grad():
            if self._tau == 1:
                torch._foreach_copy_(self._weights, self._online_weights)
            else:
                torch._foreach_lerp_(self._weights, self._online_weights, self._tau)
            if self._has_buffers:  # not listed once, as a module may replace them
                for buffer, online in zip(self.module.buffers(), self._online.buffers(), strict=True):
                    buffer.copy_(online)
