"""Checkpoints: written whole or not at all, verified when read, never able to run code.

A checkpoint is a folder ``step-00001200`` with

    weights.safetensors   the model
    state.pt              everything else the next step depends on, read with ``weights_only``
    manifest.json         size and sha256 of both

It is written under a temporary name, flushed to the disk and renamed; so what bears the final name
is complete. ``last`` and ``best`` are links.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from dlpipe.errors import CheckpointError
from dlpipe.files import flush, link
from dlpipe.pipeline_file import relative

WEIGHTS, STATE, MANIFEST = "weights.safetensors", "state.pt", "manifest.json"
_TEMPORARY = ".saving-"


class Checkpoints:
    """The checkpoints of one run (or stage).

    Args:
        folder: where they are; made when the first one is saved.
        keep: how many of the last ones to keep beside the best one.
        warn: told about a damaged checkpoint that is passed over.
    """

    def __init__(self, folder: Path, *, keep: int = 2, warn: Callable[[str], None] = lambda message: None) -> None:
        self.folder = folder
        self._keep, self._warn = keep, warn

    def save(self, step: int, model: nn.Module, state: Mapping[str, Any], *, best: bool) -> Path:
        """Save a checkpoint and drop those no longer wanted.

        Args:
            best: it is the best one so far.

        Raises:
            CheckpointError: it could not be written; the earlier ones are as they were.
        """
        final = self._path(step)
        temporary = self.folder / f"{_TEMPORARY}{final.name}"
        try:
            for left in self.folder.glob(f"{_TEMPORARY}*"):  # by a process that was killed while it saved
                shutil.rmtree(left, ignore_errors=True)
            temporary.mkdir(parents=True)
            with ThreadPoolExecutor(2) as both:  # writing, hashing and waiting for the disk all leave the lock
                weights = both.submit(save_model, model, str(temporary / WEIGHTS))
                torch.save(dict(state), temporary / STATE)
                weights.result()
                flushed = [both.submit(flush, temporary / name) for name in (WEIGHTS, STATE)]
                files = {name: _describe(temporary / name) for name in (WEIGHTS, STATE)}
                for each in flushed:
                    each.result()
            (temporary / MANIFEST).write_text(json.dumps({"step": step, "best": best, "files": files}, indent=1))
            flush(temporary / MANIFEST)
            flush(temporary)
            shutil.rmtree(final, ignore_errors=True)  # of a run that went further before it was resumed
            temporary.rename(final)
            flush(self.folder)
        except (OSError, RuntimeError, SafetensorError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            kept = [earlier for earlier in self.steps() if earlier < step]
            good = f"the checkpoint of step {kept[-1]} is intact" if kept else "there is no earlier one"
            reason = _reason(error, self.folder)
            raise CheckpointError(
                f"{relative(final)}: the checkpoint of step {step} could not be saved: {reason}; {good}. "
                "Make room or give the folder back its rights, then: dlpipe resume"
            ) from error
        try:
            link(self.folder / "last", final.name)
            if (found := self._best_step(step)) is not None:
                link(self.folder / "best", self._path(found).name)
        except OSError as error:  # the checkpoint itself is whole, and nothing is read through the links
            self._warn(f"{relative(self.folder)}: the links last and best could not be set: {error.strerror}")
        self._prune(step)
        return final

    def steps(self) -> list[int]:
        """Return the steps of the complete checkpoints, ascending."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(int(path.name[5:]) for path in self.folder.glob("step-*") if path.name[5:].isdigit())
        return []

    def latest(self, before: int | None = None) -> Path | None:
        """Return the newest checkpoint that is whole, or None; a damaged one is named and passed over.

        Args:
            before: only those of earlier steps.
        """
        for step in reversed(self.steps()):
            if before is not None and step >= before:
                continue
            path = self._path(step)
            if not (damage := verify(path)):
                return path
            self._warn(f"{relative(path)}: {damage}; falling back to the checkpoint before it")
        return None

    def best(self) -> Path | None:
        """Return the best checkpoint, or the newest whole one where there is no best.

        The manifests tell, not the link: a process can be killed between the rename and the link.
        """
        for step in reversed(self.steps()):
            path = self._path(step)
            if _says_best(path) is False:
                continue
            if not (damage := verify(path)):
                return path
            self._warn(f"{relative(path)}: {damage}; falling back to another checkpoint")
        return self.latest()

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"

    def _best_step(self, saved: int) -> int | None:
        steps = [step for step in self.steps() if step <= saved]
        return next((step for step in reversed(steps) if _says_best(self._path(step))), None)

    def _prune(self, saved: int) -> None:
        """Drop the old ones, and those of a run that went further before it was resumed."""
        steps = self.steps()
        wanted = {*[step for step in steps if step <= saved][-self._keep :], self._best_step(saved)}
        for step in steps:
            if step not in wanted:
                shutil.rmtree(self._path(step), ignore_errors=True)


def _reason(error: Exception, folder: Path) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # torch and safetensors say of a full disk that they are at an unexpected position of the file.
    free = shutil.disk_usage(folder).free if folder.exists() else 0
    return f"{str(error).strip()} ({free / 1e6:.1f} MB are free on that disk)"


def _says_best(checkpoint: Path) -> bool | None:
    """Say whether a checkpoint was the best one when it was saved; None if its manifest cannot be read."""
    try:
        return bool(json.loads((checkpoint / MANIFEST).read_text())["best"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def verify(checkpoint: Path) -> str:
    """Return what is wrong with a checkpoint, or an empty text."""
    try:
        manifest = json.loads((checkpoint / MANIFEST).read_text())
        for name in (WEIGHTS, STATE):
            wanted, found = manifest["files"][name], _describe(checkpoint / name)
            if wanted["size"] != found["size"]:
                return f"{name} has {found['size']} bytes, the manifest says {wanted['size']}"
            if wanted["sha256"] != found["sha256"]:
                return f"{name} is damaged (its sha256 is not that of the manifest)"
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is missing"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"it cannot be read ({type(error).__name__}: {error})"
    return ""


def load_weights(checkpoint: Path, model: nn.Module) -> None:
    """Load the weights of a checkpoint into `model`.

    Raises:
        CheckpointError: they belong to another model.
    """
    try:
        load_model(model, str(checkpoint / WEIGHTS))
    except (RuntimeError, SafetensorError, OSError) as error:
        raise CheckpointError(f"{relative(checkpoint / WEIGHTS)} does not fit the model: {error}") from error


def load_state(checkpoint: Path) -> dict[str, Any]:
    """Return the state of a checkpoint; nothing in the file can run code.

    Raises:
        CheckpointError: the file is no state.
    """
    try:
        return torch.load(checkpoint / STATE, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]
    except Exception as error:  # torch raises many kinds for a file that is not its own
        raise CheckpointError(f"{relative(checkpoint / STATE)} cannot be loaded safely: {error}") from error


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
