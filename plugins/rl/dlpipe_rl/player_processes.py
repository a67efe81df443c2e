"""Players in processes of their own, for environments that take longer than the net.

What they play is the same, move for move, as what `LocalPlayers` plays. Messages between the processes are
pickled; nothing of that comes from a file.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np
import torch

from dlpipe.errors import DlpipeError
from dlpipe_rl.episodes import Array
from dlpipe_rl.players import LocalPlayers, Moves

#: Makes the players of the numbers that it is given.
Make = Callable[[Sequence[int]], LocalPlayers]

#: Ctrl-C and a batch system's signals reach every process of the group; whether to stop is the trainer's decision,
#: which asks for the players' state first. A trainer that is killed closes the connection.
LEFT_TO_THE_TRAINER = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class PlayerProcesses:
    """N players in several processes, each with an equal share of them.

    Args:
        make: called in each process; must be picklable.
    """

    def __init__(self, make: Make, count: int, num_workers: int) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads in some state
        self._shares = [share.tolist() for share in np.array_split(np.arange(count), min(num_workers, count))]
        self._count = count
        self._connections: list[Connection] = []
        self._processes = []
        resource_tracker.ensure_running()  # which lets signals through again when it starts
        before = signal.pthread_sigmask(signal.SIG_BLOCK, LEFT_TO_THE_TRAINER)  # a process starts with this
        try:
            for share in self._shares:
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs, make, share), daemon=True)
                process.start()
                theirs.close()
                self._connections.append(ours)
                self._processes.append(process)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def __len__(self) -> int:
        return self._count

    def begin(self) -> Array:
        """See `dlpipe_rl.players.Players.begin`."""
        return np.concatenate(self._ask("begin", [()] * len(self._shares)))

    def step(self, actions: Sequence[Any] | Array) -> Moves:
        """See `dlpipe_rl.players.Players.step`."""
        parts: list[Moves] = self._ask("step", [(actions[share[0] : share[-1] + 1],) for share in self._shares])
        shares = list(zip(self._shares, parts, strict=True))
        return Moves(
            np.concatenate([part.obs for part in parts]),
            [reward for part in parts for reward in part.rewards],
            [ends for part in parts for ends in part.terminated],
            [cut for part in parts for cut in part.truncated],
            {share[place]: seen for share, part in shares for place, seen in part.last.items()},
            {share[place]: episode for share, part in shares for place, episode in part.episodes.items()},
        )

    def state(self) -> dict[str, Any]:
        """Return the same as one process with all players would."""
        parts = self._ask("state", [()] * len(self._shares))
        return {
            "episodes": [number for part in parts for number in part["episodes"]],
            "actions": [torch.from_numpy(actions) for part in parts for actions in part["actions"]],
            "obs": torch.from_numpy(np.concatenate([part["obs"] for part in parts])),
        }

    def restore(self, state: Mapping[str, Any]) -> Array:
        """See `dlpipe_rl.players.Players.restore`."""
        parts = [
            {
                "episodes": [state["episodes"][player] for player in share],
                "actions": [state["actions"][player].numpy() for player in share],
                "obs": state["obs"][share].numpy(),
            }
            for share in self._shares
        ]
        return np.concatenate(self._ask("restore", [(part,) for part in parts]))

    def close(self) -> None:
        """End the processes."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.join(5)
            process.kill()

    def _ask(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call a method in every process at the same time and return the answers."""
        answers: list[Any] = []
        try:
            for connection, each in zip(self._connections, arguments, strict=True):
                connection.send((method, each))
            for connection in self._connections:
                answers.append(connection.recv())
        except (EOFError, OSError) as error:
            # The pipes of a process that dies close a moment before its exit code can be asked for.
            gone = wait([process.sentinel for process in self._processes], timeout=5)
            for process in self._processes:
                if process.sentinel in gone:
                    process.join(5)
            codes = [process.exitcode for process in self._processes if process.exitcode is not None]
            raise DlpipeError(
                f"a process that plays has ended by itself (exit code {codes[0] if codes else 'unknown'}). "
                "Go on from the last checkpoint: dlpipe resume RUN"
            ) from error
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers


def _work(connection: Connection, make: Make, share: Sequence[int]) -> None:
    """Play in this process what is asked for, until nobody asks any more."""
    for number in LEFT_TO_THE_TRAINER:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, LEFT_TO_THE_TRAINER)
    torch.set_num_threads(1)
    players = make(share)
    with contextlib.suppress(EOFError, OSError):
        while True:
            method, arguments = connection.recv()
            try:
                connection.send(_answer(players, method, arguments))
            except DlpipeError as error:
                connection.send(error)
    players.close()


def _answer(players: LocalPlayers, method: str, arguments: tuple[Any, ...]) -> Any:
    """Call a method; tensors travel as arrays, which need no shared memory of torch's."""
    if method == "restore":
        (state,) = arguments
        return players.restore(
            state
            | {
                "actions": [torch.from_numpy(actions) for actions in state["actions"]],
                "obs": torch.from_numpy(state["obs"]),
            }
        )
    answer = getattr(players, method)(*arguments)
    if method == "state":
        return answer | {"actions": [actions.numpy() for actions in answer["actions"]], "obs": answer["obs"].numpy()}
    return answer
