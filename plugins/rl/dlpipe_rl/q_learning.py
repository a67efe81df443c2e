"""The update of Q-learning: what a move was worth, by the estimate of a network that lags behind.

Sources: Mnih et al. 2015, https://doi.org/10.1038/nature14236, algorithm 1; double: van Hasselt et al. 2016,
https://arxiv.org/abs/1509.06461, equation 4.
Axes: B moves of a batch, A actions.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from dlpipe.compute import Compute
from dlpipe_rl.replay import Transitions


class QLearning:
    """Moves a network's action values towards their targets, and the target network after it.

    Args:
        double: the online network chooses the action whose value the target network estimates.
        target_every: updates between two updates of the target network.
        tau: share by which the target network then moves to the online one; 1 is a copy.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        compute: Compute,
        *,
        double: bool,
        loss: Literal["huber", "mse"],
        target_every: int,
        tau: float,
        max_grad_norm: float | None,
    ) -> None:
        self._model, self.optimizer, self._compute = model, optimizer, compute
        self._target = copy.deepcopy(model).requires_grad_(False)
        self._double, self._measure = double, F.smooth_l1_loss if loss == "huber" else F.mse_loss
        self._target_every, self._tau = target_every, tau
        self._max_grad_norm = max_grad_norm
        self._updates = 0
        # Made once: walking through the modules each time would cost more than the sums.
        self._parameters = list(model.parameters())
        self._online_weights = [parameter.detach() for parameter in self._parameters]
        self._target_weights = [parameter.detach() for parameter in self._target.parameters()]

    def targets(self, moves: Transitions) -> Tensor:
        """Return (B,) what each move was worth: its rewards and the value of where it led."""
        with self._compute.autocast():
            values = self._target(moves.next_obs)  # (B, A), whose weights ask for no gradient
            if self._double:
                with torch.no_grad():
                    best = self._model(moves.next_obs).argmax(1, keepdim=True)
                value = values.gather(1, best).squeeze(1)
            else:
                value = values.amax(1)
        return torch.addcmul(moves.returns, moves.discounts, value.float())

    def update(self, moves: Transitions) -> Tensor:
        """Update the weights once and return the loss, in which all moves count alike."""
        values, targets = self._compared(moves)
        return self._descend(self._measure(values, targets))

    def update_weighted(self, moves: Transitions, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Update the weights once.

        Args:
            weights: (B,) of the moves in the loss.

        Returns:
            the loss, and (B,) by how much each value was wrong.
        """
        values, targets = self._compared(moves)
        loss = self._descend((weights * self._measure(values, targets, reduction="none")).mean())
        return loss, (targets - values.detach()).abs()

    def _compared(self, moves: Transitions) -> tuple[Tensor, Tensor]:
        """Return (B,) the values of the moves and (B,) what they should be."""
        targets = self.targets(moves)
        with self._compute.autocast():
            values = self._model(moves.obs).gather(1, moves.actions.unsqueeze(1)).squeeze(1)
        return values.float(), targets

    def _descend(self, loss: Tensor) -> Tensor:
        # As optimizer.zero_grad(set_to_none=True) does, which takes a dozen microseconds more to say so.
        for parameter in self._parameters:
            parameter.grad = None
        loss.backward()
        if self._max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._max_grad_norm)
        self.optimizer.step()
        self._updates += 1
        if self._updates % self._target_every == 0:
            self._follow()
        return loss.detach()

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the online network."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "target": self._target.state_dict(),
            "updates": self._updates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state."""
        self.optimizer.load_state_dict(state["optimizer"])
        self._target.load_state_dict(state["target"])
        self._updates = state["updates"]

    def _follow(self) -> None:
        with torch.no_grad():
            if self._tau == 1:
                torch._foreach_copy_(self._target_weights, self._online_weights)
            else:
                torch._foreach_lerp_(self._target_weights, self._online_weights, self._tau)
