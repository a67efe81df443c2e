"""The trainer for models that are fitted to all examples at once, as those of scikit-learn are."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from dlpipe.compute import Compute
from dlpipe.data.batches import Batches
from dlpipe.data.model_caller import ModelCaller, columns_needed, own_method
from dlpipe.errors import InputError
from dlpipe.protocols import Data
from dlpipe.training.one_step import OneStep


class Fit(OneStep):
    """Call the model's ``fit`` once, with the whole training split.

    ``fit`` gets the columns that its parameters name (`dlpipe.protocols`). They are prepared as for an evaluation,
    without augmentation.
    """

    def __init__(self, model: nn.Module, data: Data, compute: Compute, seed: int) -> None:
        super().__init__(model)
        if own_method(model, "fit") is None:
            raise InputError(
                f"core.fit got a model of type {type(model).__name__}, which has no method fit(); choose a trainer "
                "that takes steps, such as core.supervised, or a model that is fitted, such as core.logistic_regression"
            )
        split = data.split("train")
        if isinstance(split, IterableDataset):
            raise InputError(
                f"core.fit needs all examples at once, but this data is an endless stream ({type(split).__name__}); "
                "choose other data or another trainer"
            )
        self._batches = Batches(
            split, "full", compute, columns=columns_needed(model), bucket=False, training=False, seed=seed
        )
        self._seed = seed

    def step(self) -> dict[str, Tensor]:
        """Fit the model, and return the metrics that its ``fit`` returns, if any."""
        (batch,) = self._batches.epoch(0)
        metrics = ModelCaller(self.model, tuple(batch)).fit(batch, self._seed)
        return {name: torch.tensor(float(value)) for name, value in metrics.items()}
