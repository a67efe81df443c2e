"""How much reward an agent collects, in episodes that it was never trained on.

Shared rules of the field: an environment of its own, fixed seeds, whole episodes, no exploration, every return
kept, a random policy beside it.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn

from dlpipe.errors import InputError
from dlpipe.evaluation import Examples
from dlpipe.fields import Fraction, Positive
from dlpipe_rl.environments import Environments
from dlpipe_rl.episodes import Array
from dlpipe_rl.greedy import Played, Policy, greedy, play_together
from dlpipe_rl.overestimation import compared
from dlpipe_rl.recording import record
from dlpipe_rl.returns_figures import draw_returns, draw_values
from dlpipe_rl.statistics import bootstrap_interval, interquartile_mean


class Returns:
    """Play whole episodes greedily, each split with fixed seeds of its own.

    Args:
        reward_threshold: the return from which an episode is a success, a fact of the environment; nothing
            is said about success where there is no such number.
        episodes: how many.
        gamma: of the discounted returns that the model's values are compared with; that of the trainer.
    """

    primary = "return_mean"
    goal: Literal["max", "min"] = "max"

    def __init__(self, reward_threshold: float | None, *, episodes: Positive = 100, gamma: Fraction = 0.99) -> None:
        self._threshold, self._episodes, self._gamma = reward_threshold, episodes, gamma
        self._random: dict[str, list[Played]] = {}  # by split; the same every time
        self._data: Environments | None = None
        self._split = ""
        self._played: list[Played] = []

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Return statistics of the returns, the random policy's mean, and how much the model over-estimates."""
        data, split = examples.data, examples.split
        if not isinstance(data, Environments):
            raise InputError(f"[evaluators] rl.returns plays environments, and the data is {type(data).__name__}")
        count = min(self._episodes, examples.limit or self._episodes)
        if split not in self._random:
            self._random[split] = _play(data, split, count, random_policy(data))
        self._data, self._split = data, split
        self._played = _play(data, split, count, greedy(model, examples.compute))
        returns = _returns(self._played)
        low, high = bootstrap_interval(returns, interquartile_mean)
        metrics = {
            "return_mean": returns.mean(),
            "return_median": np.median(returns),
            "return_iqm": interquartile_mean(returns),
            "return_iqm_low": low,
            "return_iqm_high": high,
            "return_min": returns.min(),
            "length_mean": np.mean([played.episode.length for played in self._played]),
            "random_return_mean": _returns(self._random[split]).mean(),
        }
        if self._threshold is not None:
            metrics["success"] = np.mean(returns >= self._threshold)
        expected, followed = compared(self._played, self._gamma)
        if len(expected):
            metrics["value_mean"], metrics["overestimation"] = expected.mean(), (expected - followed).mean()
        return {name: float(value) for name, value in metrics.items()}

    def sample(self, folder: Path, step: int) -> None:
        """Record the best episode of the last evaluation as a GIF named by the step."""
        self._record(folder / f"step-{step:08d}.gif")

    def write(self, folder: Path) -> None:
        """Write every return as a table, pictures of returns and values, and the best episode as a GIF."""
        with (folder / "returns.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["policy", "seed", "return", "length", "terminated"])
            for policy, episodes in (("greedy", self._played), ("random", self._random[self._split])):
                for episode in (played.episode for played in episodes):
                    writer.writerow([policy, episode.seed, episode.total, episode.length, int(episode.terminated)])
        draw_returns(folder / "returns.png", _returns(self._played), _returns(self._random[self._split]))
        if self._played[0].values:
            draw_values(folder / "values.png", self._played, self._gamma)
        self._record(folder / "episode.gif")

    def _record(self, path: Path) -> None:
        assert self._data is not None
        best = max(self._played, key=lambda played: played.episode.total)
        record(path, self._data, best.episode.seed, best.actions)


def random_policy(data: Environments) -> Policy:
    """Return the policy that knows nothing, always with the same random numbers."""
    space: Any = data.make().action_space
    space.seed(0)
    start = getattr(space, "start", 0)  # of discrete actions; ours are counted from 0

    def act(obs: Array) -> tuple[Array, None]:
        return np.stack([space.sample() - start for _ in obs]), None

    return act


def _play(data: Environments, split: str, count: int, policy: Policy) -> list[Played]:
    players = data.evaluation_players(count, split)
    try:
        return play_together(policy, players)
    finally:
        for player in players:
            player.close()


def _returns(played: list[Played]) -> Array:
    return np.array([each.episode.total for each in played])
