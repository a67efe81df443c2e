"""REINFORCE: one policy gradient update per batch of whole episodes.

Source: Williams 1992, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement
Learning", https://doi.org/10.1007/BF00992696.
Departs from it: the baseline is a learned value function; an action is credited only with the rewards after it;
with a baseline, the value of the final observation stands for the rest of a truncated episode.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from dlpipe.compute import Compute
from dlpipe.errors import InputError
from dlpipe.fields import Fraction, NonNegativeFloat, OptimizerTable, Positive, PositiveFloat, ScheduleTable
from dlpipe.protocols import Data
from dlpipe.training import Budget, build_optimizer
from dlpipe_rl.on_policy import OnPolicy
from dlpipe_rl.policy_gradient import PolicyGradient, PolicyLoss


def reinforce(
    model: nn.Module,
    data: Data,
    compute: Compute,
    seed: int,
    budget: Budget = Budget(),  # noqa: B008  frozen
    *,
    episodes: Positive = 16,
    gamma: Fraction = 0.99,
    baseline: Literal["value", "none"] = "value",
    normalize_advantages: bool = True,
    value_coef: NonNegativeFloat = 0.5,
    entropy_coef: NonNegativeFloat = 0.01,
    optimizer: OptimizerTable = {"use": "adam", "lr": 3e-3, "fused": True},  # noqa: B006  read only
    schedule: ScheduleTable | None = None,
    max_grad_norm: PositiveFloat | None = None,
) -> OnPolicy:
    """Train a policy on whole episodes. A step is a batch of episodes and its update.

    Args:
        episodes: episodes per step, each in an environment of its own.
        gamma: discount factor γ.
        baseline: "value" subtracts a learned value (needs rl.actor_critic); "none" subtracts nothing.
        normalize_advantages: scale the advantages of a step to mean 0 and standard deviation 1.
        value_coef: c1, weight of the value loss.
        entropy_coef: c2, weight of the entropy bonus.
        optimizer: a torch optimizer name, with its parameters.
        schedule: a torch learning rate schedule name, with its parameters; it counts steps.
        max_grad_norm: maximum norm of the gradient of all parameters.
    """
    if (baseline == "value") != hasattr(model, "value"):
        fits = "rl.actor_critic" if baseline == "value" else "rl.policy_network"
        raise InputError(f'baseline = "{baseline}" does not fit the model {type(model).__name__}; take {fits}')
    chosen = build_optimizer(model.parameters(), optimizer)
    loss = PolicyLoss(model, chosen, compute, value_coef, entropy_coef, max_grad_norm)
    return OnPolicy(
        model,
        data,
        compute,
        seed,
        name="rl.reinforce",
        update=PolicyGradient(loss, normalize_advantages=normalize_advantages),
        optimizer=chosen,
        schedule=schedule,
        num_envs=episodes,
        rollout_steps=None,
        gamma=gamma,
        gae_lambda=1.0,
        budget=budget,
    )
