"""The trainer for a model that needs no training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from torch import Tensor, nn


class NoTraining:
    """Leave the model as it is, so that it is evaluated and saved like any other; its steps do nothing."""

    steps_per_epoch = 1

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def steps(self) -> Iterator[dict[str, Tensor]]:
        """Do nothing; there are no metrics."""
        while True:
            yield {}

    def log_values(self) -> dict[str, float]:
        """Return nothing."""
        return {}

    def on_score(self, score: float, goal: Literal["max", "min"]) -> None:
        """Ignore the score."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore nothing."""
