"""The training loop of REINFORCE, A2C and PPO: collect a rollout with the current policy, update, discard it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dlpipe.compute import Compute, derived_seed
from dlpipe.errors import InputError
from dlpipe.protocols import Data, Goal
from dlpipe.training import Budget, LearningRateSchedule, load_optimizer
from dlpipe_rl.advantages import advantages
from dlpipe_rl.environments import require_environments
from dlpipe_rl.episode_metrics import WEIGHTS, episode_means
from dlpipe_rl.randomness import torch_generator
from dlpipe_rl.rollout import Rollout, RolloutCollector
from dlpipe_rl.running_normalization import normalizations
from dlpipe_rl.timesteps import steps_for


@dataclass(frozen=True)
class RolloutBatch:
    """M transitions of a rollout, with their advantages and value targets.

    Args:
        obs: (M, …).
        actions: (M, …).
        log_probs: (M,) of the actions, under the policy that took them.
        advantages: (M,).
        returns: (M,) the targets of the values.
    """

    obs: Tensor
    actions: Tensor
    log_probs: Tensor
    advantages: Tensor
    returns: Tensor

    def __len__(self) -> int:
        return len(self.obs)

    def at(self, rows: Tensor) -> RolloutBatch:
        """Return the transitions at `rows`, on their device."""
        return RolloutBatch(*(column.index_select(0, rows) for column in vars(self).values()))


#: Updates the model from a rollout and returns metrics; all its randomness comes from the generator.
Update = Callable[[RolloutBatch, torch.Generator], dict[str, Tensor]]


class OnPolicy:
    """Collect a rollout, update the model, repeat. One rollout and its update are one step.

    Args:
        name: of the trainer, for messages.
        update: updates the model from one rollout.
        rollout_steps: steps of every environment per rollout; None for a whole episode of every environment.
        gamma: discount factor γ.
        gae_lambda: λ of generalized advantage estimation.
        schedule: of the learning rate; it counts steps.
        timesteps: training ends after exactly this many timesteps of all environments together, a multiple of
            `num_envs` · `rollout_steps`.
        budget: the other limits of the run.
    """

    metric_weights = WEIGHTS

    def __init__(
        self,
        model: nn.Module,
        data: Data,
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
        envs = require_environments(data, name)
        if not _has_action_head(model):
            raise InputError(
                f"{name} needs action probabilities, and the model {type(model).__name__} has no action head; take "
                "rl.actor_critic, or rl.policy_network without a baseline"
            )
        self.model, self.steps_per_epoch = model, None
        self._update, self._optimizer = update, optimizer
        self._normalizations = normalizations(model)
        self._rollout_steps, self._gamma, self._gae_lambda = rollout_steps, gamma, gae_lambda
        self._data, self._envs = envs, envs.training_envs(num_envs, seed)
        self._collector = RolloutCollector(model, self._envs, compute, derived_seed(seed, "actions"))
        self._minibatch_rng = torch_generator(seed, "on policy")
        self.total_steps = None
        if timesteps is not None and rollout_steps is not None:
            each, why = rollout_steps * num_envs, f"num_envs = {num_envs}, rollout_steps = {rollout_steps}"
            self.total_steps = steps_for(timesteps, first=each, each=each, why=why)
        total = budget.total_steps(None, self.total_steps)
        self._schedule = LearningRateSchedule(optimizer, schedule, total_steps=total)

    @property
    def caveats(self) -> list[str]:
        """Why a resumed run may differ."""
        return self._data.caveats()

    def steps(self) -> Iterator[dict[str, Tensor]]:
        """Yield the metrics of each update, with mean ``return`` and ``length`` of the ``episodes`` that ended."""
        while True:
            if not self.model.training:  # the caller may have evaluated since
                self.model.train()
            rollout = self._collect()
            batch = self._batch(rollout)
            metrics = self._update(batch, self._minibatch_rng)
            for normalization in self._normalizations:
                normalization.update(batch.obs)
            self._schedule.step()
            yield metrics | episode_means(rollout.episodes)

    def log_values(self) -> dict[str, float]:
        """Return learning rate and number of timesteps."""
        return {"lr": self._schedule.learning_rate, "timesteps": float(self._collector.timestep)}

    def on_score(self, score: float, goal: Goal) -> None:
        """Pass the monitored metric to the schedule."""
        self._schedule.on_score(score, goal)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of optimizer, schedule, environments and random generators."""
        return {
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "collector": self._collector.state_dict(),
            "minibatch_rng": self._minibatch_rng.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state; the current episodes are replayed."""
        load_optimizer(self._optimizer, state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._collector.load_state_dict(state["collector"])
        if saved := state["collector"]["envs"]:
            self._data.check_restored(self._envs, saved)
        self._minibatch_rng.set_state(state["minibatch_rng"])

    def close(self) -> None:
        """Close the environments."""
        self._envs.close()

    def _collect(self) -> Rollout:
        if self._rollout_steps is None:
            return self._collector.collect_episodes()
        return self._collector.collect_steps(self._rollout_steps)

    def _batch(self, rollout: Rollout) -> RolloutBatch:
        """Return the unmasked transitions of a rollout with their advantages and value targets."""
        estimates = advantages(rollout, self._gamma, self._gae_lambda)
        columns = (rollout.obs, rollout.actions, rollout.log_probs, estimates, estimates + rollout.values)
        batch = RolloutBatch(*(column.flatten(0, 1) for column in columns))
        if rollout.mask.all():
            return batch
        # As row numbers that the host knows: how many there are in a mask on a GPU is known only when it is done.
        return batch.at(rollout.mask.flatten().nonzero().squeeze(1).to(estimates.device, non_blocking=True))


def require_values(model: nn.Module, name: str) -> None:
    """Raise InputError if the model has no policy or no value function."""
    if not (_has_action_head(model) and hasattr(model, "value")):
        raise InputError(
            f"{name} needs a policy with a value function, and the model {type(model).__name__} is not one; take "
            "rl.actor_critic"
        )


def _has_action_head(model: nn.Module) -> bool:
    """Return whether a model has an `ActionHead`; that of rl.soft_actor_critic only samples with a density."""
    return hasattr(getattr(model, "head", None), "log_prob")
