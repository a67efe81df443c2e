"""Advantage actor-critic: one policy gradient update per short rollout.

Source: Mnih et al. 2016, "Asynchronous Methods for Deep Reinforcement Learning",
https://arxiv.org/abs/1602.01783, algorithm S3, with synchronous environments instead of asynchronous ones.
Departs from it: generalized advantage estimation (λ = 1 is the paper's estimator).
"""

from __future__ import annotations

from torch import nn

from dlpipe.compute import Compute
from dlpipe.fields import Fraction, NonNegativeFloat, OptimizerTable, Positive, PositiveFloat, ScheduleTable
from dlpipe.protocols import Data
from dlpipe.training import Budget, build_optimizer
from dlpipe_rl.on_policy import OnPolicy, require_values
from dlpipe_rl.policy_gradient import PolicyGradient, PolicyLoss


def a2c(
    model: nn.Module,
    data: Data,
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
    """Train a policy and a value function with one update per rollout. A step is a rollout and its update.

    Args:
        timesteps: training ends after exactly this many timesteps of all environments together, a multiple of
            `num_envs` · `rollout_steps`.
        num_envs: number of environments that are stepped together.
        rollout_steps: steps of every environment per rollout.
        gamma: discount factor γ.
        gae_lambda: λ of generalized advantage estimation: 1 gives Monte Carlo returns, 0 one-step TD errors.
        normalize_advantages: scale the advantages of a rollout to mean 0 and standard deviation 1.
        value_coef: c1, weight of the value loss.
        entropy_coef: c2, weight of the entropy bonus.
        optimizer: a torch optimizer name, with its parameters.
        schedule: a torch learning rate schedule name, with its parameters; it counts steps.
        max_grad_norm: maximum norm of the gradient of all parameters.
    """
    require_values(model, "rl.a2c")
    chosen = build_optimizer(model.parameters(), optimizer)
    loss = PolicyLoss(model, chosen, compute, value_coef, entropy_coef, max_grad_norm)
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
