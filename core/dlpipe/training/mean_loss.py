"""The loss of a model on a split, without what training adds to it (dropout, label smoothing)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dlpipe.data.model_caller import ModelCaller
from dlpipe.data.targets import count_targets, require_targets
from dlpipe.evaluation.example_scores import ExampleScores
from dlpipe.evaluation.examples import Examples
from dlpipe.fields import LossTable
from dlpipe.protocols import Batch
from dlpipe.training.losses import example_losses, loss_function


class Loss:
    """Mean loss over everything that has a target, or over what the model's own loss is a mean of.

    Args:
        loss: as that of core.supervised, and by default that of the trainer; for a trainer that has none "auto": the
            model's own loss if it has one, else cross-entropy.
    """

    primary = "loss"
    goal: Literal["min"] = "min"

    def __init__(self, *, loss: LossTable | None = None) -> None:
        self._loss = "auto" if loss is None else loss
        self._found: list[tuple[Tensor, Tensor, Tensor]] = []  # rows, loss and number of targets of each example

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Return ``loss``."""
        losses, counts = [], []
        self._found = []
        caller: ModelCaller | None = None
        function = loss_function(self._loss, device=examples.compute.device)
        with torch.inference_mode():
            for batch, outputs in examples.outputs(model):
                caller = caller or ModelCaller(model, tuple(batch))
                own = caller.own_loss() if self._loss == "auto" else None
                if own is None:
                    require_targets(batch, "the loss")
                loss = function(outputs, batch["targets"]) if own is None else own(outputs, batch, None)
                losses.append(loss.double())
                count = count_targets if own is None else caller.count_loss_terms
                counts.append(count(batch).double())
                if own is None:
                    self._keep(batch, outputs)
        means = torch.stack(losses)
        weights = torch.stack(counts).to(means.device)
        counted = weights > 0  # the mean over no targets is NaN
        return {"loss": float((means * weights)[counted].sum() / weights.sum())}

    def _keep(self, batch: Batch, outputs: Any) -> None:
        if (found := example_losses(self._loss, outputs, batch["targets"])) is not None:
            self._found.append((batch["rows"], *found))

    def example_scores(self) -> ExampleScores | None:
        """Return the loss of each example of the last `evaluate`; its weight is the number of its targets.

        None if the loss is known for batches only: the model's own, or that of a plugin.
        """
        if not self._found:
            return None
        rows, losses, weights = (torch.cat(parts).tolist() for parts in zip(*self._found, strict=True))
        return ExampleScores(rows or range(len(losses)), losses, weights)  # a stream has no rows

    def write(self, folder: Path) -> None:
        """Write nothing: a loss is one number."""
