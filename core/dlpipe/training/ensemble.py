"""An ensemble of trained classifiers.

Source: Lakshminarayanan et al. 2017, "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles",
section 2.4, https://arxiv.org/abs/1612.01474 (mean of the probabilities); Hinton 2002, "Training Products of Experts by
Minimizing Contrastive Divergence", section 1, https://doi.org/10.1162/089976602760128018 (geometric mean)
Axes: B examples, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from dlpipe.compute import in_float32
from dlpipe.data.model_caller import ModelCaller
from dlpipe.errors import InputError
from dlpipe.fields import PositiveFloat


class Ensemble(nn.Module):
    """Average the class probabilities of trained models; each takes the columns of the batch that it needs.

    Members that were trained on data with other classes, or with another vocabulary if there is one, are refused.
    Probabilities are what the ``probabilities`` of a member returns (for a CRF the marginals of each label), else the
    softmax of its logits.

    Args:
        members: classifiers, which return logits or have ``probabilities`` of their own.
        average: the mean of the probabilities; or their geometric mean (the mean of the log-probabilities), in which a
            member that is sure counts more.
        weights: one for each member, in the same order, divided by their sum; None weights all of them equally.

    Raises:
        InputError: there is not one weight for each member.
    """

    weights: Tensor

    def __init__(
        self,
        members: Sequence[nn.Module],
        *,
        average: Literal["probabilities", "log_probabilities"] = "probabilities",
        weights: Sequence[PositiveFloat] | None = None,
    ) -> None:
        super().__init__()
        if weights is not None and len(weights) != len(members):
            raise InputError(
                f"weights = {list(weights)}: {len(weights)} weights for {len(members)} members; expected one for each"
            )
        self.members, self.average = nn.ModuleList(members), average
        shares = torch.tensor([1.0] * len(members) if weights is None else list(weights))
        self.register_buffer("weights", shares / shares.sum(), persistent=False)  # they are in the pipeline

    def forward(self, **columns: Tensor) -> Tensor:
        """Map the columns of a batch to logits (B, K) or (B, …, K), whose softmax is the average."""
        probabilities = [_probabilities(member, columns) for member in self.members]
        if any(each.shape != probabilities[0].shape for each in probabilities):
            shapes = ", ".join(str(tuple(each.shape)) for each in probabilities)
            raise InputError(
                f"the members of core.ensemble give probabilities of shape {shapes}; expected the same shape from each"
            )
        stacked = torch.stack(probabilities)  # (members, B, …, K)
        log_probabilities = stacked.clamp_min(torch.finfo(stacked.dtype).tiny).log()
        weights = self.weights.view(-1, *[1] * (stacked.dim() - 1))
        if self.average == "log_probabilities":
            return (weights * log_probabilities).sum(0).float()
        return (weights.log() + log_probabilities).logsumexp(0).float()


def _probabilities(member: nn.Module, columns: dict[str, Tensor]) -> Tensor:
    """Return the probabilities of the classes (B, K) or (B, …, K) that a member gives, computed in float32."""
    caller = ModelCaller(member, tuple(columns))
    outputs = in_float32(caller.outputs(columns))
    with torch.autocast(next(iter(columns.values())).device.type, enabled=False):
        probabilities = caller.probabilities(outputs, caller.predictions(outputs, columns), columns)
    if probabilities is None:
        raise InputError(
            f"{type(member).__name__}, a member of core.ensemble, gives no probabilities; expected a classifier: a "
            "model that returns logits and has no predict() of its own, or has a method probabilities(outputs, …)"
        )
    return probabilities
