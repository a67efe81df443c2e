"""What the loop itself must remember across a kill, and what a checkpoint holds of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, NotRequired

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from dlpipe.compute import derived_seed, randomness, seed_everything
from dlpipe.fields import NonNegative
from dlpipe.ranks import Ranks
from dlpipe.training.step_metrics import Metrics

#: Steps since the last log point of which a checkpoint holds the metrics.
MOST_PENDING = 10**7


@dataclass
class LoopState:
    """What the loop itself must remember across a kill.

    Args:
        best: score of the best checkpoint so far.
        best_loss: its loss on dev, where that decides between equal scores.
        reference: score of the last improvement that counted for patience.
        stale: evaluations since then.
        seconds: of training, in all processes of this run.
        reason: why the run has ended; empty while it has not.
        evaluated: whether everything that was due after `step` is done; not if an evaluator failed.
        pending: metrics of the steps since the last log point, not read yet.
        losses: by name, the sum of a loss over the steps since the last evaluation, and their number, as far as it
            has been read.
        counted: how many of the pending steps are in it, or in an earlier evaluation.
    """

    step: int = 0
    best: float | None = None
    best_loss: float | None = None
    best_step: int = 0
    reference: float | None = None
    stale: int = 0
    seconds: float = 0.0
    reason: str = ""
    evaluated: bool = True
    pending: list[Metrics] = field(default_factory=list)
    losses: dict[str, tuple[float, int]] = field(default_factory=dict)
    counted: int = 0


class SavedLoop(TypedDict):
    """What a checkpoint holds of the loop."""

    step: Annotated[NonNegative, Field(lt=2**63)]
    best: float | None
    best_loss: NotRequired[float | None]
    best_step: NonNegative
    reference: NotRequired[float | None]
    stale: NonNegative
    seconds: float
    reason: str
    evaluated: bool
    pending: dict[str, tuple[list[NonNegative], Any]]
    pending_steps: Annotated[NonNegative, Field(le=MOST_PENDING)]
    losses: NotRequired[dict[str, tuple[float, NonNegative]]]
    counted: NotRequired[NonNegative]
    log_size: Annotated[NonNegative, Field(lt=2**63)]
    randomness: dict[str, Any]
    other_randomness: NotRequired[list[dict[str, Any]]]


SAVED_LOOP = TypeAdapter(SavedLoop)


def randomness_of(ranks: Ranks, state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the state of the random number generators of this rank that a checkpoint holds.

    A rank that did not exist when it was saved continues from a seed of its own.
    """
    saved = [state["randomness"], *state.get("other_randomness", ())]
    if ranks.rank < len(saved):
        return dict(saved[ranks.rank])
    seed_everything(derived_seed("rank", ranks.rank, state["step"]))
    return randomness()
