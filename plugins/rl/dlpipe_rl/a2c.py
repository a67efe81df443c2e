"""Advantage actor-critic: a few moves of many players, then one step along the gradient.

Source: Mnih et al. 2016, "Asynchronous Methods for Deep Reinforcement Learning",
https://arxiv.org/abs/1602.01783, algorithm S3, with players that move together instead of asynchronous ones.
Departs from it: advantages with a trace (λ = 1 is the paper's).
"""

from __future__ import annotations

from torch import nn

from dlpipe.compute import Compute
from dlpipe.fields import Fraction, NonNegativeFloat, OptimizerTable, Positive, PositiveFloat, ScheduleTable
from dlpipe.training import Budget, build_optimizer
from dlpipe_rl.environments import Environments
from dlpipe_rl.on_policy import OnPolicy, require_values
from dlpipe_rl.policy_gradient import Loss, PolicyGradient


def a2c(
    model: nn.Module,
    data: Environments,
    compute: Compute,
    seed: int,
    budget: Budget = Budget(),  # noqa: B008  frozen
    *,
    timesteps: Positive | None = None,
    num_envs: Positive = 8,
    rollout_steps: Positive = 5,
    gamma: Fraction = 0.99,
    gae_lambda: Fraction = 1.0,
    normalize_advantages: bool = False,
    value_coef: NonNegativeFloat = 0.5,
    entropy_coef: NonNegativeFloat = 0.01,
    optimizer: OptimizerTable = {"use": "rmsprop", "lr": 7e-4, "eps": 1e-5},  # noqa: B006  read only
    schedule: ScheduleTable | None = None,
    max_grad_norm: PositiveFloat | None = 0.5,
) -> OnPolicy:
    """Make what went better than expected more probable, a few moves at a time.

    Args:
        timesteps: moves of all players together after which training is over.
        num_envs: environments that are played together.
        rollout_steps: of every player per step.
        gamma: what a reward is worth a timestep later.
        gae_lambda: λ of the advantages: 1 trusts the rewards that followed, 0 the value after one timestep.
        normalize_advantages: give the advantages of a step a mean of 0 and a standard deviation of 1.
        value_coef: of the squared error of the values in the loss.
        entropy_coef: of the bonus on being undecided.
        optimizer: one of torch's by name, with its own parameters.
        schedule: of the learning rate, one of torch's by name; it counts steps.
        max_grad_norm: clip the norm of all gradients together to this value.
    """
    require_values(model, "rl.a2c")
    chosen = build_optimizer(model.parameters(), optimizer)
    loss = Loss(model, chosen, compute, value_coef, entropy_coef, max_grad_norm)
    return OnPolicy(
        model,
        data,
        compute,
        seed,
        name="rl.a2c",
        update=PolicyGradient(loss, normalize_advantages=normalize_advantages),
        optimizer=chosen,
        schedule=schedule,
        num_envs=num_envs,
        rollout_steps=rollout_steps,
        gamma=gamma,
        gae_lambda=gae_lambda,
        timesteps=timesteps,
        budget=budget,
    )
