"""Checkpoints: written completely or not at all, verified when read, unable to run code.

A checkpoint is a folder ``step-00001200`` with

    weights.safetensors        the model
    state.pt                   everything else that the next step depends on, read with ``weights_only``
    block-<name>.safetensors   parts of a large state that change rarely, if the trainer has any
    manifest.json              size and sha256 of each file

It is written under a temporary name, flushed to disk and renamed, so any folder with the final name is
complete. One of the same step, from before the run was resumed, is renamed aside first and deleted last; if the
process is killed in between, it gets its name back. ``last`` and ``best`` are links. A block that has not changed
since the previous checkpoint is a hard link to the same file, so that a replay buffer is not written in full each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dlpipe.errors import CheckpointError, InputError, PluginError, RunFolderError, reason_of, system_error
from dlpipe.messages import relative
from dlpipe.runs.atomic import flush, link
from dlpipe.runs.files import open_regular, read_json
from dlpipe.runs.manifests import MANIFEST, best_step, checkpoint_path, saved_steps, says_best
from dlpipe.runs.plain_state import difference
from dlpipe.runs.weights import load_weights_file, save_weights

WEIGHTS, STATE = "weights.safetensors", "state.pt"
TEMPORARY, REPLACED = ".saving-", ".replaced-"
_BYTEARRAY = re.compile(rb"c(builtins|__builtin__)\nbytearray\n")
#: What every state consists of.
PARTS = ("loop", "trainer")
#: Bytes by which a state may be larger than its file: a small tensor may repeat one number.
SLACK = 2**20
_BLOCK = re.compile(r"block-([a-z0-9][a-z0-9_-]*)\.safetensors")


@dataclass(frozen=True)
class StateBlock:
    """A rarely changing part of a trainer's large state, such as a full part of a replay buffer.

    Args:
        version: a number that changes whenever the content changes. It must be derived from the trainer's
            state (for example, the number of writes to the part), so that it is the same after a resume.
        tensors: the content by name; views of a larger tensor are written without a copy.
    """

    version: int
    tensors: Mapping[str, Tensor]


class Checkpoints:
    """The checkpoints of one run (or stage).

    Args:
        folder: their folder; created when the first one is saved.
        keep: number of latest checkpoints to keep, in addition to the best one.
        warn: called with a message for each damaged checkpoint that is skipped.
        writes: if not, `save` does nothing: another process saves the same.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep: int = 2,
        warn: Callable[[str], None] = lambda message: None,
        writes: bool = True,
    ) -> None:
        self.folder, self._writes = folder, writes
        self._keep, self._warn = keep, warn
        self._base: Path | None = None
        self._has_read_back = False

    def continue_from(self, checkpoint: Path) -> None:
        """Continue from `checkpoint`: the next checkpoint links to its unchanged blocks."""
        self._base = checkpoint

    def save(
        self,
        step: int,
        model: nn.Module,
        state: Mapping[str, Any],
        *,
        best: bool,
        blocks: Mapping[str, StateBlock] | None = None,
    ) -> Path:
        """Save a checkpoint and delete those no longer needed; the first one is read back and compared.

        Args:
            best: whether it is the best one so far.
            blocks: parts of the state by name (lower-case letters, digits, - and _); a block is written only if
                its version differs from that in the previous checkpoint.

        Raises:
            CheckpointError: it could not be written; the earlier ones are unchanged.
            PluginError: the name of a block is not valid as a file name.
        """
        blocks = {f"block-{name}.safetensors": block for name, block in (blocks or {}).items()}
        if wrong := [name for name in blocks if not _BLOCK.fullmatch(name)]:
            raise PluginError(
                f"a trainer's state block is named {wrong[0][6:-12]!r}; expected lower-case letters, digits, - and _"
            )
        final = self._path(step)
        if not self._writes:
            return final
        temporary = self.folder / f"{TEMPORARY}{final.name}"
        try:
            for left in self.folder.glob(f"{TEMPORARY}*"):  # left by a process that was killed while it saved
                shutil.rmtree(left, ignore_errors=True)
            temporary.mkdir(parents=True)
            files = self._write_files(temporary, model, state, blocks)
            if not self._has_read_back:
                _read_back(temporary, model, state)
                self._has_read_back = True
            (temporary / MANIFEST).write_text(json.dumps({"step": step, "best": best, "files": files}, indent=1))
            flush(temporary / MANIFEST)
            flush(temporary)
            if final.exists():  # from before the run was resumed from an earlier step
                final.rename(self._aside(final))
            temporary.rename(final)
            flush(self.folder)
            shutil.rmtree(self._aside(final), ignore_errors=True)
        except (OSError, RuntimeError, ValueError, SafetensorError, CheckpointError) as error:
            with contextlib.suppress(OSError):
                self._settle_replaced()
            shutil.rmtree(temporary, ignore_errors=True)
            raise self._not_saved(step, error) from error
        self._set_links(step)
        self._base = final
        self._prune(step)
        return final

    def recover(self) -> None:
        """Complete what a killed process left undone: the replacement of a checkpoint, and the links.

        Only the process that saves may do so.

        Raises:
            CheckpointError: a checkpoint cannot get its name back.
        """
        if not self._writes:
            return
        try:
            self._settle_replaced()
        except OSError as error:
            raise CheckpointError(
                f"{relative(Path(str(error.filename)))}: this checkpoint cannot be renamed: {error.strerror}"
            ) from error
        if steps := self.steps():
            self._set_links(steps[-1])

    def _settle_replaced(self) -> None:
        """Delete each checkpoint that has been replaced, and give its name back to one that has not."""
        for aside in self.folder.glob(f"{REPLACED}*"):
            final = self.folder / aside.name.removeprefix(REPLACED)
            if final.exists():
                shutil.rmtree(aside, ignore_errors=True)
            else:
                aside.rename(final)

    def _aside(self, final: Path) -> Path:
        return self.folder / f"{REPLACED}{final.name}"

    def _set_links(self, step: int) -> None:
        try:
            link(self.folder / "last", self._path(step).name)
            if (found := best_step(self.folder, step)) is not None:
                link(self.folder / "best", self._path(found).name)
        except OSError as error:  # the checkpoint itself is complete, and nothing is read through the links
            self._warn(f"{relative(self.folder)}: the links last and best could not be set: {error.strerror}")

    def _not_saved(self, step: int, error: Exception) -> CheckpointError:
        """Return the error for a checkpoint that could not be saved: it says why, and what is left."""
        kept = [earlier for earlier in self.steps() if earlier < step]
        intact = f"the checkpoint of step {kept[-1]} is intact" if kept else "there is no earlier one"
        refused = system_error(error)
        reason = (refused and refused.strerror) or str(error).strip()
        remedy = "Free some space or restore write permission" if refused else "Fix this"
        return CheckpointError(
            f"{relative(self._path(step))}: the checkpoint of step {step} could not be saved: {reason}; {intact}. "
            f"{remedy}, then: dlpipe resume"
        )

    def _write_files(
        self, folder: Path, model: nn.Module, state: Mapping[str, Any], blocks: Mapping[str, StateBlock]
    ) -> dict[str, dict[str, Any]]:
        """Write weights, state and blocks, flush them to disk, and return their manifest entries."""
        with ThreadPoolExecutor(2) as both:  # writing, hashing and fsync all release the GIL
            weights = both.submit(save_weights, model, folder / WEIGHTS)
            with (folder / STATE).open("wb") as file:  # given a path, torch would hide why it could not write
                torch.save(dict(state), file)
            weights.result()
            files = self._save_blocks(folder, blocks)
            written = [WEIGHTS, STATE, *(name for name, entry in files.items() if "sha256" not in entry)]
            flushed = [both.submit(flush, folder / name) for name in written]
            for name in written:
                shutil.copymode(folder / STATE, folder / name)  # safetensors lets nobody else read its files
                files[name] = files.get(name, {}) | _describe(folder / name)
            for each in flushed:
                each.result()
        return files

    def _save_blocks(self, folder: Path, blocks: Mapping[str, StateBlock]) -> dict[str, dict[str, Any]]:
        """Write or link the blocks; return their manifest entries by file (of a written one, only its version)."""
        previous: dict[str, Any] = {}
        with contextlib.suppress(RunFolderError):  # then all blocks are written
            previous = read_json((self._base or folder) / MANIFEST)["files"]
        files: dict[str, dict[str, Any]] = {}
        for file, block in blocks.items():
            entry = previous.get(file, {})
            if self._base and entry.get("version") == block.version:
                with contextlib.suppress(OSError):  # the file system does not support hard links, or the file is gone
                    (folder / file).hardlink_to(self._base / file)
                    files[file] = entry
                    continue
            save_file({key: tensor.contiguous() for key, tensor in block.tensors.items()}, folder / file)
            files[file] = {"version": block.version}
        return files

    def steps(self) -> list[int]:
        """Return the steps of the complete checkpoints, ascending."""
        return saved_steps(self.folder)

    def latest(self, before: int | None = None) -> Path | None:
        """Return the newest complete checkpoint, or None; damaged ones are reported and skipped.

        Args:
            before: consider only checkpoints of earlier steps than this.
        """
        for step in reversed(self.steps()):
            if before is not None and step >= before:
                continue
            path = self._path(step)
            if not (damage := verify(path)):
                return path
            self._warn(f"{relative(path)}: {damage}; falling back to the previous one")
        return None

    def best(self) -> Path | None:
        """Return the best checkpoint, or the newest complete one if none is marked as best.

        This reads the manifests, not the link: a process can be killed between the rename and the link.
        """
        for step in reversed(self.steps()):
            path = self._path(step)
            if says_best(path) is False:
                continue
            if not (damage := verify(path)):
                return path
            self._warn(f"{relative(path)}: {damage}; falling back to another checkpoint")
        return self.latest()

    def find(self, which: str) -> Path | None:
        """Return the checkpoint that the user asks for: "best", "last", or the number of a step.

        Raises:
            InputError: it is none of these, there is no checkpoint of that step, or it is damaged.
        """
        if which in ("best", "last"):
            return self.best() if which == "best" else self.latest()
        available = ", ".join(map(str, self.steps())) or "none"
        if not which.isdecimal() or int(which) not in self.steps():
            raise InputError(
                f'{relative(self.folder)}: checkpoint "{which}": expected best, last or one of the steps {available}'
            )
        path = self._path(int(which))
        if damage := verify(path):
            raise InputError(f"{relative(path)}: {damage}; choose another of the steps {available}")
        return path

    def _path(self, step: int) -> Path:
        return checkpoint_path(self.folder, step)

    def _prune(self, saved: int) -> None:
        """Delete old checkpoints, and those of later steps from before the run was resumed."""
        steps = self.steps()
        keep = {*[step for step in steps if step <= saved][-self._keep :], best_step(self.folder, saved)}
        for step in steps:
            if step not in keep:
                shutil.rmtree(self._path(step), ignore_errors=True)


