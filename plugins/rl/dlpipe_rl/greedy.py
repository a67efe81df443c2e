"""Playing whole episodes with what a model has learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dlpipe.compute import Compute
from dlpipe.data import ModelCaller, own_method
from dlpipe_rl.episodes import Array, Episode
from dlpipe_rl.players import Players

#: Maps observations (B, …) to actions (B, …) and to (B,) what the model expects from there on, if it says so.
Policy = Callable[[Array], tuple[Array, Array | None]]


@dataclass
class Played:
    """An episode, move by move.

    Args:
        values: what the model expected before each move, discounted; empty where it says nothing.
    """

    episode: Episode
    actions: list[Any] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


def greedy(model: nn.Module, compute: Compute) -> Policy:
    """Return the policy that takes a model's best action, its ``predict``'s or the one with the highest output."""
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


def play_together(policy: Policy, players: Sequence[Players]) -> list[Played]:
    """Let each of `players`, who plays one environment, play one episode; all of them at the same time."""
    finished: dict[int, Played] = {}
    playing = {number: Played(Episode(0, 0, 0, False)) for number in range(len(players))}
    seen = [player.begin() for player in players]
    while playing:
        actions, values = policy(np.concatenate([seen[number] for number in playing]))
        for row, (number, played) in enumerate(list(playing.items())):
            moves = players[number].step(actions[row : row + 1])
            seen[number] = moves.obs
            played.actions.append(actions[row])
            played.rewards.append(moves.rewards[0])
            if values is not None:
                played.values.append(float(values[row]))
            if moves.episodes:
                played.episode = moves.episodes[0]
                finished[number] = playing.pop(number)
    return [finished[number] for number in range(len(players))]
