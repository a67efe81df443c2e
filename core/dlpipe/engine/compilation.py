"""Compiling the model that is trained: the setting ``compile``."""

from __future__ import annotations

import os
import shutil
import sys

import torch
from torch import nn

from dlpipe.errors import InputError
from dlpipe.registry.hooks import hookimpl
from dlpipe.runs.file_manifest import cache_folder
from dlpipe.training.progress import Progress

#: The variable of torch's compiler that says where it keeps what it has compiled.
CACHE = "TORCHINDUCTOR_CACHE_DIR"


def compile_model(model: nn.Module, device: torch.device) -> None:
    """Let a model compile itself when it is called; its class, its weights and their names stay the same.

    Raises:
        InputError: there is no C++ compiler, which torch needs on a CPU.
    """
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if device.type == "cpu" and shutil.which(compiler) is None:
        raise InputError(
            f'compile = true: on a CPU, torch needs a C++ compiler, and "{compiler}" is not on the PATH; install it, '
            "name another one in the environment variable CXX, or leave `compile` out"
        )
    model.compile()


def keep_compiled() -> None:
    """Let torch keep what it compiles for a stage in the user's cache; the first step would set torch's default.

    What it has compiled in this process is forgotten: torch stops compiling a layer after eight models that differ,
    such as those of the trials of a sweep, and a size that is another one than before would become a variable.
    """
    os.environ.setdefault(CACHE, str(cache_folder() / "inductor"))
    torch._dynamo.reset()


class CompilationTime:
    """Says once, at the first log point, how long compiling has taken in this process."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._said = progress, False

    @hookimpl
    def dlpipe_step_logged(self) -> None:
        """Say it."""
        if not self._said:
            seconds = torch._dynamo.utils.calculate_time_spent().get("total_wall_time", 0.0)  # torch imports it late
            self._progress.message(
                f"compiled the model in {seconds:.1f} s; what can be used again is kept in {os.environ[CACHE]}"
            )
            self._said = True
