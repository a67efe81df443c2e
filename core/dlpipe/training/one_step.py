"""Trainers whose whole training is one step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from torch import Tensor, nn


class OneStep(ABC):
    """A trainer that is done after one step, and has no state besides the model.

    A trainer that inherits from it overrides `step`. Its record says ``TrainerSpec(…, finite=True)``, so that a
    pipeline need not say when the run ends.
    """

    steps_per_epoch = 1
    total_steps = 1

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    @abstractmethod
    def step(self) -> dict[str, Tensor]:
        """Train the model, and return what is to be logged: scalars by name."""

    def steps(self) -> Iterator[dict[str, Tensor]]:
        """Yield the metrics of the step; further steps would repeat it."""
        while True:
            yield self.step()

    def log_values(self) -> dict[str, float]:
        """Return nothing."""
        return {}

    def on_score(self, score: float, goal: Literal["max", "min"]) -> None:  # noqa: B027  there is nothing to adapt
        """Ignore the score."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the step depends on the data and the seed only."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027  there is no state
        """Restore nothing."""


class NoTraining(OneStep):
    """Leave the model as it is, so that it is evaluated and saved like any other."""

    def step(self) -> dict[str, Tensor]:
        """Do nothing; there are no metrics."""
        return {}
