"""Layers one after the other, of which only the computations are paid for."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import module


class LayerStack(nn.Sequential):
    """A sequence of layers for small networks.

    Calling a module looks for hooks and for its parameters, which takes as long as a small layer. Where there are no
    hooks, linear layers and ReLUs are computed here, and of other layers only ``forward`` is called.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map a tensor through all layers."""
        anywhere = module._has_any_global_hook()
        for layer in self._modules.values():
            assert layer is not None
            # The conditions under which `nn.Module.__call__` does more than `forward`.
            if (
                anywhere
                or layer._compiled_call_impl is not None
                or layer._forward_hooks
                or layer._forward_pre_hooks
                or layer._backward_hooks
                or layer._backward_pre_hooks
            ):
                input = layer(input)
            elif (kind := type(layer)) is nn.Linear:
                parameters = layer._parameters
                input = F.linear(input, parameters["weight"], parameters["bias"])  # type: ignore[arg-type]
            elif kind is nn.ReLU:
                input = input.relu()
            else:
                input = layer.forward(input)
        return input