def step_of(checkpoint: Path) -> int:
    """Return the step of a checkpoint folder ``step-00001200``."""
    return int(checkpoint.name.removeprefix("step-"))


def verify(checkpoint: Path) -> str:
    """Return what is wrong with a checkpoint, or an empty string."""
    if not (checkpoint / MANIFEST).exists():
        return f"{MANIFEST} is missing"
    try:
        manifest = read_json(checkpoint / MANIFEST)
        if manifest["step"] != step_of(checkpoint):
            return f"its manifest is of step {manifest['step']}"
        required = (WEIGHTS,) if manifest.get("weights_only") else (WEIGHTS, STATE)
        for name in dict.fromkeys(required) | manifest["files"]:
            if name not in (WEIGHTS, STATE) and not _BLOCK.fullmatch(name):
                return f"its manifest names {name!r}, which does not belong to a checkpoint"
            if name not in manifest["files"]:
                return f"its manifest does not name {name}"
            expected, found = manifest["files"][name], _describe(checkpoint / name)
            if expected["size"] != found["size"]:
                return f"{name} has {found['size']} bytes, the manifest says {expected['size']}"
            if expected["sha256"] != found["sha256"]:
                return f"{name} is damaged (its sha256 differs from the manifest)"
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is missing"
    except (OSError, RunFolderError) as error:
        return f"it cannot be read ({error})"
    return ""


