"""REINFORCE: whole episodes, then one step along the gradient.

Source: Williams 1992, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement
Learning", https://doi.org/10.1007/BF00992696.
Departs from it: the baseline is a value that is learned beside the policy; each action answers only for the
rewards after it; where an episode was cut off, the baseline's value stands for the rest.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from dlpipe.compute import Compute
from dlpipe.errors import InputError
from dlpipe.fields import Fraction, NonNegativeFloat, OptimizerTable, Positive, PositiveFloat, ScheduleTable
from dlpipe.training import Budget, build_optimizer
from dlpipe_rl.environments import Environments
from dlpipe_rl.on_policy import OnPolicy
from dlpipe_rl.policy_gradient import Loss, PolicyGradient


def reinforce(
    model: nn.Module,
    data: Environments,
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
    """Make what went well in whole episodes more probable.

    Args:
        episodes: played at the same time in each step, one in each environment.
        gamma: what a reward is worth a timestep later.
        baseline: "value" compares what followed with what was expected, which wants rl.actor_critic; "none"
            compares it with nothing.
        normalize_advantages: give the advantages of a step a mean of 0 and a standard deviation of 1.
        value_coef: of the squared error of the values in the loss.
        entropy_coef: of the bonus on being undecided.
        optimizer: one of torch's by name, with its own parameters.
        schedule: of the learning rate, one of torch's by name; it counts steps.
        max_grad_norm: clip the norm of all gradients together to this value.
    """
    if (baseline == "value") != hasattr(model, "value"):
        fits = "rl.actor_critic" if baseline == "value" else "rl.policy_network"
        raise InputError(f'[trainer] baseline = "{baseline}" does not fit {type(model).__name__}; take {fits}')
    chosen = build_optimizer(model.parameters(), optimizer)
    loss = Loss(model, chosen, compute, value_coef, entropy_coef, max_grad_norm)
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
