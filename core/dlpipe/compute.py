"""Where numbers are computed: device, precision, threads, free memory and random number generators."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from dlpipe.config.settings import Settings
from dlpipe.errors import InputError
from dlpipe.garbage_collection import collect_as_usual
from dlpipe.launch import launched
from dlpipe.ranks import Ranks, current_ranks

__all__ = [
    "Compute",
    "IsolatedRNG",
    "Ranks",
    "available_memory",
    "derived_seed",
    "seed_everything",
]

#: The same one each time: it is asked for several times in a step.
NO_AUTOCAST = contextlib.nullcontext()
#: Of a process in a container, or in a job of a batch system (cgroup v2).
CONTROL_GROUP, PROCESS_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


@dataclass(frozen=True)
class Compute:
    """The device and precision of a run.

    Args:
        dtype: of the forward pass; float32 means no autocast.
        ranks: the processes that train together; by default this one alone.
        shards: whether the weights that they train are cut over them.
        evaluation_batch_size: examples that are evaluated or predicted together.
    """

    device: torch.device
    dtype: torch.dtype = torch.float32
    ranks: Ranks = Ranks()  # noqa: RUF009  frozen
    shards: bool = False
    evaluation_batch_size: int = Settings.evaluation_batch_size

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context that a forward pass runs in."""
        if self.dtype is torch.float32:
            return NO_AUTOCAST
        return torch.autocast(self.device.type, self.dtype)

    def in_float32(self, outputs: Any) -> Any:
        """Return what a model returned, with tensors of lower precision as float32.

        Losses and probabilities are computed of these: a mean of thousands of numbers in bfloat16 has two digits.
        """
        return outputs if self.dtype is torch.float32 else in_float32(outputs)

    def fits(self, size: int) -> bool:
        """Return whether `size` bytes of data can stay on the device besides model and activations."""
        if self.device.type != "cuda":
            return True  # the host's memory holds them already
        return size < available_memory(self.device) // 2


def in_float32(outputs: Any) -> Any:
    """Return nested tensors with those of lower precision as float32; see `Compute.in_float32`."""
    return tree_map(lambda part: part.float() if _is_lower(part) else part, outputs)


def _is_lower(part: Any) -> bool:
    return isinstance(part, Tensor) and part.dtype in (torch.bfloat16, torch.float16)


def configure_torch(settings: Settings) -> Compute:
    """Set up threads, determinism, all global randomness and garbage collection for a run.

    Raises:
        InputError: the device does not exist.
    """
    collect_as_usual()
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    if settings.deterministic:
        # cuBLAS is deterministic only with a workspace of fixed size; torch raises if it is not set.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if settings.deterministic != torch.are_deterministic_algorithms_enabled():  # the call imports torch's compiler
        torch.use_deterministic_algorithms(settings.deterministic)
    # The older of two interfaces: after the newer one, torch raises where its own compiler reads the older.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = settings.tf32
    seed_everything(settings.seed)
    ranks = current_ranks()
    device = _device(settings.device) if ranks.size == 1 else _device_of_rank(settings.device)
    if device.type != "cpu":
        torch.accelerator.set_device_index(device.index)  # what waits for the accelerator waits for the current one
    shards = settings.parallel == "fsdp" and ranks.size > 1
    return Compute(device, getattr(torch, settings.precision), ranks, shards, settings.evaluation_batch_size)


@contextlib.contextmanager
def restoring_torch() -> Iterator[None]:
    """Restore, when the block ends, what a run sets for the whole process.

    That is the number of threads, determinism, TF32, the default data type, the current accelerator, and the random
    number generators of Python, numpy and torch; what remains is ``CUBLAS_WORKSPACE_CONFIG`` in the environment, if a
    run was deterministic.
    """
    threads, dtype, host = torch.get_num_threads(), torch.get_default_dtype(), _host_state()
    current = torch.accelerator.current_device_index() if torch.accelerator.is_available() else None
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    deterministic = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        _set_host_state(host)
        if current is not None:
            torch.accelerator.set_device_index(current)
        if devices:
            torch.cuda.set_rng_state_all(devices)
        if torch.are_deterministic_algorithms_enabled() != deterministic[0]:
            torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32