def _read_back(folder: Path, model: nn.Module, state: Mapping[str, Any]) -> None:
    """Read the weights and the state that were written to a folder, and compare.

    Raises:
        CheckpointError: a part cannot be read, or is not what was saved.
    """
    weights, own = load_file(folder / WEIGHTS), model.state_dict()
    different = difference({name: own[name] for name in weights}, weights)
    try:
        different = different or difference(dict(state), _plain_state(folder / STATE))
    except Exception as error:  # torch raises many types
        raise CheckpointError(f"{STATE} cannot be read back: {reason_of(error)}") from error
    if different:
        raise CheckpointError(f"what was written is not the same when it is read back: {different}")


def copy_weights(checkpoint: Path, folder: Path) -> None:
    """Copy the weights of a checkpoint to a folder of checkpoints, as one without a state: nothing can resume from it.

    Raises:
        OSError: it cannot be written.
    """
    place = folder / checkpoint.name
    place.mkdir(parents=True)
    shutil.copyfile(checkpoint / WEIGHTS, place / WEIGHTS)
    content = {"step": step_of(checkpoint), "best": True, "files": {WEIGHTS: _describe(place / WEIGHTS)}}
    (place / MANIFEST).write_text(json.dumps(content | {"weights_only": True}, indent=1))


def load_weights(checkpoint: Path, model: nn.Module) -> None:
    """Load the weights of a checkpoint into `model`.

    Raises:
        CheckpointError: they do not fit the model.
    """
    try:
        load_weights_file(checkpoint / WEIGHTS, model)
    except (RuntimeError, SafetensorError, OSError) as error:
        raise CheckpointError(f"{relative(checkpoint / WEIGHTS)} does not fit the model: {error}") from error


