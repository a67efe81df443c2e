"""The processes that train one model together, on one machine or several: ``torchrun`` or ``srun`` starts them.

Each process has a rank, from 0 to `Ranks.size` - 1, and all execute the same program. What a rank computes of a step is
such that *the mean over the ranks is the number of the step*: of its loss, its gradients, its metrics. Whatever decides
what comes next (why the run ends, which checkpoint is the best) is agreed, since a rank that went another way would
leave the others waiting. Rank 0, the leader, is the only one that writes into the run folder.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import os
import pickle
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.rendezvous import rendezvous
from torch.utils._pytree import tree_map

from dlpipe.errors import DlpipeError, InputError, Interrupted, Preempted
from dlpipe.launch import Launch, launched

#: How long a rank waits for the others at the start, and for the answer of another one: one may still read its data.
ARRIVAL, ANSWER = timedelta(minutes=10), timedelta(hours=2)
#: How long a rank that fails waits for the others.
LEAVING = timedelta(seconds=20)
T = TypeVar("T")


class LostRankError(DlpipeError):
    """Another process of the run has ended, or does not answer."""


class EndedWithAnotherError(DlpipeError):
    """Another process of the run has failed, and says why."""


@dataclass(frozen=True)
class Ranks:
    """One process among those that train together; by default it is alone, and nothing is communicated."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """Return the part of the rows (N,) of a batch that this rank works on; empty if there are not enough."""
        return rows if self.size == 1 else rows.tensor_split(self.size)[self.rank]

    def total(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all ranks."""
        if self.size == 1:
            return tensor
        found = tensor.clone()
        with self.talking():
            dist.all_reduce(found)
        return found

    def mean(self, tensor: Tensor) -> Tensor:
        """Return the mean of a tensor over all ranks."""
        return tensor if self.size == 1 else self.total(tensor) / self.size

    def gather(self, own: T) -> list[T]:
        """Return what all ranks have, by rank; tensors on a GPU travel through the memory of the host."""
        if self.size == 1:
            return [own]
        found: list[Any] = [None] * self.size
        with self.talking():
            dist.all_gather_object(found, own)
        return found

    def gather_on(self, device: torch.device, own: T) -> list[T]:
        """Return what all ranks have, with its tensors on a device."""
        if self.size == 1:
            return [own]
        found = self.gather(_moved(own, torch.device("cpu")))
        return [own if rank == self.rank else _moved(each, device) for rank, each in enumerate(found)]

    def from_leader(self, make: Callable[[], T]) -> T:
        """Return what `make` returns, which only the leader calls.

        Raises:
            Exception: what it raises, on the leader; a DlpipeError with the same text on the others.
        """
        if self.size == 1:
            return make()
        told: list[Any] = [None, ""]
        failed: Exception | None = None
        if self.leads:
            try:
                told = [make(), ""]
                pickle.dumps(told)
            except Exception as error:
                failed, told = error, [None, f"rank 0: {error}"]
        with self.talking():
            dist.broadcast_object_list(told, src=0)
        if failed is not None:
            raise failed
        if told[1]:
            raise DlpipeError(told[1])
        return told[0]  # type: ignore[no-any-return]

    def leader_first(self, make: Callable[[], T]) -> T:
        """Return what `make` returns on every rank; the leader calls it before the others do.

        What it downloads or caches is there when they look.
        """
        if self.size == 1:
            return make()
        made: list[T] = []
        self.from_leader(lambda: made.append(make()))
        return made[0] if made else make()

    def same_weights(self, module: nn.Module) -> None:
        """Give every rank the weights of the leader, which the CPUs of two machines may have drawn in other bits."""
        if self.size > 1:
            with self.talking(), torch.no_grad():
                for tensor in module.state_dict().values():
                    if isinstance(tensor, Tensor):
                        dist.broadcast(tensor, src=0)

    def same_buffers(self, module: nn.Module) -> None:
        """Give every rank the buffers of the leader, such as the statistics of batch normalization."""
        if self.size == 1:
            return
        kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        for buffer in module.buffers():
            kinds.setdefault((buffer.dtype, buffer.device), []).append(buffer)
        with self.talking(), torch.no_grad():
            for buffers in kinds.values():  # together: a small one costs as much as all of them
                flat = torch.cat([buffer.reshape(-1) for buffer in buffers])
                dist.broadcast(flat, src=0)
                for buffer, part in zip(buffers, flat.split([each.numel() for each in buffers]), strict=True):
                    buffer.copy_(part.view_as(buffer))

    def mesh(self, kind: str) -> DeviceMesh:
        """Return these processes as torch's distributed tensors want them.

        Args:
            kind: of the device of each process, such as "cuda".
        """
        if kind not in _MEETING.meshes:
            _MEETING.meshes[kind] = init_device_mesh(kind, (self.size,))
        return _MEETING.meshes[kind]

    def require_same(self, what: Mapping[str, Any], name: str) -> None:
        """Compare something that must be the same for all ranks.

        Raises:
            InputError: a rank has something else; the first difference is named.
        """
        first, *others = self.gather(dict(what))
        for rank, other in enumerate(others, start=1):
            if different := [key for key in {**first, **other} if first.get(key) != other.get(key)]:
                key = different[0]
                raise InputError(
                    f"rank {rank} has another {name} than rank 0: {key} is {other.get(key)!r} and {first.get(key)!r}; "
                    "expected the same code, packages, data and kind of device for all processes"
                )

    @contextmanager
    def talking(self) -> Iterator[None]:
        """Say which connection failed; torch only says that one did."""
        try:
            yield
        except RuntimeError as error:  # torch's DistError, too
            raise _end_of_another() or LostRankError(
                f"rank {self.rank} lost the connection to another rank, whose process has ended or does not answer: "
                f"{str(error).strip().splitlines()[0]}. If its own output does not say why, look at its machine"
            ) from error