def visible_gpus() -> list[str]:
    """Return the CUDA devices that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return [name.strip() for name in named[:count]] if named != [""] else [str(index) for index in range(count)]


def available_memory(device: torch.device) -> int:
    """Return the bytes that this process can still allocate: of the GPU, or of the host within its control group."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + cached
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        host = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):  # not Linux
        host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return min([host, *_left_in_control_group()])


def _left_in_control_group() -> list[int]:
    """Return what a container or a job of a batch system may still use: each of its control groups may have a limit."""
    found = []
    for group in _control_groups():
        with contextlib.suppress(OSError, ValueError):  # no limit is the word "max"
            limit = int((group / "memory.max").read_text())
            statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            cached = int(statistics["inactive_file"])  # is freed when memory is needed
            found.append(max(0, limit - int((group / "memory.current").read_text()) + cached))
    return found


def _control_groups() -> list[Path]:
    """Return the folders of the control group of this process and of those that contain it."""
    try:
        lines = PROCESS_GROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    folder = CONTROL_GROUP / own
    return [each for each in (folder, *folder.parents) if each.is_relative_to(CONTROL_GROUP)]


def seed_everything(seed: int) -> None:
    """Seed the generators of Python, numpy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  components may use the global generator
    torch.manual_seed(seed)


def seed_host(seed: int) -> None:
    """Seed the generators of Python, numpy and torch of the CPU."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.default_generator.manual_seed(seed)


def derived_seed(*parts: int | str) -> int:
    """Return a seed that depends on all `parts`, such as ``derived_seed(seed, "order", epoch)``."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:7], "big")


def randomness() -> dict[str, Any]:
    """Return the state of all global generators, as ``weights_only`` can load it."""
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "python": [version, list(words), gauss],
        "numpy": [torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_randomness(state: Mapping[str, Any]) -> None:
    """Set all global generators to what `randomness` returned."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    keys, position, has_gauss, cached = state["numpy"]
    if not 0 <= position <= len(keys) == 624:  # numpy itself would read beyond its array
        raise ValueError(f"the position {position} is not in the state of numpy's generator")
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    # A run can be resumed with fewer devices, or none.
    for index, cuda in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(cuda, index)


class IsolatedRNG:
    """While entered, the global random number generators of the CPU are replaced by its own, seeded ones.

    The random numbers of the rest of the program are unaffected. Entered again, it continues where it was.
    """

    def __init__(self, seed: int) -> None:
        self._seed: int | None = seed
        self._own: Any = None
        self._outside: Any = None

    def __enter__(self) -> IsolatedRNG:
        self._outside = _host_state()
        if self._seed is None:
            _set_host_state(self._own)
        else:
            seed_host(self._seed)
            self._seed = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._own = _host_state()
        _set_host_state(self._outside)


def _host_state() -> tuple[Any, Any, Tensor]:
    return random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002


def _set_host_state(state: tuple[Any, Any, Tensor]) -> None:
    random.setstate(state[0])
    np.random.set_state(state[1])  # noqa: NPY002
    torch.set_rng_state(state[2])


def _device_of_rank(name: str) -> torch.device:
    """Return the device of this process among several on one machine.

    Raises:
        InputError: there are fewer accelerators than processes, or all were to use the same one.
    """
    device = _device(name)
    if device.type == "cpu":
        return device
    if ":" in name:
        raise InputError(
            f'device = "{name}": several processes would share it; expected "auto" or "{device.type}", which gives '
            "each process its own"
        )
    count, launch = torch.accelerator.device_count(), launched()
    local = launch.local_rank
    index = 0 if count == 1 and launch.by.startswith("SLURM") else local  # srun may show each process its own only
    if index >= count:
        raise InputError(
            f"local rank {local} has no {device.type} device of its own: this machine has {count}; start as many "
            'processes as there are devices, or set device = "cpu"'
        )
    return torch.device(device.type, index)


def _device(name: str) -> torch.device:
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    device = (accelerator or torch.device("cpu")) if name == "auto" else torch.device(name)
    count = torch.accelerator.device_count() if accelerator and accelerator.type == device.type else 0
    if device.type != "cpu" and (device.index or 0) >= count:
        there = f"{count} of that kind" if count else "none of that kind"
        raise InputError(f'device = "{name}": this machine has {there}; expected "auto" or "cpu"')
    # With its index, as in tensors: "cuda" does not equal the "cuda:0" of a tensor that was moved there.
    if device.type == "cpu" or device.index is not None:
        return device
    return torch.device(device.type, torch.accelerator.current_device_index())
