"""Shared by the tests of reinforcement learning: environments with known dynamics."""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from dlpipe.compute import Compute
from dlpipe_rl.environments import Environments

CPU = Compute(torch.device("cpu"))


class Corridor(gym.Env):
    """Places 0 … length in a row, observed as a number; action 1 moves on, 0 stays; the reward is the new place.

    It terminates at `length`, or is truncated after `cut` timesteps. An episode begins at its seed modulo 3 if
    `shifted`.
    """

    def __init__(self, length=4, cut=None, shifted=False, render_mode=None):
        self.observation_space = spaces.Box(0, 100, (1,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.length, self.cut, self.shifted, self.render_mode = length, cut, shifted, render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.timesteps = (seed % 3 if self.shifted else 0), 0
        return self.obs(), {}

    def step(self, action):
        self.timesteps += 1
        self.place += int(action)
        ends = self.place >= self.length
        return self.obs(), float(self.place), ends, not ends and self.timesteps == self.cut, {}

    def obs(self):
        return np.array([self.place], np.float32)


class EndsTwice(Corridor):
    """A corridor that also reports truncation when it terminates, as Gymnasium allows."""

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward, terminated, truncated or terminated, info


class Shifted(Corridor):
    """A corridor whose actions are 5 and 6, and which takes no others."""

    def __init__(self, **options):
        super().__init__(**options)
        self.action_space = spaces.Discrete(2, start=5)

    def step(self, action):
        assert action in self.action_space
        return super().step(action - 5)


class Faulty(Corridor):
    """A corridor with a fault in its third timestep."""

    def __init__(self, fault="raises", **options):
        super().__init__(**options)
        self.fault = fault

    def step(self, action):
        obs, reward, *rest = super().step(action)
        if self.timesteps == 3:
            if self.fault == "raises":
                raise ZeroDivisionError("the motor is stuck")
            wrong = {
                "nan": np.array([np.nan], np.float32),
                "infinite": np.array([np.inf], np.float32),
                "outside": np.array([101], np.float32),
                "shape": np.zeros((2,), np.float32),
                "dtype": np.zeros((1,), np.float64),
                "type": 5,
            }
            obs = wrong.get(self.fault, obs)
            rewards = {"reward": float("nan"), "no reward": None, "rewards": np.array([2.0, 3.0])}
            reward = rewards.get(self.fault, reward)
        return obs, reward, *rest


class Sampler(gym.Env):
    """Observations are samples of their space, and actions have to be in theirs; an episode has five timesteps."""

    def __init__(self, obs=None, actions=None, render_mode=None):
        self.observation_space = deepcopy(obs) or spaces.Box(-1, 1, (2,), np.float32)  # with a generator of its own
        self.action_space = actions or spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.timesteps = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert action in self.action_space
        self.timesteps += 1
        return self.observation_space.sample(), 1.0, self.timesteps == 5, False, {}


class Aim(gym.Env):
    """Episodes of one timestep, whose two actions, from -2 to 6 and from 0 to 1, should be 3.2 and 0.25.

    The reward is minus the squared error, in units of half the range of each.
    """

    def __init__(self, render_mode=None):
        self.observation_space = spaces.Box(0, 1, (1,), np.float32)
        self.action_space = spaces.Box(np.array([-2, 0], np.float32), np.array([6, 1], np.float32))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        assert action in self.action_space
        error = (action - np.array([3.2, 0.25])) / np.array([4, 0.5])
        return np.zeros(1, np.float32), -float((error**2).sum()), True, False, {}


def corridor(kind=Corridor, frame_stack=1, training_reward=None, **options) -> Environments:
    """The corridor as data."""
    make = partial(kind, **options)
    return Environments(
        "Corridor", make, frame_stack=frame_stack, fingerprint="corridor", training_reward=training_reward
    )


@pytest.fixture
def cpu() -> Compute:
    return CPU
