"""The last batch of an epoch, on which a model with batch normalization cannot be trained if it has one example."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dlpipe.errors import InputError


def require_last_batch(
    model: nn.Module,
    run: Callable[[Any], object],
    batch_size: int,
    count: int,
    *,
    least: int = 2,
    drop_last: bool | None,
) -> None:
    """Refuse a last batch that leaves a single example for the batch normalization of a model.

    Only a model that averages over several positions of a feature map can be trained on one.

    Args:
        run: calls a model with one example; it gets a copy in training mode, as this changes running statistics.
        batch_size: examples per batch.
        count: examples of the training split.
        least: with how many examples in a batch no process has a single one.
        drop_last: whether the trainer leaves out a last batch that is not whole; None if it has no such option.

    Raises:
        InputError: there is such a batch, and the model refuses one example.
    """
    last = batch_size if drop_last else count % batch_size or batch_size
    if last >= least or not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return
    devices = {parameter.device for parameter in model.parameters() if parameter.is_cuda}
    try:
        with torch.random.fork_rng(devices), torch.no_grad():
            run(copy.deepcopy(model).train())
    except ValueError as error:
        if batch_size < least:
            advice = f"choose a batch_size of at least {least}"
        else:
            others = "" if drop_last is None else "set drop_last = true, or "
            advice = f"{others}choose a batch_size that leaves none or at least {least}"
        raise InputError(
            f"batch_size = {batch_size}: the last batch of {count} training examples has {last}, and "
            f"{type(model).__name__} cannot be trained on a single one ({error}); {advice}"
        ) from error
