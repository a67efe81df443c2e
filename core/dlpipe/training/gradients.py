"""Averaging gradients over the processes that train one model together.

torch's ``DistributedDataParallel`` does the same with a wrapper around the model, which hides its ``forward`` and its
own ``loss``, and it needs every process to run the model in every step, also one that has none of the examples.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch import distributed as dist

from dlpipe.errors import InputError
from dlpipe.ranks import Ranks

#: Gradients are sent together in pieces of about this size, as by torch's DistributedDataParallel.
BUCKET_BYTES = 25 * 2**20


class GradientAverage:
    """Replaces gradients by their mean over all ranks, while the backward pass is still computing the others.

    Call `begin` before the last backward pass of a step, if this rank has one, and `finish` after it. A parameter that
    has a gradient on some ranks only counts zero on the others; one that has none on any rank keeps none, so that no
    optimizer moves it. Those that have none in the first step are left out of all others. One process alone keeps its
    gradients as they are.

    Args:
        parameters: of the model, the same ones in the same order on every rank.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], ranks: Ranks) -> None:
        self._ranks = ranks
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self._buckets = _buckets(self._parameters)
        self._agreed = False
        self._is_last = False
        self._left: list[int] = []  # gradients of each bucket that are not computed yet
        self._sent: list[tuple[Tensor, dist.Work]] = []
        self._bucket_of: dict[nn.Parameter, int] = {}

    def begin(self) -> None:
        """Send gradients as soon as they are computed, from now on."""
        self._left = [len(bucket) for bucket in self._buckets]
        self._is_last = self._agreed

    def finish(self) -> None:
        """Send what has not been sent, and wait for all of it.

        Raises:
            InputError: a parameter got its first gradient after the first step.
        """
        if self._ranks.size == 1:
            return
        self._is_last = False
        if not self._agreed:
            self._agree()
        with self._ranks.talking():
            for bucket in self._buckets[len(self._sent) :]:
                self._send(bucket)
            for bucket, (flat, work) in zip(self._buckets, self._sent, strict=True):
                work.wait()
                flat /= self._ranks.size
                *means, present = flat.split([*(each.numel() for each in bucket), len(bucket)])
                # Only a rank that lacks a gradient has to ask the device whether another one has it.
                lacks = any(parameter.grad is None for parameter in bucket)
                found = present.tolist() if lacks else [True] * len(bucket)
                for parameter, mean, is_found in zip(bucket, means, found, strict=True):
                    parameter.grad = mean.view_as(parameter) if is_found else None
        self._sent = []

    def _agree(self) -> None:
        """Leave out the parameters that no rank has a gradient for, and listen to the others."""
        has_gradient = torch.tensor([parameter.grad is not None for parameter in self._parameters], dtype=torch.int32)
        used = self._ranks.total(has_gradient).tolist()
        self._buckets = _buckets([parameter for parameter, count in zip(self._parameters, used, strict=True) if count])
        self._bucket_of = {parameter: index for index, bucket in enumerate(self._buckets) for parameter in bucket}
        for parameter in self._parameters:
            parameter.register_post_accumulate_grad_hook(self._computed)
        self._agreed = True

    def _computed(self, parameter: Tensor) -> None:
        """Send the next buckets whose gradients are all there; all ranks send them in the same order."""
        assert isinstance(parameter, nn.Parameter)
        if parameter not in self._bucket_of:
            raise InputError(
                f"a parameter of shape {tuple(parameter.shape)} got its first gradient after the first step; with "
                'several processes, those that are trained must have one in the first step. Use parallel = "none"'
            )
        if not self._is_last:
            return
        self._left[self._bucket_of[parameter]] -= 1
        while len(self._sent) < len(self._buckets) and not self._left[len(self._sent)]:
            self._send(self._buckets[len(self._sent)])

    def _send(self, bucket: list[nn.Parameter]) -> None:
        """Send the gradients of a bucket, and behind them for each parameter whether this rank has one."""
        parts, present = [], bucket[0].new_ones(len(bucket))
        for index, parameter in enumerate(bucket):
            if parameter.grad is None:
                present[index] = 0
            parts.append((torch.zeros_like(parameter) if parameter.grad is None else parameter.grad).reshape(-1))
        flat = torch.cat([*parts, present])
        work = dist.all_reduce(flat, async_op=True)
        assert work is not None
        self._sent.append((flat, work))


def _buckets(parameters: list[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Group parameters of one type, from the last one, whose gradient is computed first."""
    buckets: list[list[nn.Parameter]] = []
    size = 0
    for parameter in reversed(parameters):
        kind = parameter.dtype, parameter.device
        if not buckets or size >= BUCKET_BYTES or (buckets[-1][0].dtype, buckets[-1][0].device) != kind:
            buckets.append([])
            size = 0
        buckets[-1].append(parameter)
        size += parameter.nbytes
    return buckets
