"""The updates of soft actor-critic: of the critics, of the policy, and of the weight of the entropy.

Sources: Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications", https://arxiv.org/abs/1812.05905,
equations 5, 7, 9 and 18.
Departs from them: the weight of the entropy is learned as its logarithm, as in the authors' code.
Axes: B transitions of a batch, K components of an action, Q critics.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from dlpipe.compute import Compute
from dlpipe.training import build_optimizer, load_optimizer
from dlpipe_rl.encoder import to_float
from dlpipe_rl.precision import in_float32
from dlpipe_rl.replay_buffer import Transitions
from dlpipe_rl.soft_actor_critic import SoftActorCritic
from dlpipe_rl.target_network import TargetNetwork


class SoftLearning:
    """Updates a policy towards actions of high value and entropy, and the values towards their targets.

    Args:
        optimizer: the table of the optimizer of all weights.
        generator: of the sampled actions, on the device of the model.
        entropy_coef: α, weight of the entropy; its initial value if it is learned.
        target_entropy: the entropy in nats that α is learned for; None does not learn it.
        target_every: updates between two updates of the target critics.
        tau: τ, how far each of them moves the target critics.
        max_grad_norm: maximum norm of the gradient of all critics, and of that of the policy.
    """

    def __init__(
        self,
        model: SoftActorCritic,
        optimizer: Mapping[str, Any],
        compute: Compute,
        generator: torch.Generator,
        *,
        entropy_coef: float,
        target_entropy: float | None,
        target_every: int,
        tau: float,
        max_grad_norm: float | None,
    ) -> None:
        self._normalize, self._head, self._rng = model.normalize, model.head, generator
        self._log_coef = nn.Parameter(torch.tensor(entropy_coef, device=compute.device).log())
        self._target_entropy, self._target_every, self._max_grad_norm = target_entropy, target_every, max_grad_norm
        self._target = TargetNetwork(model.critics, tau)
        self._policy, self._critics = in_float32(model.policy, compute), in_float32(model.critics, compute)
        self._target_critics = in_float32(self._target.module, compute)
        # Without those that are frozen.
        self._of_policy, self._of_critics = (
            [parameter for parameter in part.parameters() if parameter.requires_grad]
            for part in (model.policy, model.critics)
        )
        self._updates = 0
        # One for all, which each step updates in two parts: an optimizer leaves out what has no gradient.
        groups: list[dict[str, Any]] = [{"params": [*self._of_policy, *self._of_critics]}]
        if target_entropy is not None:
            groups.append({"params": [self._log_coef], "weight_decay": 0.0})
        self.optimizer: Optimizer = build_optimizer(groups, optimizer)

    @property
    def entropy_coef(self) -> Tensor:
        """The weight α of the entropy, a scalar."""
        return self._log_coef.detach().exp()

    def sample(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Sample actions (B, K) from -1 to 1 for observations (B, …), with their log probability densities (B,)."""
        return self._head.sample(self._policy(self._scaled(obs)), self._rng)

    def targets(self, transitions: Transitions) -> Tensor:
        """Return the targets of the values (B,): returns plus the discounted soft values of the next observations."""
        with torch.no_grad():
            obs = self._scaled(transitions.next_obs)
            actions, log_probs = self._head.sample(self._policy(obs), self._rng)
            values = self._target_critics(obs, actions).amin(0) - self.entropy_coef * log_probs
        return torch.addcmul(transitions.returns, transitions.discounts, values)

    def update(self, transitions: Transitions) -> dict[str, Tensor]:
        """Update all weights once, and return the losses, the ``entropy`` and its weight."""
        targets = self.targets(transitions)
        obs = self._scaled(transitions.obs)
        values = self._critics(obs, transitions.actions)  # (Q, B)
        critic_loss = 0.5 * F.mse_loss(values, targets.expand_as(values), reduction="none").sum(0).mean()
        self._step(critic_loss, self._of_critics)
        actions, log_probs = self._head.sample(self._policy(obs), self._rng)
        coef = self.entropy_coef
        policy_loss = (coef * log_probs - self._critics(obs, actions).amin(0)).mean()
        entropy = -log_probs.detach().mean()
        if self._target_entropy is not None:
            self._log_coef.grad = entropy - self._target_entropy
        self._step(policy_loss, self._of_policy)
        self._updates += 1
        if self._updates % self._target_every == 0:
            self._target.update()
        return {
            "critic_loss": critic_loss.detach(),
            "policy_loss": policy_loss.detach(),
            "entropy": entropy,
            "entropy_coef": coef,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return all state except the model."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "target": self._target.module.state_dict(),
            "log_coef": self._log_coef.detach(),
            "generator": self._rng.get_state(),
            "updates": self._updates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state."""
        load_optimizer(self.optimizer, state["optimizer"])
        self._target.module.load_state_dict(state["target"])
        with torch.no_grad():
            self._log_coef.copy_(state["log_coef"])
        self._rng.set_state(state["generator"])
        self._updates = state["updates"]

    def _scaled(self, obs: Tensor) -> Tensor:
        return self._normalize(to_float(obs))  # type: ignore[no-any-return]

    def _step(self, loss: Tensor, parameters: list[nn.Parameter]) -> None:
        """Update the parameters by the gradient of a loss, and what else has a gradient."""
        if parameters:
            loss.backward(inputs=parameters)
        if self._max_grad_norm is not None:
            nn.utils.clip_grad_norm_(parameters, self._max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
