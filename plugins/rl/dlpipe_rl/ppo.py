"""Proximal policy optimization: several epochs of minibatch updates per rollout, with a clipped objective.

Source: Schulman et al. 2017, "Proximal Policy Optimization Algorithms", https://arxiv.org/abs/1707.06347,
equation 7; advantages normalized per minibatch as in Huang et al. 2022,
https://iclr-blog-track.github.io/2022/03/25/ppo-implementation-details/.
Departs from them: no clipping of the value loss; no early stopping by KL divergence.
Axes: M transitions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlpipe.compute import Compute
from dlpipe.errors import InputError
from dlpipe.fields import Fraction, NonNegativeFloat, OptimizerTable, Positive, PositiveFloat, ScheduleTable
from dlpipe.protocols import Data
from dlpipe.training import Budget, build_optimizer
from dlpipe_rl.on_policy import OnPolicy, RolloutBatch, require_values
from dlpipe_rl.policy_gradient import PolicyLoss, normalized


class ClippedUpdate:
    """Several epochs of minibatch updates with the clipped objective.

    Args:
        update_epochs: passes over the transitions of a rollout.
        batch_size: transitions per update; the last minibatch of an epoch may be smaller.
        clip_range: ε; beyond a relative change of this size, an action's probability gets no gradient.
    """

    def __init__(self, loss: PolicyLoss, *, update_epochs: int, batch_size: int, clip_range: float) -> None:
        self._loss, self._clip_range = loss, clip_range
        self._update_epochs, self._batch_size = update_epochs, batch_size

    def __call__(self, batch: RolloutBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Update the weights; return the metrics averaged over all updates."""
        metrics = [
            self._update(batch.at(rows))
            for _ in range(self._update_epochs)
            for rows in self._shuffled(batch, generator)
        ]
        return {name: torch.stack([each[name] for each in metrics]).mean() for name in metrics[0]}

    def _shuffled(self, batch: RolloutBatch, generator: torch.Generator) -> list[Tensor]:
        """Return the rows of each update of an epoch, copied to the device together."""
        rows = torch.randperm(len(batch), generator=generator).to(batch.obs.device, non_blocking=True)
        return list(rows.split(self._batch_size))

    def _update(self, batch: RolloutBatch) -> dict[str, Tensor]:
        log_probs, entropies, values = self._loss.evaluate_actions(batch)
        ratios = (log_probs - batch.log_probs).exp()
        policy_loss = clipped_loss(ratios, normalized(batch.advantages), self._clip_range)
        outside = ((ratios - 1).abs() > self._clip_range).float().mean().detach()
        return self._loss.step(policy_loss, entropies, values, batch.returns) | {"clipped": outside}


def clipped_loss(ratios: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
    """Return the negated clipped objective of actions (M,) whose probabilities changed by the factors `ratios`."""
    return -torch.minimum(ratios * advantages, ratios.clamp(1 - clip_range, 1 + clip_range) * advantages).mean()


def ppo(
    model: nn.Module,
    data: Data,
    compute: Compute,
    seed: int,
    budget: Budget = Budget(),  # noqa: B008  frozen
    *,
    timesteps: Positive | None = None,
    num_envs: Positive = 8,
    rollout_steps: Positive = 128,
    update_epochs: Positive = 4,
    batch_size: Positive = 256,
    clip_range: PositiveFloat = 0.2,
    gamma: Fraction = 0.99,
    gae_lambda: Fraction = 0.95,
    value_coef: NonNegativeFloat = 0.5,
    entropy_coef: NonNegativeFloat = 0.0,
    optimizer: OptimizerTable = {"use": "adam", "lr": 2.5e-4, "eps": 1e-5, "fused": True},  # noqa: B006  read only
    schedule: ScheduleTable | None = None,
    max_grad_norm: PositiveFloat | None = 0.5,
) -> OnPolicy:
    """Train a policy and a value function with several epochs per rollout. A step is a rollout and all its updates.

    Args:
        timesteps: training ends after exactly this many timesteps of all environments together, a multiple of
            `num_envs` · `rollout_steps`.
        num_envs: number of environments that are stepped together.
        rollout_steps: steps of every environment per rollout.
        update_epochs: passes over the transitions of a rollout.
        batch_size: transitions per update, at most the `num_envs` · `rollout_steps` of a rollout.
        clip_range: ε; beyond a relative change of this size, an action's probability gets no gradient.
        gamma: discount factor γ.
        gae_lambda: λ of generalized advantage estimation: 1 gives Monte Carlo returns, 0 one-step TD errors.
        value_coef: c1, weight of the value loss.
        entropy_coef: c2, weight of the entropy bonus.
        optimizer: a torch optimizer name, with its parameters.
        schedule: a torch learning rate schedule name, with its parameters; it counts steps.
        max_grad_norm: maximum norm of the gradient of all parameters.
    """
    require_values(model, "rl.ppo")
    if batch_size > num_envs * rollout_steps:
        raise InputError(
            f"batch_size = {batch_size}: expected at most the {num_envs * rollout_steps} transitions of a rollout "
            f"(num_envs = {num_envs}, rollout_steps = {rollout_steps}); a larger one has no effect"
        )
    chosen = build_optimizer(model.parameters(), optimizer)
    loss = PolicyLoss(model, chosen, compute, value_coef, entropy_coef, max_grad_norm)
    return OnPolicy(
        model,
        data,
        compute,
        seed,
        name="rl.ppo",
        update=ClippedUpdate(loss, update_epochs=update_epochs, batch_size=batch_size, clip_range=clip_range),
        optimizer=chosen,
        schedule=schedule,
        num_envs=num_envs,
        rollout_steps=rollout_steps,
        gamma=gamma,
        gae_lambda=gae_lambda,
        timesteps=timesteps,
        budget=budget,
    )
