"""Environments in several processes, for those that are slower than the network.

The episodes are the same, step by step, as those of `SyncVectorEnv`. Messages between the processes are pickled;
nothing is unpickled from a file.
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
from dlpipe.local_plugins import import_local_plugin, local_plugins
from dlpipe_rl.checked_env import Array
from dlpipe_rl.vector_env import StepResult, SyncVectorEnv

#: Creates the environments with the given indices.
MakeEnvs = Callable[[Sequence[int]], SyncVectorEnv]

#: Ctrl-C and a batch system's signals reach every process of the group. The workers ignore them: the trainer decides
#: whether to stop, and asks for the state of the environments first. A killed trainer closes the connections.
IGNORED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class AsyncVectorEnv:
    """N environments in several processes, each with an equal share of them.

    Args:
        make: called in each process; must be picklable. What it raises, the first call here raises.
        num_envs: N.
        num_workers: number of processes; at most one per environment is started.
    """

    def __init__(self, make: MakeEnvs, num_envs: int, num_workers: int) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would inherit the state of torch's threads
        self._shares = [share.tolist() for share in np.array_split(np.arange(num_envs), min(num_workers, num_envs))]
        self._num_envs = num_envs
        self._connections: list[Connection] = []
        self._processes = []
        self._ready = False  # whether all processes have created their environments
        plugins = local_plugins()
        resource_tracker.ensure_running()  # before the signals are masked, as its start unmasks them
        before = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED_SIGNALS)  # inherited by the new processes
        try:
            for share in self._shares:
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, plugins, share), daemon=True)
                process.start()
                ours.send(make)
                theirs.close()
                self._connections.append(ours)
                self._processes.append(process)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def __len__(self) -> int:
        return self._num_envs

    def reset(self) -> Array:
        """See `VectorEnv.reset`."""
        return np.concatenate(self._call_all("reset", [()] * len(self._shares)))

    def step(self, actions: Sequence[Any] | Array) -> StepResult:
        """See `VectorEnv.step`."""
        parts: list[StepResult] = self._call_all(
            "step", [(actions[share[0] : share[-1] + 1],) for share in self._shares]
        )
        shares = list(zip(self._shares, parts, strict=True))
        return StepResult(
            np.concatenate([part.obs for part in parts]),
            [reward for part in parts for reward in part.rewards],
            [terminated for part in parts for terminated in part.terminated],
            [truncated for part in parts for truncated in part.truncated],
            {share[index]: obs for share, part in shares for index, obs in part.final_obs.items()},
            {share[index]: episode for share, part in shares for index, episode in part.episodes.items()},
        )

    def state(self) -> dict[str, Any]:
        """Return the state that a `SyncVectorEnv` of all environments would return."""
        parts = self._call_all("state", [()] * len(self._shares))
        return {
            "episodes": [number for part in parts for number in part["episodes"]],
            "actions": [torch.from_numpy(actions) for part in parts for actions in part["actions"]],
            "obs": torch.from_numpy(np.concatenate([part["obs"] for part in parts])),
        }

    def restore(self, state: Mapping[str, Any]) -> Array:
        """See `VectorEnv.restore`."""
        parts = [
            {
                "episodes": [state["episodes"][index] for index in share],
                "actions": [state["actions"][index].numpy() for index in share],
                "obs": state["obs"][share].numpy(),
            }
            for share in self._shares
        ]
        return np.concatenate(self._call_all("restore", [(part,) for part in parts]))

    def close(self) -> None:
        """End the processes."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.join(5)
            process.kill()

    def _call_all(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call a method in every process at the same time and return the results."""
        try:
            if not self._ready:
                self._results()
                self._ready = True
            for connection, each in zip(self._connections, arguments, strict=True):
                connection.send((method, each))
            return self._results()
        except (EOFError, OSError) as error:
            # The pipes of a dying process close a moment before its exit code is available.
            ended = wait([process.sentinel for process in self._processes], timeout=5)
            for process in self._processes:
                if process.sentinel in ended:
                    process.join(5)
            codes = [process.exitcode for process in self._processes if process.exitcode is not None]
            raise DlpipeError(
                f"an environment process has ended unexpectedly (exit code {codes[0] if codes else 'unknown'}). "
                "Resume from the last checkpoint: dlpipe resume RUN"
            ) from error

    def _results(self) -> list[Any]:
        """Return what every process has answered, or raise what one of them raised."""
        results = [connection.recv() for connection in self._connections]
        for result in results:
            if isinstance(result, Exception):
                raise result
        return results


def _serve(connection: Connection, plugins: Mapping[str, str], share: Sequence[int]) -> None:
    """Create the environments, then answer the calls of the trainer's process until it closes the connection."""
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED_SIGNALS)
    torch.set_num_threads(1)
    try:
        for path, name in plugins.items():
            import_local_plugin(path, name)
        make: MakeEnvs = connection.recv()  # only now, as it may refer to what these files define
        envs = make(share)
    except Exception as error:  # a plugin file and an environment may raise anything
        what = f"an environment process could not create its environments: {type(error).__name__}: {error}"
        with contextlib.suppress(OSError):
            connection.send(error if isinstance(error, DlpipeError) else DlpipeError(what))
        return
    with contextlib.suppress(EOFError, OSError):
        connection.send(None)
        while True:
            method, arguments = connection.recv()
            try:
                connection.send(_call(envs, method, arguments))
            except DlpipeError as error:
                connection.send(error)
    envs.close()


def _call(envs: SyncVectorEnv, method: str, arguments: tuple[Any, ...]) -> Any:
    """Call a method; tensors are sent as arrays, which need no shared memory of torch."""
    if method == "restore":
        (state,) = arguments
        return envs.restore(
            state
            | {
                "actions": [torch.from_numpy(actions) for actions in state["actions"]],
                "obs": torch.from_numpy(state["obs"]),
            }
        )
    result = getattr(envs, method)(*arguments)
    if method == "state":
        return result | {"actions": [actions.numpy() for actions in result["actions"]], "obs": result["obs"].numpy()}
    return result
