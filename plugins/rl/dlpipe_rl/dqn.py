"""Deep Q-learning, with what became usual after the paper.

Source: Mnih et al. 2015, "Human-level control through deep reinforcement learning",
https://doi.org/10.1038/nature14236, algorithm 1; double: van Hasselt et al. 2016,
https://arxiv.org/abs/1509.06461; n steps and the combination: Hessel et al. 2018, "Rainbow",
https://arxiv.org/abs/1710.02298; prioritised replay: Schaul et al. 2016, https://arxiv.org/abs/1511.05952.
Departs from them: the value after an episode that was only cut off counts (the paper's games have no time
limit); Adam; the Huber loss as torch has it.
Axes: N players, B moves of a batch, A actions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dlpipe.compute import Compute, derived_seed
from dlpipe.errors import InputError
from dlpipe.fields import Fraction, NonNegative, OptimizerTable, Positive, PositiveFloat, ScheduleTable
from dlpipe.protocols import Goal
from dlpipe.training import Budget, LearningRateSchedule, StateBlock, build_optimizer
from dlpipe_rl.environments import Environments
from dlpipe_rl.episodes import Array, Episode
from dlpipe_rl.exploration import Epsilon
from dlpipe_rl.priorities import Priorities
from dlpipe_rl.q_learning import QLearning
from dlpipe_rl.randomness import generator, restore, state_of
from dlpipe_rl.replay import Replay
from dlpipe_rl.told import told


class DQN:
    """Learn action values from replayed moves.

    A step is `train_every` moves of every player and then `gradient_steps` updates; before the first one, enough
    moves are made to begin with.

    Args:
        timesteps: moves of all players together after which training is over.
        num_envs: environments that are played together.
        gamma: what a reward is worth a timestep later.
        n_step: rewards that are summed up before the estimated value is trusted.
        double: the online network chooses the action whose value the target network estimates.
        batch_size: moves per update.
        replay_size: moves that are remembered.
        replay_storage: "auto" keeps frames in memory where they fit, else in a file that is mapped into it.
        priority_alpha: how much more often a move with a large error is replayed: 0 not at all, 1 in proportion.
        importance_beta: how much prioritised replay is corrected for, at first; at the end of training, fully.
        learning_starts: moves before the first update.
        train_every: moves of every player per step.
        gradient_steps: of the weights per step.
        target_every: updates between two updates of the target network.
        tau: share by which the target network then moves to the online one; 1 is a copy.
        epsilon_start: probability of a random action at first.
        epsilon_end: the same in the end.
        epsilon_timesteps: over which it falls; a tenth of `timesteps` if not given.
        epsilon_schedule: how it falls.
        loss: "huber" grows with the error's square up to 1 and with its size beyond; "mse" always with the square.
        optimizer: one of torch's by name, with its own parameters.
        schedule: of the learning rate, one of torch's by name; it counts steps.
        max_grad_norm: clip the norm of all gradients together to this value.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Environments,
        compute: Compute,
        seed: int,
        budget: Budget = Budget(),  # noqa: B008  frozen
        *,
        timesteps: Positive | None = None,
        num_envs: Positive = 1,
        gamma: Fraction = 0.99,
        n_step: Positive = 1,
        double: bool = True,
        batch_size: Positive = 128,
        replay_size: Positive = 100_000,
        replay_storage: Literal["auto", "memory", "disk"] = "auto",
        priority_alpha: Fraction = 0.0,
        importance_beta: Fraction = 0.4,
        learning_starts: Positive = 1000,
        train_every: Positive = 1,
        gradient_steps: Positive = 1,
        target_every: Positive = 500,
        tau: Fraction = 1.0,
        epsilon_start: Fraction = 1.0,
        epsilon_end: Fraction = 0.05,
        epsilon_timesteps: NonNegative | None = None,
        epsilon_schedule: Literal["linear", "exponential", "constant"] = "linear",
        loss: Literal["huber", "mse"] = "huber",
        optimizer: OptimizerTable = {"use": "adam", "fused": True},  # noqa: B006  read only
        schedule: ScheduleTable | None = None,
        max_grad_norm: PositiveFloat | None = None,
    ) -> None:
        self.model, self._compute, self.steps_per_epoch = model, compute, None
        facts = data.facts
        if not facts["num_actions"]:
            raise InputError(
                f"[trainer] rl.dqn compares the values of all actions, and {data.name} has continuous ones (a Box of "
                f"shape {facts['action_shape']}); take an environment with discrete actions, or the trainer rl.ppo"
            )
        self._num_actions = facts["num_actions"]
        self._players = data.training_players(num_envs, seed)
        self.caveats = data.caveats()
        stack = data.frame_stack
        self._replay = Replay(
            replay_size,
            num_envs,
            (facts["obs_shape"][0] // stack, *facts["obs_shape"][1:]),
            getattr(torch, facts["obs_dtype"]),
            frame_stack=stack,
            n_step=n_step,
            gamma=gamma,
            storage=replay_storage,
            compute=compute,
        )
        self.notes = [self._replay.told]
        self._priorities = Priorities(self._replay.slots, priority_alpha) if priority_alpha else None
        self._importance_beta, self._timesteps = importance_beta, timesteps
        self._learning = QLearning(
            model,
            build_optimizer(model.parameters(), optimizer),
            compute,
            double=double,
            loss=loss,
            target_every=target_every,
            tau=tau,
            max_grad_norm=max_grad_norm,
        )
        self._train_every, self._gradient_steps, self._batch_size = train_every, gradient_steps, batch_size
        self._learning_starts = -(-learning_starts // num_envs) * num_envs
        self.total_steps = self._total(timesteps)
        total = budget.total_steps(None, self.total_steps)
        self._schedule = LearningRateSchedule(self._learning.optimizer, schedule, total_steps=total)
        falls = (timesteps or 0) // 10 if epsilon_timesteps is None else epsilon_timesteps
        self._epsilon = Epsilon(epsilon_start, epsilon_end, falls, epsilon_schedule)
        self._random = generator(seed, "dqn")
        self._replayed = torch.Generator().manual_seed(derived_seed(seed, "replay"))
        self._timestep = 0
        self._obs: Array | None = None  # what the players see; nothing before the first step

    def steps(self) -> Iterator[dict[str, Tensor]]:
        """Move and update, and yield ``loss``, and ``return`` and ``length`` of episodes that ended."""
        if self._obs is None:
            self._obs = self._players.begin()
            self._replay.begin(self._obs)
        while True:
            if not self.model.training:  # the caller may have evaluated since
                self.model.train()
            episodes: list[Episode] = []
            for _ in range(self._train_every):
                episodes += self._move()
            while self._timestep < self._learning_starts:
                episodes += self._move()
            losses = [self._update() for _ in range(self._gradient_steps)]
            self._schedule.step()
            metrics = {"loss": losses[0] if len(losses) == 1 else torch.stack(losses).mean()}
            yield metrics | told(episodes)

    def log_values(self) -> dict[str, float]:
        """Return learning rate, ε and the number of timesteps."""
        return {
            "lr": self._schedule.learning_rate,
            "epsilon": self._epsilon.at(self._timestep),
            "timesteps": float(self._timestep),
        }

    def on_score(self, score: float, goal: Goal) -> None:
        """Pass the monitored metric on to the schedule."""
        self._schedule.on_score(score, goal)

    def state_dict(self) -> dict[str, Any]:
        """Return optimizer, target network, replay, environments, randomness and counts."""
        return {
            "learning": self._learning.state_dict(),
            "schedule": self._schedule.state_dict(),
            "replay": self._replay.state_dict(),
            "priorities": self._priorities.state_dict() if self._priorities else None,
            "players": self._players.state(),
            "random": state_of(self._random),
            "replayed": self._replayed.get_state(),
            "timestep": self._timestep,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state; the environments are played again up to where they were."""
        self._learning.load_state_dict(state["learning"])
        self._schedule.load_state_dict(state["schedule"])
        self._replay.load_state_dict(state["replay"])
        if self._priorities:
            self._priorities.load_state_dict(state["priorities"])
        self._obs = self._players.restore(state["players"])
        restore(self._random, state["random"])
        self._replayed.set_state(state["replayed"])
        self._timestep = state["timestep"]

    def state_blocks(self) -> dict[str, StateBlock]:
        """Return the frames of the replay, in parts that change seldom."""
        return self._replay.state_blocks()

    def load_state_blocks(self, blocks: Iterable[tuple[str, dict[str, Tensor]]]) -> None:
        """Take back the frames of the replay."""
        self._replay.load_state_blocks(blocks)

    def close(self) -> None:
        """Give back environments and scratch files."""
        self._players.close()
        self._replay.close()

    def _total(self, timesteps: int | None) -> int | None:
        """Return the steps after which so many moves were made; the first step makes more than the others."""
        if timesteps is None:
            return None
        per_step = self._train_every * len(self._players)
        first = max(self._learning_starts, per_step)
        return 1 + max(0, timesteps - first) // per_step

    def _move(self) -> Iterable[Episode]:
        """Make one move of every player and return the episodes that ended."""
        assert self._obs is not None
        actions = self._actions(self._obs)
        moves = self._players.step(actions)
        self._obs = moves.obs
        made, lost = self._replay.add(actions, moves.rewards, moves.terminated, moves.obs, moves.last)
        if self._priorities:
            self._priorities.add(made, lost)
        self._timestep += len(made)
        return moves.episodes.values()

    def _actions(self, obs: Array) -> list[int]:
        """Return N actions: the best ones, or with probability ε random ones."""
        random, epsilon, count = self._random, self._epsilon.at(self._timestep), len(obs)
        tried = [random.randrange(self._num_actions) if random.random() < epsilon else -1 for _ in range(count)]
        if -1 not in tried:
            return tried
        with torch.inference_mode(), self._compute.autocast():
            best = self.model(torch.from_numpy(obs).to(self._compute.device)).argmax(1).tolist()
        return [choice if action < 0 else action for action, choice in zip(tried, best, strict=True)]

    def _update(self) -> Tensor:
        if self._priorities is None:
            return self._learning.update(self._replay.sample(self._batch_size, self._replayed))
        done = min(1.0, self._timestep / self._timesteps) if self._timesteps else 0.0
        beta = self._importance_beta + (1 - self._importance_beta) * done
        slots, weights = self._priorities.sample(self._batch_size, beta, self._replayed)
        moves = self._replay.at(torch.from_numpy(slots))
        loss, errors = self._learning.update_weighted(moves, weights.to(self._compute.device))
        self._priorities.update(slots, errors)
        return loss
