"""An exponential moving average (EMA) of weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """Keeps an exponential moving average of the weights and buffers of a module that is being trained.

    It computes what `torch.optim.swa_utils.AveragedModel` computes (counters, such as those of batch normalization, are
    copied instead), and counts the updates in a number of Python: from
    a tensor, each update would copy it to the GPU, and wait.

    Args:
        live: the module whose weights are averaged.
        decay: share of the average that is kept at each update, from 0 to below 1.

    Attributes:
        module: a module like the live one, with the averaged weights.
    """

    def __init__(self, live: nn.Module, decay: float) -> None:
        self._live, self._updates = live, 0
        self.module = copy.deepcopy(live)
        self._mix = get_ema_multi_avg_fn(decay)

    def update(self) -> None:
        """Include the current weights; call it after each optimizer step."""
        averages, weights = _tensors(self.module), _tensors(self._live)
        with torch.no_grad():
            if self._updates == 0:
                torch._foreach_copy_(averages, weights)
            else:
                self._mix(list(filter(_has_fractions, averages)), list(filter(_has_fractions, weights)), self._updates)
                # Rounding a mean of equal counters can give another one.
                if counters := list(filter(_is_counter, averages)):
                    torch._foreach_copy_(counters, list(filter(_is_counter, weights)))
        self._updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the live weights and the number of updates; the average itself is saved as the trainer's model."""
        return {"live": self._live.state_dict(), "updates": self._updates}

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Restore what `state_dict` returned; the averaged weights have been loaded already.

        Args:
            state: None if no average was kept until now; it starts with the weights that have been loaded.
        """
        state = state or {"live": self.module.state_dict(), "updates": 1}
        self._live.load_state_dict(state["live"])
        self._updates = int(state["updates"])


def _tensors(module: nn.Module) -> list[Tensor]:
    """Return the parameters and buffers; of those that are cut over several processes, the parts of this one."""
    tensors = (tensor.detach() for tensor in chain(module.parameters(), module.buffers()))
    return [tensor.to_local() if hasattr(tensor, "to_local") else tensor for tensor in tensors]


def _has_fractions(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _is_counter(tensor: Tensor) -> bool:
    return not _has_fractions(tensor)
