"""What a timestep of DQN costs in dlpipe, compared with a tight hand-written loop and Stable-Baselines3.

    pip install 'stable-baselines3==2.9.*' && python benchmarks/dqn_speed.py [--rounds 6]

All train on CartPole-v1 with one update per timestep: batch size 128, a 128-128 network, Huber loss, Adam, a target
network copied every 500 updates, ε = 0.05, a replay buffer of 100,000 transitions, one thread. The loops take turns,
block by block, so that a drift of the machine's speed affects all of them. The hand-written loop is what a careful
engineer would write: preallocated arrays that numpy writes and torch reads, fused Adam, no gradient norm.
Stable-Baselines3 uses its own defaults for everything else. The output is CPU time per timestep: the median over
blocks, and the ratio to that of both raw loops together. ``raw`` is measured twice; the difference is the noise. All
loops are recreated in each round, because the location of their memory changes the time by a few per cent. If
Stable-Baselines3 is not installed, it is left out.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import random
import tempfile
from collections import defaultdict
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from in_turn import Steps, in_loop, report, take_turns
from torch import nn
from torch.nn import functional as F

from dlpipe.compute import Compute
from dlpipe_rl.dqn import DQN
from dlpipe_rl.gymnasium_id import environment
from dlpipe_rl.q_network import QNetwork

SEED, EPSILON, GAMMA = 1, 0.05, 0.99
BATCH, REPLAY, STARTS, COPY_EVERY = 128, 100_000, 1000, 500
LOG_EVERY = 1000  # as in pipelines/dqn_cartpole.toml
BLOCK = 2000


def raw() -> Steps:
    """Return a function that runs timesteps of a hand-written loop."""
    torch.manual_seed(SEED)
    env = gym.make("CartPole-v1", disable_env_checker=True)
    net = nn.Sequential(nn.Linear(4, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 2))
    target = copy.deepcopy(net).requires_grad_(False)
    weights, target_weights = list(net.parameters()), list(target.parameters())
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    obs_array, next_array = np.zeros((REPLAY, 4), np.float32), np.zeros((REPLAY, 4), np.float32)
    action_array, reward_array = np.zeros(REPLAY, np.int64), np.zeros(REPLAY, np.float32)
    continues_array = np.zeros(REPLAY, np.float32)
    columns = [
        torch.from_numpy(array) for array in (obs_array, next_array, action_array, reward_array, continues_array)
    ]
    state = {"obs": env.reset(seed=SEED)[0], "timestep": 0}

    def step_env() -> None:
        obs, slot = state["obs"], state["timestep"] % REPLAY
        if random.random() < EPSILON:
            action = random.randrange(2)
        else:
            with torch.inference_mode():
                action = int(net(torch.from_numpy(obs).unsqueeze(0)).argmax(1))
        next_obs, reward, terminated, truncated, _ = env.step(action)
        obs_array[slot], next_array[slot], action_array[slot] = obs, next_obs, action
        reward_array[slot], continues_array[slot] = reward, not terminated
        state["obs"] = env.reset()[0] if terminated or truncated else next_obs
        state["timestep"] += 1

    def update() -> None:
        rows = torch.randint(min(state["timestep"], REPLAY), (BATCH,))
        obs, next_obs, actions, rewards, continues = (column.index_select(0, rows) for column in columns)
        with torch.no_grad():
            targets = rewards + GAMMA * continues * target(next_obs).amax(1)
        values = net(obs).gather(1, actions.unsqueeze(1)).squeeze(1)
        loss = F.smooth_l1_loss(values, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if state["timestep"] % COPY_EVERY == 0:
            with torch.no_grad():
                torch._foreach_copy_(target_weights, weights)

    while state["timestep"] < STARTS:
        step_env()

    def steps(count: int) -> None:
        for _ in range(count):
            step_env()
            update()

    return steps


def ours(folder: Path) -> Steps:
    """Return a function that runs timesteps of dlpipe's loop, including log points and metrics.jsonl."""
    torch.manual_seed(SEED)
    data = environment()
    trainer = DQN(
        QNetwork((4,), 2, hidden=(128, 128)),
        data,
        Compute(torch.device("cpu")),
        SEED,
        double=False,
        batch_size=BATCH,
        replay_size=REPLAY,
        learning_starts=STARTS,
        target_every=COPY_EVERY,
        epsilon_schedule="constant",
        epsilon_end=EPSILON,
        optimizer={"use": "adam", "lr": 1e-3, "fused": True},
    )
    return in_loop(trainer, folder, log_every=LOG_EVERY)


def stable_baselines() -> Steps:
    """Return a function that runs timesteps of Stable-Baselines3's DQN."""
    from stable_baselines3 import DQN as Theirs  # noqa: N811  not a dependency of dlpipe

    model = Theirs(
        "MlpPolicy",
        "CartPole-v1",
        learning_rate=1e-3,
        buffer_size=REPLAY,
        learning_starts=STARTS,
        batch_size=BATCH,
        gamma=GAMMA,
        train_freq=1,
        gradient_steps=1,
        target_update_interval=COPY_EVERY,
        exploration_initial_eps=EPSILON,
        exploration_final_eps=EPSILON,
        policy_kwargs={"net_arch": [128, 128]},
        seed=SEED,
        device="cpu",
    )
    model.learn(STARTS + 1)

    def steps(count: int) -> None:
        model.learn(count, reset_num_timesteps=False)

    return steps


def measure(folder: Path) -> dict[str, list[float]]:
    """Return the CPU time of a timestep in two blocks of each loop; all loops are new."""
    loops = {"raw": raw(), "dlpipe": ours(folder), "raw again": raw()}
    if importlib.util.find_spec("stable_baselines3"):
        loops["sb3"] = stable_baselines()
    return take_turns(loops, BLOCK, 2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=6)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    random.seed(SEED)
    times: dict[str, list[float]] = defaultdict(list)
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for name, values in measure(Path(folder)).items():
                times[name] += values
    report("DQN on CartPole-v1, a timestep and an update in each step", times, BLOCK)