def load_state(checkpoint: Path) -> dict[str, Any]:
    """Return the state of a checkpoint; nothing in the file can run code.

    Raises:
        CheckpointError: the file is not the state of a checkpoint.
    """
    try:
        state = _plain_state(checkpoint / STATE)
        if not isinstance(state, dict) or not all(isinstance(state.get(part), dict) for part in PARTS):
            raise ValueError(f"expected a dict with the dicts {' and '.join(PARTS)}")
        return state
    except Exception as error:  # torch raises many types of errors for a foreign file
        raise CheckpointError(f"{relative(checkpoint / STATE)} cannot be loaded safely: {reason_of(error)}") from error


def _plain_state(path: Path) -> Any:
    require_plain(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    _require_no_larger(state, path.stat().st_size)
    return state


def require_plain(path: Path) -> None:
    """Refuse a torch.save file that would take more memory than its size on disk; torch itself does not compress.

    Raises:
        ValueError: the file has compressed or overlapping parts, or a bytearray, whose size is a mere number.
    """
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
            raise ValueError(f"{path.name} contains compressed parts, which torch does not write")
        if sum(part.file_size for part in parts) > path.stat().st_size:
            raise ValueError(f"the parts of {path.name} are larger than the file")
        # torch would make one: `bytearray(10**12)` takes a terabyte.
        if any(_BYTEARRAY.search(archive.read(part)) for part in parts if part.filename.endswith("data.pkl")):
            raise ValueError(f"{path.name} contains a bytearray; expected tensors, numbers, strings, lists and dicts")


def _require_no_larger(state: Any, size: int) -> None:
    """Refuse a state that takes more memory than its file: a tensor that repeats one number, a list within itself.

    Raises:
        ValueError: it does.
    """
    left, counted, pending = size + SLACK, set(), [state]
    while pending:
        value = pending.pop()
        if isinstance(value, Tensor):
            left -= 0 if id(value) in counted else value.numel() * value.element_size()
            counted.add(id(value))
        elif isinstance(value, (dict, list, tuple, set)):
            left -= len(value)
            if left >= 0:
                pending.extend(value.values() if isinstance(value, dict) else value)
        if left < 0:
            raise ValueError("its content is larger than the file")


def load_state_blocks(checkpoint: Path) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield the (name, tensors) of each block of a checkpoint; only one is in memory at a time.

    Raises:
        CheckpointError: a block cannot be loaded.
    """
    for path in sorted(checkpoint.iterdir()):
        if match := _BLOCK.fullmatch(path.name):
            try:
                yield match[1], load_file(path)
            except (RuntimeError, SafetensorError, OSError) as error:
                raise CheckpointError(f"{relative(path)} cannot be loaded: {error}") from error


def _describe(path: Path) -> dict[str, Any]:
    with os.fdopen(open_regular(path), "rb") as file:
        return {"size": os.fstat(file.fileno()).st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
