"""What all trainers have in common that learn from the moves of the policy as it is now, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dlpipe.compute import Compute, derived_seed
from dlpipe.errors import InputError
from dlpipe.protocols import Goal
from dlpipe.training import Budget, LearningRateSchedule
from dlpipe_rl.advantages import advantages
from dlpipe_rl.environments import Environments
from dlpipe_rl.rollout import Collector, Rollout
from dlpipe_rl.told import told


@dataclass(frozen=True)
class Lesson:
    """What is to be learned from M moves.

    Args:
        obs: (M, …).
        actions: (M, …).
        log_probs: (M,) of the actions, by the policy that took them.
        advantages: (M,).
        returns: (M,) what the values should have been.
    """

    obs: Tensor
    actions: Tensor
    log_probs: Tensor
    advantages: Tensor
    returns: Tensor

    def __len__(self) -> int:
        return len(self.obs)

    def at(self, rows: Tensor) -> Lesson:
        """Return some of the moves."""
        return Lesson(*(column[rows] for column in vars(self).values()))


#: Learns from moves and returns numbers to tell; it draws nothing at random but from the generator.
Update = Callable[[Lesson, torch.Generator], dict[str, Tensor]]


class OnPolicy:
    """Play, learn from what was played, play again; one step each.

    Args:
        update: learns from the moves of one step.
        rollout_steps: of every player in a step; None for a whole episode of every player.
        gamma: what a reward is worth a timestep later.
        gae_lambda: λ of the advantages.
        schedule: of the learning rate; it counts steps.
        timesteps: moves of all players together after which training is over.
        budget: how long the run may train otherwise.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Environments,
        compute: Compute,
        seed: int,
        *,
        name: str,
        update: Update,
        optimizer: Optimizer,
        schedule: Mapping[str, Any] | None,
        num_envs: int,
        rollout_steps: int | None,
        gamma: float,
        gae_lambda: float,
        budget: Budget,
        timesteps: int | None = None,
    ) -> None:
        if not hasattr(model, "head"):
            raise InputError(
                f"[model] {type(model).__name__} does not say how probable its actions are, as {name} needs; take "
                "rl.actor_critic, or rl.policy_network without a baseline"
            )
        self.model, self.steps_per_epoch, self.caveats = model, None, data.caveats()
        self._update, self._optimizer = update, optimizer
        self._rollout_steps, self._gamma, self._gae_lambda = rollout_steps, gamma, gae_lambda
        self._players = data.training_players(num_envs, seed)
        self._collector = Collector(model, self._players, compute, derived_seed(seed, "actions"))
        self._random = torch.Generator().manual_seed(derived_seed(seed, "on policy"))
        self.total_steps = -(-timesteps // (rollout_steps * num_envs)) if timesteps and rollout_steps else None
        total = budget.total_steps(None, self.total_steps)
        self._schedule = LearningRateSchedule(optimizer, schedule, total_steps=total)

    def steps(self) -> Iterator[dict[str, Tensor]]:
        """Play and learn, and yield what the update tells, and ``return`` and ``length`` of ended episodes."""
        while True:
            if not self.model.training:  # the caller may have evaluated since
                self.model.train()
            rollout = (
                self._collector.episodes()
                if self._rollout_steps is None
                else self._collector.moves(self._rollout_steps)
            )
            metrics = self._update(self._lesson(rollout), self._random)
            self._schedule.step()
            yield metrics | told(rollout.episodes)

    def log_values(self) -> dict[str, float]:
        """Return learning rate and number of timesteps."""
        return {"lr": self._schedule.learning_rate, "timesteps": float(self._collector.timestep)}

    def on_score(self, score: float, goal: Goal) -> None:
        """Pass the monitored metric on to the schedule."""
        self._schedule.on_score(score, goal)

    def state_dict(self) -> dict[str, Any]:
        """Return optimizer, schedule, environments, randomness and counts."""
        return {
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "collector": self._collector.state_dict(),
            "random": self._random.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state; the environments are played again up to where they were."""
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._collector.load_state_dict(state["collector"])
        self._random.set_state(state["random"])

    def close(self) -> None:
        """Give back the environments."""
        self._players.close()

    def _lesson(self, rollout: Rollout) -> Lesson:
        found = advantages(rollout, self._gamma, self._gae_lambda)
        usable = rollout.usable
        columns = (rollout.obs, rollout.actions, rollout.log_probs, found, found + rollout.values)
        return Lesson(*(column[usable] for column in columns))


def require_values(model: nn.Module, name: str) -> None:
    """Refuse a model that does not say what it expects to collect."""
    if not (hasattr(model, "head") and hasattr(model, "value")):
        raise InputError(
            f"[model] {type(model).__name__} has no policy with values beside it, as {name} needs; take rl.actor_critic"
        )
