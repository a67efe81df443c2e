"""Play whole episodes with the greedy policy of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dlpipe.compute import Compute
from dlpipe.data import ModelCaller, own_method
from dlpipe.progress import tracked
from dlpipe_rl.checked_env import Array, Episode
from dlpipe_rl.vector_env import VectorEnv

#: Maps observations (B, …) to actions (B, …), and to the values (B,) of the observations, or None without values.
Policy = Callable[[Array], tuple[Array, Array | None]]


@dataclass
class EpisodeTrace:
    """An episode, step by step.

    Args:
        values: the model's estimate of the discounted return before each step; empty if the model has no values.
    """

    episode: Episode
    actions: list[Any] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


def greedy_policy(model: nn.Module, compute: Compute) -> Policy:
    """Return the greedy policy of a model: the action of its ``predict``, or that with the highest output."""
    caller = ModelCaller(model, ("obs",))
    value_of = own_method(model, "value")
    model.eval()

    def act(obs: Array) -> tuple[Array, Array | None]:
        with torch.inference_mode(), compute.autocast():
            batch = {"obs": torch.from_numpy(obs).to(compute.device)}
            outputs = caller.outputs(batch)
            actions = caller.predictions(outputs, batch)
            values: Tensor | None = None if value_of is None else value_of(outputs)
        return actions.cpu().numpy(), None if values is None else values.float().cpu().numpy()

    return act


def play_episodes(policy: Policy, envs: Sequence[VectorEnv]) -> list[EpisodeTrace]:
    """Play one episode in each of `envs`, which hold a single environment each; all at the same time."""
    finished: dict[int, EpisodeTrace] = {}
    running = {number: EpisodeTrace(Episode(0, 0, 0, False)) for number in range(len(envs))}
    obs = [env.reset() for env in envs]
    for _ in tracked(iter(lambda: bool(running), False), f"playing {len(envs)} episodes: timestep"):
        actions, values = policy(np.concatenate([obs[number] for number in running]))
        for row, (number, trace) in enumerate(list(running.items())):
            result = envs[number].step(actions[row : row + 1])
            obs[number] = result.obs
            trace.actions.append(actions[row])
            trace.rewards.append(result.rewards[0])
            if values is not None:
                trace.values.append(float(values[row]))
            if result.episodes:
                trace.episode = result.episodes[0]
                finished[number] = running.pop(number)
    return [finished[number] for number in range(len(envs))]
