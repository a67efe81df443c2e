"""What a timestep of DQN costs in dlpipe, compared with a tight hand-written loop and Stable-Baselines3.

    pip install 'stable-baselines3==2.9.*' && python benchmarks/dqn_speed.py [--rounds 40] [--write]

All train on CartPole-v1 with one update per timestep: batch size 128, a 128-128 network, Huber loss, Adam (1e-3), a
target network copied every 500 updates, ε = 0.05, a replay buffer of 100,000 transitions, no gradient norm (but see
below), one thread. See `in_turn` for how they are measured.

The hand-written loop is as tight as we know how to write it with ``nn.Module``, autograd and ``torch.optim``: fused
Adam; gradients set to None by hand instead of ``zero_grad``; TD targets by one ``addcmul``; a target network without
gradients; a replay buffer of preallocated arrays, of which numpy gathers batches and torch shares the memory; an
observation that stays where torch sees it; actions in inference mode; an environment without Gymnasium's checks.
It logs nothing and checks nothing. "functional" is the same loop with ``F.linear`` on the bare weights instead of
modules: the price of calling an ``nn.Module``. A third one has dlpipe's Adam: torch's without what `torch.optim` does
around each step for its profiler (`dlpipe.training.eager_optimizers`).

Stable-Baselines3 runs with its default optimizer and with fused Adam. Its DQN always clips the norm of gradients; we
set ``max_grad_norm`` to its default of 10, and the norm is computed in each update. What else differs: it collects
through a vectorized environment with a ``Monitor`` wrapper, stores ``next_obs`` beside ``obs``, and logs the mean
return every 4 episodes. If it is not installed, it is left out.

All loops are made five times, because the location of their memory changes the time by a few percent.
"""

from __future__ import annotations

import copy
import importlib.metadata
import importlib.util
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from in_turn import ENDLESS, RAW, RAW_AGAIN, RAW_LEAN, Paused, Steps, in_loop, rows, run, show, take_turns_recreated
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from dlpipe.compute import Compute
from dlpipe.training import build_optimizer
from dlpipe_rl.dqn import DQN
from dlpipe_rl.gymnasium_id import environment
from dlpipe_rl.q_network import QNetwork

SEED, EPSILON, GAMMA, LEARNING_RATE = 1, 0.05, 0.99, 1e-3
BATCH, REPLAY, STARTS, COPY_EVERY = 128, 100_000, 1000, 500
ADAM = {"use": "adam", "lr": LEARNING_RATE, "fused": True}
LOG_EVERY = 1000  # as in pipelines/dqn_cartpole.toml
BLOCK = 100


def by_modules(net: nn.Sequential) -> Callable[[Tensor], Tensor]:
    """Return the network as a function: itself."""
    return net


def by_weights(net: nn.Sequential) -> Callable[[Tensor], Tensor]:
    """Return the network as a function of its bare weights."""
    weight_1, bias_1, weight_2, bias_2, weight_3, bias_3 = net.parameters()

    def values(obs: Tensor) -> Tensor:
        hidden = F.linear(F.linear(obs, weight_1, bias_1).relu(), weight_2, bias_2).relu()
        return F.linear(hidden, weight_3, bias_3)

    return values


