"""Moves that were just made with a policy, to learn from once.

Axes: T timesteps, N players.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dlpipe.compute import Compute
from dlpipe_rl.action_heads import ActionHead
from dlpipe_rl.episodes import Array, Episode
from dlpipe_rl.players import Moves, Players


@dataclass(frozen=True)
class Rollout:
    """T moves of every player.

    Args:
        obs: (T, N, …) what was seen before each move.
        actions: (T, N, …).
        log_probs: (T, N) of the actions, by the policy that took them.
        values: (T, N) expected before each move; zeros where the model has none.
        values_after: (T, N) expected after it: 0 where the episode terminated, and where it was cut off the
            value of what it closed with.
        rewards: (T, N).
        ended: (T, N) whether the episode ended with this move.
        usable: (T, N) whether the move is to be learned from.
        episodes: that ended in it.
    """

    obs: Tensor
    actions: Tensor
    log_probs: Tensor
    values: Tensor
    values_after: Tensor
    rewards: Tensor
    ended: Tensor
    usable: Tensor
    episodes: tuple[Episode, ...]


class Collector:
    """Plays with a policy that samples its actions.

    Args:
        model: with a `dlpipe_rl.action_heads.ActionHead` as ``head``.
        seed: of the actions that are sampled.
    """

    def __init__(self, model: nn.Module, players: Players, compute: Compute, seed: int) -> None:
        self._model, self._players, self._compute = model, players, compute
        self._random = torch.Generator(compute.device).manual_seed(seed)
        self._has_value = hasattr(model, "value")
        self._obs: Array | None = None
        self.timestep = 0

    def moves(self, count: int) -> Rollout:
        """Make `count` moves of every player."""
        if self._obs is None:
            self._obs = self._players.begin()
        made = _Made()
        for _ in range(count):
            self._move(made)
        episodes = [episode for moves in made.moves for episode in moves.episodes.values()]
        return self._rollout(made, np.ones((count, len(self._players)), bool), episodes)

    def episodes(self) -> Rollout:
        """Let every player play one whole episode; what is played on while others go on is not used."""
        self._obs = self._players.begin()
        made = _Made()
        over = np.zeros(len(self._players), bool)
        usable: list[Array] = []
        episodes: list[Episode] = []
        while not over.all():
            usable.append(~over)
            moves = self._move(made)
            episodes += [episode for player, episode in moves.episodes.items() if not over[player]]
            over[list(moves.last)] = True
        return self._rollout(made, np.stack(usable), episodes)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next moves depend on, but the model."""
        begun = self._obs is not None
        return {
            "players": self._players.state() if begun else None,
            "random": self._random.get_state(),
            "timestep": self.timestep,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state."""
        self._obs = self._players.restore(state["players"]) if state["players"] else None
        self._random.set_state(state["random"])
        self.timestep = state["timestep"]

    def _move(self, made: _Made) -> Moves:
        assert self._obs is not None
        seen = torch.from_numpy(self._obs.copy()).to(self._compute.device)
        choice, value = self._outputs(seen)
        head: ActionHead = self._model.head  # type: ignore[assignment]
        with torch.no_grad():
            actions = head.sample(choice, self._random)
            log_prob = head.log_prob(choice, actions)
        moves = self._players.step(actions.cpu().numpy())
        self._obs = moves.obs
        self.timestep += len(self._players)
        closing = value.new_zeros(len(value))  # values of what was seen where an episode was cut off
        if cut := [player for player in moves.last if moves.truncated[player]]:
            seen_last = torch.from_numpy(np.stack([moves.last[player] for player in cut]))
            closing[cut] = self._outputs(seen_last.to(self._compute.device))[1]
        for parts, part in zip(made.tensors(), (seen, actions, log_prob, value, closing), strict=True):
            parts.append(part)
        made.moves.append(moves)
        return moves

    def _outputs(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the policy chooses from, and the values, zeros where the model has none."""
        with torch.no_grad(), self._compute.autocast():
            outputs = self._model(obs)
        if not self._has_value:
            return outputs.float(), torch.zeros(len(obs), device=obs.device)
        return outputs[0].float(), outputs[1].float()

    def _rollout(self, made: _Made, usable: Array, episodes: Sequence[Episode]) -> Rollout:
        assert self._obs is not None
        device = self._compute.device
        obs, actions, log_probs, values, closing = (torch.stack(parts) for parts in made.tensors())
        ended = torch.zeros_like(closing, dtype=torch.bool)
        for timestep, moves in enumerate(made.moves):
            ended[timestep, list(moves.last)] = True
        last = self._outputs(torch.from_numpy(self._obs.copy()).to(device))[1]
        after = torch.where(ended, closing, torch.cat([values[1:], last.unsqueeze(0)]))
        rewards = torch.tensor([moves.rewards for moves in made.moves], device=device)
        usable_moves = torch.from_numpy(usable).to(device)
        return Rollout(obs, actions, log_probs, values, after, rewards, ended, usable_moves, tuple(episodes))


@dataclass
class _Made:
    """The moves of a rollout while it grows, one entry a timestep."""

    obs: list[Tensor] = field(default_factory=list)
    actions: list[Tensor] = field(default_factory=list)
    log_probs: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    closing: list[Tensor] = field(default_factory=list)
    moves: list[Moves] = field(default_factory=list)

    def tensors(self) -> tuple[list[Tensor], ...]:
        """Return the columns that are tensors."""
        return self.obs, self.actions, self.log_probs, self.values, self.closing