def _moved(tree: T, device: torch.device) -> T:
    """Return lists and dicts of tensors with the tensors on a device."""
    return tree_map(lambda part: part.to(device) if isinstance(part, Tensor) else part, tree)  # type: ignore[no-any-return]


def current_ranks() -> Ranks:
    """Return this process among those that it has joined; alone if it has joined none."""
    if dist.is_available() and dist.is_initialized():
        return Ranks(dist.get_rank(), dist.get_world_size())
    return Ranks()


@contextmanager
def joined(parallel: str) -> Iterator[Ranks]:
    """While entered, this process works together with the others that were started with it.

    Of an error that ends all, only the process that failed first reports it.

    Args:
        parallel: as in the settings of a pipeline.

    Raises:
        InputError: there are other processes, but `parallel` is "none"; or they do not find each other.
    """
    launch = launched()
    if launch.size == 1 or dist.is_initialized():
        yield current_ranks()
        return
    if parallel == "none":
        raise InputError(
            f"{launch.size} processes were started ({launch.by} = {launch.size}), but the pipeline has "
            'parallel = "none", so each would train a model of its own; expected parallel = "ddp" in the file, or '
            "--set parallel=ddp"
        )
    _meet(launch)
    ranks = current_ranks()
    try:
        yield ranks
        ranks.gather(None)  # they end together: srun kills those that have still to draw or to report
    except BaseException as error:
        ends = _reported_once(error)
        leave(tell_others=not isinstance(error, (LostRankError, EndedWithAnotherError)))
        raise ends from error.__cause__
    _end_group()


def _end_group() -> None:
    """End the group, which has no threads any more when nothing refers to it."""
    for mesh in _MEETING.meshes.values():
        mesh._pg_registry.clear()  # torch keeps meshes in caches
    _MEETING.meshes.clear()
    dist.destroy_process_group()


def leave(*, tell_others: bool) -> None:
    """Leave the group before the process ends early, within `LEAVING`, whatever the other ranks do.

    At the exit of the interpreter, the threads of the group could abort the process.

    Args:
        tell_others: rank 0, whose process usually keeps what the ranks tell each other, ends after those that ask why.
    """
    rank, size = dist.get_rank(), dist.get_world_size()
    leaving = threading.Thread(target=_end_group, daemon=True)  # it may hang; then the process ends
    leaving.start()
    leaving.join(LEAVING.total_seconds())
    with contextlib.suppress(RuntimeError):  # the process that keeps the store has ended, or another one has not
        assert _MEETING.store is not None
        _MEETING.store.set(f"left/{rank}", "yes")
        if rank == 0 and tell_others:
            _MEETING.store.wait([f"left/{other}" for other in range(1, size)], LEAVING)