def raw(
    function_of: Callable[[nn.Sequential], Callable[[Tensor], Tensor]] = by_modules,
    optimizer_of: Callable[[list[nn.Parameter]], Optimizer] = lambda weights: torch.optim.Adam(
        weights, lr=LEARNING_RATE, fused=True
    ),
) -> Steps:
    """Return a function that runs timesteps of a hand-written loop."""
    torch.manual_seed(SEED)
    env = gym.make(replace(gym.spec("CartPole-v1"), order_enforce=False), disable_env_checker=True)
    online = nn.Sequential(nn.Linear(4, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 2))
    copied = copy.deepcopy(online).requires_grad_(False)
    weights, target_weights = list(online.parameters()), list(copied.parameters())
    net, target = function_of(online), function_of(copied)
    optimizer = optimizer_of(weights)
    obs_array, next_array = np.zeros((REPLAY, 4), np.float32), np.zeros((REPLAY, 4), np.float32)
    action_array, reward_array = np.zeros((REPLAY, 1), np.int64), np.zeros(REPLAY, np.float32)
    discount_array = np.zeros(REPLAY, np.float32)
    arrays = (obs_array, next_array, action_array, reward_array, discount_array)
    current = np.zeros((1, 4), np.float32)
    seen = torch.from_numpy(current)
    current[0] = env.reset(seed=SEED)[0]
    timestep = 0

    def step_env() -> None:
        nonlocal timestep
        slot = timestep % REPLAY
        if random.random() < EPSILON:
            action = random.randrange(2)
        else:
            with torch.inference_mode():
                action = net(seen).argmax().item()
        obs_array[slot] = current
        obs, reward, terminated, truncated, _ = env.step(action)
        next_array[slot], action_array[slot], reward_array[slot] = obs, action, reward
        discount_array[slot] = 0.0 if terminated else GAMMA
        current[0] = env.reset()[0] if terminated or truncated else obs
        timestep += 1

    def update() -> None:
        chosen = torch.randint(min(timestep, REPLAY), (BATCH,)).numpy()
        obs, next_obs, actions, rewards, discounts = [torch.from_numpy(each.take(chosen, 0)) for each in arrays]
        targets = torch.addcmul(rewards, discounts, target(next_obs).amax(1))
        loss = F.smooth_l1_loss(net(obs).gather(1, actions).squeeze(1), targets)
        for weight in weights:
            weight.grad = None
        loss.backward()
        optimizer.step()
        if timestep % COPY_EVERY == 0:
            with torch.no_grad():
                torch._foreach_copy_(target_weights, weights)

    while timestep < STARTS:
        step_env()

    def steps(count: int) -> None:
        for _ in range(count):
            step_env()
            update()

    return steps


def ours(folder: Path) -> Steps:
    """Return a function that runs timesteps of dlpipe's loop, including log points and metrics.jsonl."""
    torch.manual_seed(SEED)
    trainer = DQN(
        QNetwork((4,), 2, hidden=(128, 128)),
        environment(),
        Compute(torch.device("cpu")),
        SEED,
        double=False,
        batch_size=BATCH,
        replay_size=REPLAY,
        learning_starts=STARTS,
        target_every=COPY_EVERY,
        epsilon_schedule="constant",
        epsilon_end=EPSILON,
        optimizer=ADAM,
    )
    return in_loop(trainer, folder, log_every=LOG_EVERY)


def stable_baselines(*, fused: bool) -> Steps:
    """Return a function that runs timesteps of Stable-Baselines3's DQN."""
    from stable_baselines3 import DQN as Theirs  # noqa: N811  not a dependency of dlpipe
    from stable_baselines3.common.callbacks import BaseCallback

    class Passed(BaseCallback):
        def __init__(self, passed: Callable[[], None]) -> None:
            super().__init__()
            self._passed = passed

        def _on_step(self) -> bool:
            self._passed()
            return True

    adam = {"optimizer_class": torch.optim.Adam, "optimizer_kwargs": {"fused": True}} if fused else {}
    model = Theirs(
        "MlpPolicy",
        "CartPole-v1",
        learning_rate=LEARNING_RATE,
        buffer_size=REPLAY,
        learning_starts=STARTS,
        batch_size=BATCH,
        gamma=GAMMA,
        train_freq=1,
        gradient_steps=1,
        target_update_interval=COPY_EVERY,
        exploration_initial_eps=EPSILON,
        exploration_final_eps=EPSILON,
        max_grad_norm=10,
        policy_kwargs={"net_arch": [128, 128], **adam},
        seed=SEED,
        device="cpu",
    )
    model.learn(STARTS + 1)
    return Paused(lambda passed: model.learn(ENDLESS, Passed(passed), reset_num_timesteps=False))


def loops_in(folder: Path) -> dict[str, Steps]:
    """Return new loops by name."""
    loops = {
        RAW: raw(),
        "dlpipe": ours(folder),
        RAW_LEAN: raw(optimizer_of=lambda weights: build_optimizer(weights, ADAM)),
        RAW_AGAIN: raw(),
        "hand-written, functional": raw(by_weights),
    }
    if importlib.util.find_spec("stable_baselines3"):
        version = importlib.metadata.version("stable-baselines3")
        loops[f"Stable-Baselines3 {version}, default Adam"] = stable_baselines(fused=False)
        loops[f"Stable-Baselines3 {version}, fused Adam"] = stable_baselines(fused=True)
    else:
        print("Stable-Baselines3 is left out: pip install 'stable-baselines3==2.9.*'")
    return loops


def measure(rounds: int) -> str:
    """Return the table."""
    random.seed(SEED)
    times = take_turns_recreated(loops_in, BLOCK, rounds)
    title = "A timestep of DQN on CartPole-v1, with an update"
    show(title, times, BLOCK)
    return rows({title: times})


if __name__ == "__main__":
    run(__doc__, measure, 40)
