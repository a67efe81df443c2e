"""Proximal policy optimization: several passes over the same moves, none of them far from the old policy.

Source: Schulman et al. 2017, "Proximal Policy Optimization Algorithms", https://arxiv.org/abs/1707.06347,
equation 7; advantages normalised per minibatch as in Huang et al. 2022,
https://iclr-blog-track.github.io/2022/03/25/ppo-implementation-details/.
Departs from them: the loss of the values is not clipped; an early end of the passes by KL divergence is left out.
Axes: M moves.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlpipe.compute import Compute
from dlpipe.fields import Fraction, NonNegativeFloat, OptimizerTable, Positive, PositiveFloat, ScheduleTable
from dlpipe.training import Budget, build_optimizer
from dlpipe_rl.environments import Environments
from dlpipe_rl.on_policy import Lesson, OnPolicy, require_values
from dlpipe_rl.policy_gradient import Loss, normalized


class Clipped:
    """Passes over the moves of a step in minibatches; what leads far from the old policy has no gradient.

    Args:
        update_epochs: over all moves.
        batch_size: moves per update; the last minibatch of a pass may be smaller.
        clip_range: by how much the probability of an action may change, as a share, before its gradient ends.
    """

    def __init__(self, loss: Loss, *, update_epochs: int, batch_size: int, clip_range: float) -> None:
        self._loss, self._update_epochs, self._batch_size, self._clip_range = (
            loss,
            update_epochs,
            batch_size,
            clip_range,
        )

    def __call__(self, lesson: Lesson, generator: torch.Generator) -> dict[str, Tensor]:
        """Update the weights; return the means of what the updates tell."""
        told = [
            self._update(lesson.at(rows))
            for _ in range(self._update_epochs)
            for rows in torch.randperm(len(lesson), generator=generator).split(self._batch_size)
        ]
        return {name: torch.stack([numbers[name] for numbers in told]).mean() for name in told[0]}

    def _update(self, lesson: Lesson) -> dict[str, Tensor]:
        log_probs, entropies, values = self._loss.judge(lesson)
        ratios = (log_probs - lesson.log_probs).exp()
        policy_loss = clipped_loss(ratios, normalized(lesson.advantages), self._clip_range)
        outside = ((ratios - 1).abs() > self._clip_range).float().mean().detach()
        return self._loss.step(policy_loss, entropies, values, lesson.returns) | {"clipped": outside}


def clipped_loss(ratios: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
    """Return the loss of actions (M,) that are now `ratios` times as probable as they were."""
    return -torch.minimum(ratios * advantages, ratios.clamp(1 - clip_range, 1 + clip_range) * advantages).mean()


def ppo(
    model: nn.Module,
    data: Environments,
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
    """Make what went better than expected more probable, in several passes that stay near the old policy.

    Args:
        timesteps: moves of all players together after which training is over.
        num_envs: environments that are played together.
        rollout_steps: of every player per step.
        update_epochs: over the moves of a step.
        batch_size: moves per update.
        clip_range: by how much the probability of an action may change, as a share, before its gradient ends.
        gamma: what a reward is worth a timestep later.
        gae_lambda: λ of the advantages: 1 trusts the rewards that followed, 0 the value after one timestep.
        value_coef: of the squared error of the values in the loss.
        entropy_coef: of the bonus on being undecided.
        optimizer: one of torch's by name, with its own parameters.
        schedule: of the learning rate, one of torch's by name; it counts steps.
        max_grad_norm: clip the norm of all gradients together to this value.
    """
    require_values(model, "rl.ppo")
    chosen = build_optimizer(model.parameters(), optimizer)
    loss = Loss(model, chosen, compute, value_coef, entropy_coef, max_grad_norm)
    return OnPolicy(
        model,
        data,
        compute,
        seed,
        name="rl.ppo",
        update=Clipped(loss, update_epochs=update_epochs, batch_size=batch_size, clip_range=clip_range),
        optimizer=chosen,
        schedule=schedule,
        num_envs=num_envs,
        rollout_steps=rollout_steps,
        gamma=gamma,
        gae_lambda=gae_lambda,
        timesteps=timesteps,
        budget=budget,
    )
