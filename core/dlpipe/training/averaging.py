"""An exponential moving average (EMA) of weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class WeightAverage:
    """Keeps an exponential moving average of the weights and buffers of a module that is being trained.

    Args:
        live: the module whose weights are averaged.
        decay: share of the average that is kept at each update, from 0 to below 1.
    """

    def __init__(self, live: nn.Module, decay: float) -> None:
        self._live = live
        self._averaged = AveragedModel(
            live, multi_avg_fn=_of_local_parts(get_ema_multi_avg_fn(decay)), use_buffers=True
        )

    @property
    def module(self) -> nn.Module:
        """A module like the live one, with the averaged weights."""
        return self._averaged.module

    def update(self) -> None:
        """Include the current weights; call it after each optimizer step."""
        self._averaged.update_parameters(self._live)

    def state_dict(self) -> dict[str, Any]:
        """Return the live weights and the number of updates; the average itself is saved as the trainer's model."""
        return {"live": self._live.state_dict(), "updates": self._averaged.n_averaged}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; the averaged weights have been loaded already."""
        self._live.load_state_dict(state["live"])
        self._averaged.n_averaged.copy_(state["updates"])


def _of_local_parts(average: Callable[..., None]) -> Callable[..., None]:
    """Return a function that averages the parts that this process has of tensors that are cut, and whole buffers."""

    def local(tensors: Sequence[Tensor]) -> list[Tensor]:
        return [tensor.to_local() if hasattr(tensor, "to_local") else tensor for tensor in tensors]

    return lambda averaged, live, count: average(local(averaged), local(live), count)
