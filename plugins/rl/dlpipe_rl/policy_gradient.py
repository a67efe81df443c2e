"""The policy gradient: actions that were better than expected become more probable.

Sources: Williams 1992, https://doi.org/10.1007/BF00992696, with a learned baseline; Mnih et al. 2016,
https://arxiv.org/abs/1602.01783, for the entropy bonus.
Axes: M transitions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from dlpipe.compute import Compute
from dlpipe_rl.action_heads import ActionHead
from dlpipe_rl.on_policy import RolloutBatch


@dataclass
class PolicyLoss:
    """The loss of a policy: policy loss + `value_coef` × value loss - `entropy_coef` × entropy.

    Args:
        value_coef: c1, weight of the squared error of the values.
        entropy_coef: c2, weight of the entropy bonus.
        max_grad_norm: maximum norm of the gradient of all parameters.
    """

    model: nn.Module
    optimizer: Optimizer
    compute: Compute
    value_coef: float
    entropy_coef: float
    max_grad_norm: float | None

    def evaluate_actions(self, batch: RolloutBatch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return log probabilities (M,) and entropies (M,) under the current policy, and the values if it has any."""
        with self.compute.autocast():
            outputs = self.model(batch.obs)
        params, values = outputs if isinstance(outputs, tuple) else (outputs, None)
        head: ActionHead = self.model.head  # type: ignore[assignment]
        params = params.float()
        log_probs, entropies = head.log_prob(params, batch.actions), head.entropy(params)
        return log_probs, entropies, None if values is None else values.float()

    def step(self, policy_loss: Tensor, entropies: Tensor, values: Tensor | None, returns: Tensor) -> dict[str, Tensor]:
        """Update the weights once and return the terms of the loss."""
        entropy = entropies.mean()
        loss = policy_loss - self.entropy_coef * entropy
        parts = {"policy_loss": policy_loss.detach(), "entropy": entropy.detach()}
        if values is not None:
            value_loss = F.mse_loss(values, returns)
            loss = loss + self.value_coef * value_loss
            parts["value_loss"] = value_loss.detach()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        self.optimizer.step()
        return {"loss": loss.detach(), **parts}


class PolicyGradient:
    """One update from all transitions of a rollout.

    Args:
        normalize_advantages: scale the advantages of a rollout to mean 0 and standard deviation 1.
    """

    def __init__(self, loss: PolicyLoss, *, normalize_advantages: bool) -> None:
        self._loss, self._normalize_advantages = loss, normalize_advantages

    def __call__(self, batch: RolloutBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Update the weights once."""
        advantages = normalized(batch.advantages) if self._normalize_advantages else batch.advantages
        log_probs, entropies, values = self._loss.evaluate_actions(batch)
        return self._loss.step(-(log_probs * advantages).mean(), entropies, values, batch.returns)


def normalized(advantages: Tensor) -> Tensor:
    """Scale to mean 0 and standard deviation 1; a single value becomes 0."""
    return (advantages - advantages.mean()) / (advantages.std(correction=0) + 1e-8)
