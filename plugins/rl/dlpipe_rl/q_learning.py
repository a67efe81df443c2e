"""The Q-learning update with a target network.

Sources: Mnih et al. 2015, https://doi.org/10.1038/nature14236, algorithm 1; double: van Hasselt et al. 2016,
https://arxiv.org/abs/1509.06461, equation 4.
Axes: B transitions of a batch, A actions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from dlpipe.compute import Compute
from dlpipe.training import load_optimizer
from dlpipe_rl.noisy import NoisyLinear
from dlpipe_rl.replay_buffer import Transitions


class QLearning:
    """Updates a Q-network towards its TD targets, and its target network.

    Args:
        max_grad_norm: maximum norm of the gradient of all parameters.
        double: the online network chooses the action whose value the target network estimates.
        target_every: updates between two updates of the target network.
        tau: τ, how far each of them moves the target network to the online network; 1 copies it.

    Attributes:
        values: maps observations (B, …) to the action values (B, A) of the online network.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        compute: Compute,
        max_grad_norm: float | None,
        *,
        double: bool,
        loss: Literal["huber", "mse"],
        target_every: int,
        tau: float,
    ) -> None:
        self.optimizer = optimizer
        self._model, self._target = model, copy.deepcopy(model).train().requires_grad_(False)
        # No dropout, and running statistics instead of those of the batch; noise only where it is learned.
        for module in self._target.modules():
            module.training = module.training and isinstance(module, NoisyLinear)
        self.values, self._target_values = _in_float32(model, compute), _in_float32(self._target, compute)
        self._double, self._measure = double, F.smooth_l1_loss if loss == "huber" else F.mse_loss
        self._target_every, self._tau = target_every, tau
        self._max_grad_norm = max_grad_norm
        self._updates = 0
        # Listed once: traversing the modules in every update would cost more than the target update itself.
        self._parameters = list(model.parameters())
        self._online_weights = [parameter.detach() for parameter in self._parameters]
        self._target_weights = [parameter.detach() for parameter in self._target.parameters()]
        self._has_buffers = any(True for _ in model.buffers())

    def targets(self, transitions: Transitions) -> Tensor:
        """Return the TD targets (B,): returns plus the discounted values of the next observations."""
        values = self._target_values(transitions.next_obs)  # (B, A); its weights require no gradient
        if self._double:
            with torch.no_grad():
                best = self.values(transitions.next_obs).argmax(1, keepdim=True)
            value = values.gather(1, best).squeeze(1)
        else:
            value = values.amax(1)
        return torch.addcmul(transitions.returns, transitions.discounts, value)

    def update(self, transitions: Transitions) -> Tensor:
        """Update the weights once with the unweighted loss, and return the loss."""
        values, targets = self._td_pairs(transitions)
        return self._descend(self._measure(values, targets))

    def update_weighted(self, transitions: Transitions, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Update the weights once.

        Args:
            weights: (B,) of the transitions in the loss.

        Returns:
            the loss, and the absolute TD errors (B,).
        """
        values, targets = self._td_pairs(transitions)
        loss = self._descend((weights * self._measure(values, targets, reduction="none")).mean())
        return loss, (targets - values.detach()).abs()

    def _td_pairs(self, transitions: Transitions) -> tuple[Tensor, Tensor]:
        """Return the values (B,) of the actions taken, and their TD targets (B,)."""
        targets = self.targets(transitions)
        return self.values(transitions.obs).gather(1, transitions.actions).squeeze(1), targets

    def _descend(self, loss: Tensor) -> Tensor:
        """Take one optimizer step, and update the target network if it is due."""
        # The same as optimizer.zero_grad(set_to_none=True), but a dozen microseconds faster.
        for parameter in self._parameters:
            parameter.grad = None
        loss.backward()
        if self._max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._max_grad_norm)
        self.optimizer.step()
        self._updates += 1
        if self._updates % self._target_every == 0:
            self._update_target()
        return loss.detach()

    def state_dict(self) -> dict[str, Any]:
        """Return all state except the online network."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "target": self._target.state_dict(),
            "updates": self._updates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state."""
        load_optimizer(self.optimizer, state["optimizer"])
        self._target.load_state_dict(state["target"])
        self._updates = state["updates"]

    def _update_target(self) -> None:
        """Move the target network to the online network by τ; buffers, such as running statistics, are copied."""
        with torch.no_grad():
            if self._tau == 1:
                torch._foreach_copy_(self._target_weights, self._online_weights)
            else:
                torch._foreach_lerp_(self._target_weights, self._online_weights, self._tau)
            if self._has_buffers:  # not listed once, as a module may replace them
                for target, online in zip(self._target.buffers(), self._model.buffers(), strict=True):
                    target.copy_(online)


def _in_float32(model: nn.Module, compute: Compute) -> Callable[[Tensor], Tensor]:
    """Return a model as a function that computes in the precision of the run and returns float32."""
    if compute.dtype is torch.float32:
        return model  # no context to enter and to leave three times a step

    def values(obs: Tensor) -> Tensor:
        with compute.autocast():
            return model(obs).float()  # type: ignore[no-any-return]

    return values