def _meet(launch: Launch) -> None:
    """Wait for all processes, and let them form a group."""
    for name, value in _address_by_slurm() if launch.by.startswith("SLURM") else ():
        os.environ.setdefault(name, value)
    os.environ |= {"RANK": str(launch.rank), "WORLD_SIZE": str(launch.size)}
    try:
        store, _, _ = next(rendezvous("env://", timeout=ARRIVAL))
    except (ValueError, RuntimeError) as error:
        place = f"{os.environ.get('MASTER_ADDR', '?')}:{os.environ.get('MASTER_PORT', '?')}"
        raise InputError(
            f"rank {launch.rank} of {launch.size} cannot reach the meeting point {place} (MASTER_ADDR:MASTER_PORT): "
            f"{str(error).strip().splitlines()[0]}; if the port is in use, choose another one"
        ) from error
    # torchrun keeps its store when it starts all processes again; what is in it was told by those before.
    store = PrefixStore(f"dlpipe/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    wait_for_all(store, launch, ARRIVAL)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    _MEETING.store = store
    # Its functions have the group as a default. torch's compiler, which `compile` imports, would import it later, and
    # they would keep a group that exists by then forever, with its connections and threads.
    importlib.import_module("torch.distributed.nn.functional")
    dist.init_process_group(backend, store=store, rank=launch.rank, world_size=launch.size, timeout=ANSWER)
    atexit.unregister(gc.collect)
    atexit.register(gc.collect)  # cut models are reference cycles, and have the group


def wait_for_all(store: Store, launch: Launch, patience: timedelta) -> None:
    """Wait until all ranks have arrived.

    Raises:
        InputError: some have not; they are named.
    """
    store.set(f"arrived/{launch.rank}", "yes")
    names = [f"arrived/{rank}" for rank in range(launch.size)]
    try:
        store.wait(names, patience)
    except RuntimeError:
        missing = [str(rank) for rank, name in enumerate(names) if not store.check([name])]
        raise InputError(
            f"rank {launch.rank} waited {patience.total_seconds():g} s for rank {', '.join(missing)} of "
            f"{launch.size} ({launch.by}); see whether those processes were started and reach this machine"
        ) from None


def _address_by_slurm() -> Iterator[tuple[str, str]]:
    """Yield the address at which the tasks of a Slurm step meet: the first host, and a port of the step's own."""
    if "MASTER_ADDR" not in os.environ:
        hosts = ["scontrol", "show", "hostnames", os.environ.get("SLURM_STEP_NODELIST", "")]
        try:
            found = subprocess.run(hosts, capture_output=True, text=True, check=True, timeout=60).stdout.split()
        except (OSError, subprocess.SubprocessError) as error:
            raise InputError(f"scontrol cannot name the hosts of this step: {error}; set MASTER_ADDR") from error
        yield "MASTER_ADDR", found[0]
    job, step = (int(os.environ.get(name, 0)) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    yield "MASTER_PORT", str(20_000 + (job * 31 + step) % 20_000)


def announce_end(code: int) -> tuple[int, int]:
    """Say that this process ends with an exit code; return the rank and the exit code of the first that said so."""
    own = f"{dist.get_rank() if dist.is_initialized() else 0} {code}"
    try:
        first = _MEETING.store.compare_set("ended", "", own).decode() if _MEETING.store else own
    except RuntimeError:  # the process that keeps the store has ended
        first = own
    rank, _, first_code = first.partition(" ")
    return int(rank), int(first_code)


def _end_of_another() -> DlpipeError | None:
    """Return the error to raise if another process was stopped by a signal; None if it was not, or nobody knows."""
    try:
        told = _MEETING.store is not None and _MEETING.store.check(["ended"])
        rank, code = _MEETING.store.get("ended").decode().split() if told and _MEETING.store else ("", "")
    except RuntimeError:
        return None
    stopped = {str(error.exit_code): error for error in (Preempted, Interrupted)}
    return stopped[code](f"stopped together with rank {rank}") if code in stopped else None


def _reported_once(error: BaseException) -> BaseException:
    """Return the error to raise: the given one on the rank that fails first, on others one that names that rank."""
    first, _ = announce_end(error.exit_code if isinstance(error, DlpipeError) else 1)
    if first == dist.get_rank():
        return error
    ends = type(error) if isinstance(error, (Preempted, Interrupted)) else EndedWithAnotherError
    return ends(f"rank {dist.get_rank()} ends with rank {first}")


@dataclass
class _Meeting:
    """What the processes tell each other besides the collective operations of torch."""

    store: Store | None = None
    #: Of the group, by the kind of device.
    meshes: dict[str, DeviceMesh] = field(default_factory=dict)


_MEETING = _Meeting()
