"""The optional members of a trainer, as the core asks for them."""

from __future__ import annotations

from collections.abc import Mapping

from dlpipe.protocols import (
    SupportsCaveats,
    SupportsMetricWeights,
    SupportsStateBlocks,
    SupportsTotalSteps,
    Trainer,
)
from dlpipe.runs.checkpoint import StateBlock


def own_total_steps(trainer: Trainer) -> int | None:
    """Return the steps that a trainer's own budget allows, None if it has none."""
    return trainer.total_steps if isinstance(trainer, SupportsTotalSteps) else None


def caveats_of(trainer: Trainer) -> list[str]:
    """Return why a resumed run may differ from an uninterrupted one, as far as a trainer knows."""
    return list(trainer.caveats) if isinstance(trainer, SupportsCaveats) else []


def metric_weights_of(trainer: Trainer) -> Mapping[str, str]:
    """Return which metrics of a trainer's steps are weighted by which, none if it says nothing."""
    return trainer.metric_weights if isinstance(trainer, SupportsMetricWeights) else {}


def state_blocks_of(trainer: Trainer) -> Mapping[str, StateBlock]:
    """Return the large parts of a trainer's state by name, none if it has none."""
    return trainer.state_blocks() if isinstance(trainer, SupportsStateBlocks) else {}
