"""Deep Q-learning with double Q-learning, n-step returns and prioritized replay.

Source: Mnih et al. 2015, "Human-level control through deep reinforcement learning",
https://doi.org/10.1038/nature14236, algorithm 1; double: van Hasselt et al. 2016,
https://arxiv.org/abs/1509.06461; n-step returns and the combination: Hessel et al. 2018, "Rainbow",
https://arxiv.org/abs/1710.02298; prioritized replay: Schaul et al. 2016, https://arxiv.org/abs/1511.05952.
Departs from them: bootstraps from the final observation of a truncated episode (the paper's games have no time
limit); Adam; torch's Huber loss.
Axes: N environments, B transitions of a batch, A actions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from dlpipe.compute import Compute
from dlpipe.errors import InputError
from dlpipe.fields import (
    Fraction,
    NonNegative,
    NotWith,
    OnlyWith,
    OptimizerTable,
    Positive,
    PositiveFloat,
    ScheduleTable,
)
from dlpipe.protocols import Data
from dlpipe.training import Budget, LearningRateSchedule, build_optimizer
from dlpipe_rl.action_heads import Categorical, Gaussian
from dlpipe_rl.checked_env import Array
from dlpipe_rl.environments import Environments, require_environments
from dlpipe_rl.exploration import EpsilonSchedule
from dlpipe_rl.noisy import NoisyLinear
from dlpipe_rl.off_policy import OffPolicy
from dlpipe_rl.priorities import Priorities
from dlpipe_rl.q_learning import QLearning
from dlpipe_rl.randomness import generator, restore, state_of


class DQN(OffPolicy):
    """Learn action values from a replay buffer.

    A step is `train_every` timesteps of every environment and then `gradient_steps` updates. The first step is
    longer: it fills the replay buffer with `learning_starts` timesteps of all environments together before its
    updates. Every step, the first included, makes the same number of updates.

    Args:
        timesteps: training ends after exactly this many timesteps of all environments together: `learning_starts`,
            and a multiple of `num_envs` · `train_every`.
        num_envs: number of environments that are stepped together.
        gamma: discount factor γ.
        n_step: number of rewards that are summed before the value estimate is added.
        double: the online network chooses the action whose value the target network estimates.
        batch_size: transitions per update.
        replay_size: capacity of the replay buffer, in transitions.
        replay_storage: "auto" keeps the frames in memory if they fit, else in a memory-mapped scratch file.
        priority_alpha: α of prioritized replay: 0 samples uniformly, 1 in proportion to the TD error.
        importance_beta: initial β of the importance-sampling correction; it grows linearly to 1 over the run.
        learning_starts: timesteps of all environments together before the first update.
        train_every: timesteps of every environment per step.
        gradient_steps: updates per step.
        target_every: updates between two updates of the target network.
        tau: τ, how far each of them moves the target network to the online network; 1 copies it.
        epsilon_start: initial probability ε of a random action.
        epsilon_end: final ε.
        epsilon_timesteps: timesteps over which ε decays; by default a tenth of those of the run.
        epsilon_schedule: shape of the decay; "constant" is `epsilon_end` throughout. An exponential decay to 0 ends at
            0.001 and then drops to 0.
        loss: "huber" is quadratic for errors below 1 and linear above; "mse" is quadratic.
        optimizer: a torch optimizer name, with its parameters.
        schedule: a torch learning rate schedule name, with its parameters; it counts steps.
        max_grad_norm: maximum norm of the gradient of all parameters.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        compute: Compute,
        seed: int,
        budget: Budget = Budget(),  # noqa: B008  frozen
        *,
        timesteps: Positive | None = None,
        num_envs: Positive = 1,
        gamma: Fraction = 0.99,
        n_step: Positive = 1,
        double: bool = True,
        batch_size: Positive = 128,
        replay_size: Positive = 100_000,
        replay_storage: Literal["auto", "memory", "disk"] = "auto",
        priority_alpha: Fraction = 0.0,
        importance_beta: Annotated[Fraction, OnlyWith("priority_alpha")] = 0.4,
        learning_starts: Positive = 1000,
        train_every: Positive = 1,
        gradient_steps: Positive = 1,
        target_every: Positive = 500,
        tau: Annotated[float, Field(gt=0, le=1)] = 1.0,
        epsilon_start: Annotated[Fraction, NotWith(epsilon_schedule="constant")] = 1.0,
        epsilon_end: Fraction = 0.05,
        epsilon_timesteps: Annotated[NonNegative | None, NotWith(epsilon_schedule="constant")] = None,
        epsilon_schedule: Literal["linear", "exponential", "constant"] = "linear",
        loss: Literal["huber", "mse"] = "huber",
        optimizer: OptimizerTable = {"use": "adam", "fused": True},  # noqa: B006  read only
        schedule: ScheduleTable | None = None,
        max_grad_norm: PositiveFloat | None = None,
    ) -> None:
        environments = require_environments(data, "rl.dqn")
        self._num_actions = _checked_num_actions(model, environments)
        super().__init__(
            model,
            environments,
            compute,
            seed,
            budget,
            num_envs=num_envs,
            replay_size=replay_size,
            replay_storage=replay_storage,
            n_step=n_step,
            gamma=gamma,
            batch_size=batch_size,
            timesteps=timesteps,
            learning_starts=learning_starts,
            train_every=train_every,
            gradient_steps=gradient_steps,
        )
        self._importance_beta = importance_beta
        self._priorities = Priorities(self._replay.slots, priority_alpha) if priority_alpha else None
        built = build_optimizer(model.parameters(), optimizer)
        self._learning = QLearning(
            model, built, compute, max_grad_norm, double=double, loss=loss, target_every=target_every, tau=tau
        )
        if priority_alpha and importance_beta < 1 and self._timesteps is None:
            raise InputError(
                f"importance_beta = {importance_beta} grows to 1 over the timesteps of the run, and only time ends "
                "this run; set timesteps, or importance_beta = 1"
            )
        self._schedule = LearningRateSchedule(built, schedule, total_steps=self._planned_steps)
        self._epsilon = self._epsilon_schedule(epsilon_start, epsilon_end, epsilon_timesteps, epsilon_schedule)
        self._exploration_caveats = _exploration_caveats(model, max(self._epsilon.at(0), epsilon_end))
        self._exploration_rng = generator(seed, "dqn")

    @property
    def caveats(self) -> list[str]:
        """Why a resumed run may differ, and what explores twice."""
        return [*super().caveats, *self._exploration_caveats]

    def log_values(self) -> dict[str, float]:
        """Return learning rate, ε and number of timesteps."""
        return {
            "lr": self._schedule.learning_rate,
            "epsilon": self._epsilon.at(self._timestep),
            "timesteps": float(self._timestep),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return all state except the frames of the replay buffer, which are in `state_blocks`."""
        return {
            **super().state_dict(),
            "learning": self._learning.state_dict(),
            "priorities": self._priorities.state_dict() if self._priorities else None,
            "exploration_rng": state_of(self._exploration_rng),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state; the current episodes are replayed."""
        super().load_state_dict(state)
        self._learning.load_state_dict(state["learning"])
        if self._priorities:
            self._priorities.load_state_dict(state["priorities"])
        restore(self._exploration_rng, state["exploration_rng"])

    def _epsilon_schedule(
        self, start: float, end: float, timesteps: int | None, schedule: Literal["linear", "exponential", "constant"]
    ) -> EpsilonSchedule:
        """Return the schedule of ε; by default it decays over a tenth of the run."""
        if timesteps is None and schedule != "constant":
            if self._timesteps is None:
                raise InputError("epsilon_timesteps is not set, and only time ends this run; set it, or timesteps")
            timesteps = self._timesteps // 10
        return EpsilonSchedule(start, end, timesteps or 0, schedule)

    def _actions(self, obs: Array) -> list[int]:
        """Return N ε-greedy actions."""
        rng, epsilon, count = self._exploration_rng, self._epsilon.at(self._timestep), len(obs)
        explored = [rng.randrange(self._num_actions) if rng.random() < epsilon else -1 for _ in range(count)]
        if -1 not in explored:
            return explored
        with torch.inference_mode():
            greedy: list[int] = self._learning.values(self._on_device(obs)).argmax(1).tolist()
        if count == 1:
            return greedy
        return [best if action < 0 else action for action, best in zip(explored, greedy, strict=True)]

    def _stored(self, added: Sequence[int], removed: Sequence[int]) -> None:
        """Give new transitions a priority, and those that were overwritten none."""
        if self._priorities:
            self._priorities.add(added, removed)

    def _update(self) -> dict[str, Tensor]:
        """Sample a batch, update the weights once and return the ``loss``."""
        if self._priorities is None:
            return {"loss": self._learning.update(self._replay.sample(self._batch_size, self._replay_rng))}
        progress = min(1.0, self._timestep / self._timesteps) if self._timesteps else 1.0  # β is 1
        beta = self._importance_beta + (1 - self._importance_beta) * progress
        slots, weights = self._priorities.sample(self._batch_size, beta, self._replay_rng)
        transitions = self._replay.at(slots)
        loss, errors = self._learning.update_weighted(transitions, weights.to(self._compute.device, non_blocking=True))
        self._priorities.update(slots, errors)
        return {"loss": loss}


def _checked_num_actions(model: nn.Module, data: Environments) -> int:
    """Return the number of actions.

    Raises:
        InputError: actions are continuous, or the model gives no action values.
    """
    facts = data.facts
    if isinstance(getattr(model, "head", None), (Categorical, Gaussian)):
        raise InputError(
            f"rl.dqn needs the values of actions, and the model {type(model).__name__} gives probabilities of actions; "
            "take rl.q_network"
        )
    if not facts["num_actions"]:
        raise InputError(
            f"rl.dqn compares the values of all actions, and the data {data.name} has continuous actions (a Box of "
            f"shape {facts['action_shape']}); take an environment with discrete actions, or the trainer rl.sac"
        )
    return int(facts["num_actions"])


def _exploration_caveats(model: nn.Module, epsilon: float) -> list[str]:
    """Return a caveat if both noise in the weights and random actions explore."""
    if not epsilon or not any(isinstance(module, NoisyLinear) for module in model.modules()):
        return []
    return [
        f"the model explores by noise in its weights, and ε (up to {epsilon}) makes actions random as well; to explore "
        'by noise only, set epsilon_schedule = "constant" and epsilon_end = 0'
    ]
