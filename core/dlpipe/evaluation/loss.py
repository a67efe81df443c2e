"""The loss of a model on a split, without what training adds to it (dropout, label smoothing)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dlpipe.data.model_caller import ModelCaller
from dlpipe.data.targets import count_targets, cross_entropy, require_targets
from dlpipe.evaluation.examples import Examples
from dlpipe.protocols import Batch


class Loss:
    """Mean loss over everything that has a target: the model's own loss, else cross-entropy."""

    primary = "loss"
    goal: Literal["min"] = "min"

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Return ``loss``."""
        losses, counts = [], []
        caller: ModelCaller | None = None
        with torch.inference_mode():
            for batch, outputs, _ in examples.predictions(model):
                caller = caller or ModelCaller(model, tuple(batch))
                losses.append(_loss(caller, batch, outputs).double())
                counts.append(count_targets(batch).double())
        means = torch.stack(losses)
        weights = torch.stack(counts).to(means.device)
        return {"loss": float((means * weights).sum() / weights.sum())}

    def write(self, folder: Path) -> None:
        """Write nothing: a loss is one number."""


def _loss(caller: ModelCaller, batch: Batch, outputs: Any) -> Tensor:
    own = caller.own_loss()
    if own is not None:
        return own(outputs, batch, None)
    require_targets(batch, "the loss")
    return cross_entropy(outputs, batch["targets"])
