"""Restoring a trainer from a checkpoint, which may have been changed or made by somebody else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlpipe.errors import CheckpointError
from dlpipe.protocols import SupportsStateBlocks, Trainer
from dlpipe.runs.checkpoint import STATE, load_state, load_state_blocks, load_weights
from dlpipe.runs.files import fits


def restore_trainer(trainer: Trainer, checkpoint: Path) -> dict[str, Any]:
    """Restore weights and state of a trainer from a checkpoint, and return the state of the loop."""
    state = load_state(checkpoint)
    load_weights(checkpoint, trainer.model)
    with fits(checkpoint / STATE, "the trainer", CheckpointError):
        _require_like(trainer.state_dict(), state["trainer"], "")
        trainer.load_state_dict(state["trainer"])
        if isinstance(trainer, SupportsStateBlocks):
            trainer.load_state_blocks(load_state_blocks(checkpoint))
    return dict(state["loop"])


def _require_like(own: Any, saved: Any, place: str) -> None:
    """Refuse a saved state with other types than the trainer's own: they would be noticed in the middle of a step.

    Raises:
        ValueError: a part has another type, or is a whole number of more than 64 bits.
    """
    numbers = (int, float)
    same = isinstance(saved, numbers) if isinstance(own, numbers) else isinstance(saved, type(own))
    if own is not None and not same:
        raise ValueError(f"{place} is of type {type(saved).__name__}; expected {type(own).__name__}")
    if isinstance(saved, int) and abs(saved) >= 2**63:
        raise ValueError(f"{place} is a whole number of more than 64 bits")
    if isinstance(own, Mapping) and isinstance(saved, Mapping):
        for name in own.keys() & saved.keys():
            _require_like(own[name], saved[name], f"{place}.{name}".lstrip("."))
    elif isinstance(own, list) and isinstance(saved, list):
        for number, (part, other) in enumerate(zip(own, saved, strict=False)):
            _require_like(part, other, f"{place}[{number}]")
