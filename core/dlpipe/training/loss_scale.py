"""Scaling the loss, so that small gradients do not become 0 in float16.

Source: Micikevicius et al. 2018, "Mixed Precision Training", section 3.2, https://arxiv.org/abs/1710.03740
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from dlpipe.errors import InputError

#: The metric that says whether a step left the weights as they were, since a scaled gradient was too large for float16.
SKIPPED = "skipped"


class LossScale:
    """The factor of the loss: halved when a gradient is not finite, doubled after 2000 steps without that.

    Processes that average their scaled gradients before `step` all find the same, and so skip the same steps.

    Raises:
        InputError: the optimizer computes the loss several times per step.
    """

    def __init__(self, optimizer: Optimizer, device: torch.device) -> None:
        if isinstance(optimizer, torch.optim.LBFGS):
            raise InputError(
                'precision = "float16": the optimizer lbfgs computes the loss several times per step, and cannot skip '
                "a step; choose another optimizer or precision"
            )
        self._optimizer, self._scaler = optimizer, torch.amp.GradScaler(device.type)
        self._scaler.scale(torch.zeros((), device=device))  # places the factor there, also where a process has no loss
        self._factor = float(self._scaler.get_scale())

    def scaled(self, loss: Tensor) -> Tensor:
        """Return the loss times the factor, to compute gradients of."""
        scaled: Tensor = self._scaler.scale(loss)
        return scaled

    def unscale(self) -> None:
        """Divide the gradients by the factor; once per step, before they are used."""
        self._scaler.unscale_(self._optimizer)

    def step(self, metrics: dict[str, Tensor]) -> dict[str, Tensor]:
        """Update the weights unless a gradient is not finite, and return the metrics of the step.

        A step that is skipped has no other metric than `SKIPPED`. If the factor is not to blame, that is NaN, and ends
        the run.
        """
        self._scaler.step(self._optimizer)
        self._scaler.update()
        before, self._factor = self._factor, float(self._scaler.get_scale())
        loss = metrics["loss"]
        if self._factor >= before:
            return metrics | {SKIPPED: torch.zeros_like(loss)}
        return {SKIPPED: torch.full_like(loss, 1.0 if before > 1 else torch.nan)}

    def state_dict(self) -> dict[str, Any]:
        """Return the factor, and the steps since it changed."""
        return dict(self._scaler.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._scaler.load_state_dict(dict(state))
        self._factor = float(self._scaler.get_scale())
