"""Soft actor-critic: continuous actions, learned from a replay buffer with as much entropy as possible.

Sources: Haarnoja et al. 2018, https://arxiv.org/abs/1801.01290 and "Soft Actor-Critic Algorithms and Applications",
https://arxiv.org/abs/1812.05905, algorithm 1.
Departs from them: bootstraps from the final observation of a truncated episode; further critics, if asked for.
Axes: N environments, K components of an action.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from dlpipe.compute import Compute, derived_seed
from dlpipe.errors import InputError
from dlpipe.fields import Fraction, OnlyWith, OptimizerTable, Positive, PositiveFloat, ScheduleTable
from dlpipe.protocols import Data
from dlpipe.training import Budget, LearningRateSchedule
from dlpipe_rl.checked_env import Array
from dlpipe_rl.environments import require_environments
from dlpipe_rl.off_policy import OffPolicy
from dlpipe_rl.soft_actor_critic import SoftActorCritic, to_bounds
from dlpipe_rl.soft_learning import SoftLearning


class SAC(OffPolicy):
    """Learn a policy of continuous actions, and their values, from a replay buffer.

    A step is `train_every` timesteps of every environment and then `gradient_steps` updates. The first step is
    longer: it fills the replay buffer with `learning_starts` timesteps of all environments together, of uniformly
    random actions, before its updates.

    Args:
        timesteps: training ends after exactly this many timesteps of all environments together: `learning_starts`,
            and a multiple of `num_envs` · `train_every`.
        num_envs: number of environments that are stepped together.
        gamma: discount factor γ.
        batch_size: transitions per update.
        replay_size: capacity of the replay buffer, in transitions.
        replay_storage: "auto" keeps the frames in memory if they fit, else in a memory-mapped scratch file.
        learning_starts: timesteps of all environments together before the first update, with random actions.
        train_every: timesteps of every environment per step.
        gradient_steps: updates per step.
        target_every: updates between two updates of the target critics.
        tau: τ, how far each of them moves the target critics to the critics; 1 copies them.
        entropy_coef: α, weight of the entropy relative to that of the rewards; "auto" learns it, from 1 on.
        target_entropy: the mean entropy, in nats, of actions scaled to -1 … 1, for which α is learned; less than the
            K log 2 of uniformly random ones, and -K by default.
        optimizer: a torch optimizer name, with its parameters; of the policy, the critics and α.
        schedule: a torch learning rate schedule name, with its parameters; it counts steps.
        max_grad_norm: maximum norm of the gradient of all critics, and of that of the policy.
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
        batch_size: Positive = 256,
        replay_size: Positive = 1_000_000,
        replay_storage: Literal["auto", "memory", "disk"] = "auto",
        learning_starts: Positive = 1000,
        train_every: Positive = 1,
        gradient_steps: Positive = 1,
        target_every: Positive = 1,
        tau: Annotated[float, Field(gt=0, le=1)] = 0.005,
        entropy_coef: PositiveFloat | Literal["auto"] = "auto",
        target_entropy: Annotated[float | None, OnlyWith(entropy_coef="auto")] = None,
        optimizer: OptimizerTable = {"use": "adam", "lr": 3e-4, "fused": True},  # noqa: B006  read only
        schedule: ScheduleTable | None = None,
        max_grad_norm: PositiveFloat | None = None,
    ) -> None:
        environments = require_environments(data, "rl.sac")
        if not isinstance(model, SoftActorCritic):
            raise InputError(
                f"rl.sac needs a policy of bounded actions and their values, and the model {type(model).__name__} is "
                "none; take rl.soft_actor_critic"
            )
        super().__init__(
            model,
            environments,
            compute,
            seed,
            budget,
            num_envs=num_envs,
            replay_size=replay_size,
            replay_storage=replay_storage,
            gamma=gamma,
            batch_size=batch_size,
            timesteps=timesteps,
            learning_starts=learning_starts,
            train_every=train_every,
            gradient_steps=gradient_steps,
        )
        self._agent = model
        self._rng = torch.Generator(compute.device).manual_seed(derived_seed(seed, "actions"))
        self._bounds = model.low.cpu().numpy(), model.high.cpu().numpy()  # the host scales the actions
        if target_entropy is None:
            target_entropy = -float(len(model.low))
        _check_entropy(entropy_coef, target_entropy, len(model.low))
        self._learning = SoftLearning(
            model,
            optimizer,
            compute,
            self._rng,
            entropy_coef=1.0 if entropy_coef == "auto" else entropy_coef,
            target_entropy=target_entropy if entropy_coef == "auto" else None,
            target_every=target_every,
            tau=tau,
            max_grad_norm=max_grad_norm,
        )
        self._schedule = LearningRateSchedule(self._learning.optimizer, schedule, total_steps=self._planned_steps)

    def state_dict(self) -> dict[str, Any]:
        """Return all state except the frames of the replay buffer, which are in `state_blocks`."""
        return {**super().state_dict(), "learning": self._learning.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state; the current episodes are replayed."""
        super().load_state_dict(state)
        self._learning.load_state_dict(state["learning"])

    def _actions(self, obs: Array) -> Array:
        """Return N actions (N, K) from -1 to 1, sampled from the policy; uniformly random ones before it learns."""
        with torch.inference_mode():
            if self._timestep < self._learning_starts:
                shape = len(obs), len(self._agent.low)
                actions = 2 * torch.rand(shape, generator=self._rng, device=self._compute.device) - 1
            else:
                actions, _ = self._learning.sample(self._on_device(obs))
        return actions.cpu().numpy()

    def _in_environment(self, actions: Array) -> Array:  # type: ignore[override]  # continuous ones only
        """Return N actions (N, *action_shape) in the units of the environment."""
        return to_bounds(actions, *self._bounds).reshape(-1, *self._agent.action_shape)

    def _update(self) -> dict[str, Tensor]:
        """Sample a batch, update all weights once and return the metrics."""
        return self._learning.update(self._replay.sample(self._batch_size, self._replay_rng))


def _check_entropy(entropy_coef: float | Literal["auto"], target_entropy: float, components: int) -> None:
    """Raise InputError if the weight of the entropy is not finite, or no weight is enough for its target."""
    if entropy_coef != "auto":
        if not math.isfinite(entropy_coef):
            raise InputError(f"entropy_coef = {entropy_coef}: expected a finite number")
        return
    largest = components * math.log(2)
    if not -math.inf < target_entropy < largest:  # NaN, too
        raise InputError(
            f"target_entropy = {target_entropy}: expected less than {largest:.4g}, the entropy of uniformly random "
            f"actions of {components} components; the default is {-components}"
        )
