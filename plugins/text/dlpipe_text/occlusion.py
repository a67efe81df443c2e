"""How much each unit of a text contributes to its prediction: the change when the unit is replaced by "other".

Source: Robnik-Šikonja & Kononenko 2008, "Explaining Classifications For Individual Instances", section 3 (weight of
evidence), https://doi.org/10.1109/TKDE.2007.190734
Axes: N texts, T units of a text, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlpipe.compute import Compute
from dlpipe.data import Batches, Columns, ModelCaller
from dlpipe_text.vocabulary import RESERVED
from dlpipe_text.word_features import OTHER


def variants(units: Sequence[str]) -> list[list[str]]:
    """Return the text (T,) and the T texts in which one unit is replaced."""
    replaced = [[*units[:place], RESERVED[OTHER], *units[place + 1 :]] for place in range(len(units))]
    return [list(units), *replaced]


def contributions(logits: Tensor, predicted: int) -> Tensor:
    """Map the logits (T + 1, K) of `variants` to the contribution (T,) of each unit to the predicted class.

    It is the difference of the log-odds of that class, with the unit and without it; above zero the unit supports it.
    """
    others = torch.arange(logits.size(1)) != predicted
    log_odds = logits[:, predicted] - logits[:, others].logsumexp(1)
    return log_odds[0] - log_odds[1:]


def logits_of(model: nn.Module, columns: Columns, compute: Compute) -> Tensor:
    """Return the logits (N, K) of a model for columns of N texts, on the CPU."""
    caller: ModelCaller | None = None
    found = []
    model.eval()
    with torch.inference_mode(), compute.autocast():
        for batch in Batches(columns, 256, compute, bucket=False, training=False).epoch(0):
            caller = caller or ModelCaller(model, tuple(batch))
            found.append(caller.outputs(batch).double().cpu())
    return torch.cat(found)
