"""The returns of an agent in evaluation episodes that it never trained on.

The evaluation follows common practice: separate environments, fixed seeds, whole episodes, no exploration, all
returns are kept, and a random policy as reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from torch import nn

from dlpipe.evaluation import Examples, ExampleScores, write_csv
from dlpipe.fields import Fraction, Positive
from dlpipe.report_items import ReportItem
from dlpipe_rl.checked_env import Array, sample_action
from dlpipe_rl.environments import Environments, require_environments
from dlpipe_rl.greedy import EpisodeTrace, Policy, greedy_policy, play_episodes
from dlpipe_rl.overestimation import value_return_pairs
from dlpipe_rl.recording import frames_per_second, long_enough, record, timesteps_per_frame
from dlpipe_rl.returns_figures import draw_returns, draw_values
from dlpipe_rl.statistics import bootstrap_interval, interquartile_mean


class Returns:
    """Play whole episodes greedily, with fixed seeds for each split.

    Args:
        reward_threshold: an episode with at least this return is a success, a fact of the environment; None reports
            no success rate.
        episodes: number of episodes.
        gamma: discount factor γ of the returns that the model's values are compared with; None takes the trainer's.
    """

    primary = "return_mean"
    goal: Literal["max", "min"] = "max"

    def __init__(
        self, reward_threshold: float | None, *, episodes: Positive = 100, gamma: Fraction | None = None
    ) -> None:
        self._threshold, self._episodes, self._gamma = reward_threshold, episodes, gamma
        self._random_traces: dict[str, list[EpisodeTrace]] = {}  # by split
        self._data: Environments | None = None
        self._split = ""
        self._traces: list[EpisodeTrace] = []

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Return statistics of the returns, the mean return of a random policy, and the overestimation of the model."""
        data, split = require_environments(examples.data, "rl.returns"), examples.split
        count = min(self._episodes, examples.limit or self._episodes)
        if split not in self._random_traces:
            self._random_traces[split] = _play(data, split, count, random_policy(data))
        self._data, self._split = data, split
        self._traces = _play(data, split, count, greedy_policy(model, examples.compute))
        returns = _returns(self._traces)
        low, high = bootstrap_interval(returns, interquartile_mean)
        metrics = {
            "return_mean": returns.mean(),
            "return_median": np.median(returns),
            "return_iqm": interquartile_mean(returns),
            "return_iqm_low": low,
            "return_iqm_high": high,
            "return_min": returns.min(),
            "length_mean": np.mean([trace.episode.length for trace in self._traces]),
            "random_return_mean": _returns(self._random_traces[split]).mean(),
        }
        if self._threshold is not None:
            metrics["success"] = np.mean(returns >= self._threshold)
        if self._gamma is not None:
            values, returns_to_go = value_return_pairs(self._traces_as_in_training, self._gamma)
            if len(values):
                metrics["value_mean"], metrics["overestimation"] = values.mean(), (values - returns_to_go).mean()
        return {name: float(value) for name, value in metrics.items()}

    def example_scores(self) -> ExampleScores:
        """Return the return of each episode of the last `evaluate`; its name is the seed of the environment."""
        return ExampleScores(
            range(len(self._traces)),
            _returns(self._traces).tolist(),
            names=[f"seed {trace.episode.seed}" for trace in self._traces],
        )

    def sample(self, folder: Path, step: int) -> list[ReportItem]:
        """Record the best episodes of the last evaluation as a GIF named after the step."""
        path = folder / f"step-{step:08d}.gif"
        caption = f"The best of {len(self._traces)} episodes of the evaluation at each step, without exploration."
        return [ReportItem(path.name, "Best episodes", caption)] if self._record(path, f"step {step:,}") else []

    def write(self, folder: Path) -> list[ReportItem]:
        """Write all returns as a table, figures of returns and values, and the best episodes as a GIF."""
        lines = [
            (policy, trace.episode.seed, trace.episode.total, trace.episode.length, int(trace.episode.terminated))
            for policy, traces in (("greedy", self._traces), ("random", self._random_traces[self._split]))
            for trace in traces
        ]
        write_csv(folder / "returns.csv", [("policy", "seed", "return", "length", "terminated"), *lines])
        draw_returns(folder / "returns.png", _returns(self._traces), _returns(self._random_traces[self._split]))
        items = [self._describe_returns()]
        if self._record(folder / "episode.gif", self._split):
            items.append(self._describe_episodes())
        if self._traces[0].values and self._gamma is not None:
            items.append(draw_values(folder / "values.png", self._traces_as_in_training, self._gamma))
        about = (
            "One row per episode of the greedy and of the random policy. terminated is 1 if the environment ended the "
            "episode, and 0 if it was cut off."
        )
        return [*items, ReportItem("returns.csv", "Returns of all episodes", about)]

    def _describe_returns(self) -> ReportItem:
        greedy, random = len(self._traces), len(self._random_traces[self._split])
        solved = "" if self._threshold is None else f"; at least {self._threshold:g} is a success"
        return ReportItem(
            "returns.png",
            "Returns of episodes",
            f"Histogram of the returns of {greedy} episodes of {self._split} with the greedy policy (blue), and of "
            f"{random} with uniformly random actions (grey). The further to the right blue is of grey, the better"
            f"{solved}.",
        )

    def _describe_episodes(self) -> ReportItem:
        assert self._data is not None
        shown, fps = self._filmed, frames_per_second(self._data)
        every = timesteps_per_frame(shown, fps)
        pace = "every timestep is a frame" if every == 1 else f"a frame stands for {every} timesteps"
        best, *others = (
            f"return {trace.episode.total:g} in {trace.episode.length} timesteps (seed {trace.episode.seed})"
            for trace in shown
        )
        then = f"; then {'; '.join(others)}" if others else ""
        return ReportItem(
            "episode.gif",
            "Best episodes" if others else "Best episode",
            f"The best of the {len(self._traces)} episodes of {self._split} with the greedy policy: {best}{then}. It "
            f"runs at the speed of the environment, {fps:g} timesteps per second; {pace}.",
        )

    @property
    def _traces_as_in_training(self) -> list[EpisodeTrace]:
        """The episodes with the rewards that training gets: values estimate the discounted returns of these."""
        assert self._data is not None
        reward = self._data.training_reward or float
        return [replace(trace, rewards=list(map(reward, trace.rewards))) for trace in self._traces]

    @property
    def _filmed(self) -> Sequence[EpisodeTrace]:
        """The best episodes, the best first."""
        assert self._data is not None
        return long_enough(self._data, sorted(self._traces, key=lambda trace: -trace.episode.total))

    def _record(self, path: Path, title: str) -> bool:
        assert self._data is not None
        return record(path, self._data, self._filmed, title=title)


def random_policy(data: Environments) -> Policy:
    """Return a policy of uniformly random actions, with the same random numbers every time."""
    with data.make() as env:
        # ClipAction has an unbounded space, of which Gymnasium draws normal numbers; what it wraps has the bounds.
        while (
            isinstance(env, gym.Wrapper)
            and isinstance(env.action_space, spaces.Box)
            and not env.action_space.is_bounded()
        ):
            env = env.env
        space = env.action_space
    space.seed(0)

    def act(obs: Array) -> tuple[Array, None]:
        return np.stack([sample_action(space) for _ in obs]), None

    return act


def _play(data: Environments, split: str, count: int, policy: Policy) -> list[EpisodeTrace]:
    envs = data.evaluation_envs(count, split)
    try:
        return play_episodes(policy, envs)
    finally:
        for env in envs:
            env.close()


def _returns(traces: list[EpisodeTrace]) -> Array:
    return np.array([trace.episode.total for trace in traces])
