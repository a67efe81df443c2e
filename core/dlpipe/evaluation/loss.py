"""The loss of a model on a split, without what training adds to it (dropout, label smoothing)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dlpipe.data.model_caller import ModelCaller
from dlpipe.data.targets import count_targets, cross_entropies, cross_entropy, require_targets
from dlpipe.evaluation.example_scores import ExampleScores
from dlpipe.evaluation.examples import Examples
from dlpipe.protocols import Batch


class Loss:
    """Mean loss over everything that has a target: the model's own loss, else cross-entropy."""

    primary = "loss"
    goal: Literal["min"] = "min"

    def __init__(self) -> None:
        self._found: list[tuple[Tensor, Tensor, Tensor]] = []  # rows, loss and number of targets of each example

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Return ``loss``."""
        losses, counts = [], []
        self._found = []
        caller: ModelCaller | None = None
        with torch.inference_mode():
            for batch, outputs, _ in examples.predictions(model):
                caller = caller or ModelCaller(model, tuple(batch))
                losses.append(_loss(caller, batch, outputs).double())
                counts.append(count_targets(batch).double())
                if caller.own_loss() is None:
                    self._found.append((batch["rows"], *cross_entropies(outputs, batch["targets"])))
        means = torch.stack(losses)
        weights = torch.stack(counts).to(means.device)
        return {"loss": float((means * weights).sum() / weights.sum())}

    def example_scores(self) -> ExampleScores | None:
        """Return the cross-entropy of each example of the last `evaluate`; its weight is the number of its targets.

        None if the model has a loss of its own, which is known for batches only.
        """
        if not self._found:
            return None
        rows, losses, weights = (torch.cat(parts).tolist() for parts in zip(*self._found, strict=True))
        return ExampleScores(rows or range(len(losses)), losses, weights)  # a stream has no rows

    def write(self, folder: Path) -> None:
        """Write nothing: a loss is one number."""


def _loss(caller: ModelCaller, batch: Batch, outputs: Any) -> Tensor:
    own = caller.own_loss()
    if own is not None:
        return own(outputs, batch, None)
    require_targets(batch, "the loss")
    return cross_entropy(outputs, batch["targets"])
