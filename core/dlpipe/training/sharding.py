"""Training a model whose weights are cut over the processes (``parallel = "fsdp"``).

Each process keeps its part of the weights, gradients and optimizer state; torch's `fully_shard` collects the weights of
a layer when it is used. Whatever else looks at the model (evaluators, checkpoints) gets a whole copy, which has memory
only while it is looked at.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

from dlpipe.compute import Compute
from dlpipe.errors import InputError

#: A layer with as many weights is collected by itself; smaller ones together with the rest of the model.
LAYER_WEIGHTS = 2**20
T = TypeVar("T")


class Sharding:
    """Cuts a model in place, and keeps a whole copy of it.

    Args:
        live: the model that is trained.
        averaged: like it, with averaged weights, which is cut as well; the whole copy is then a copy of this one.

    Raises:
        InputError: a parameter is a single number, or has sparse gradients.
    """

    def __init__(self, live: nn.Module, compute: Compute, averaged: nn.Module | None = None) -> None:
        self._compute = compute
        self._live, self._source = live, averaged or live
        self._whole = copy.deepcopy(self._source)
        self._storages = [tensor.untyped_storage() for tensor in self._whole.parameters()]
        self._sizes = [storage.size() for storage in self._storages]
        self._is_current = True
        for model in {live: None, self._source: None}:
            _cut(model, compute)

    def whole(self) -> nn.Module:
        """Return the model with all weights; all ranks call it at the same time."""
        if not self._is_current:
            for storage, size in zip(self._storages, self._sizes, strict=True):
                storage.resize_(size)
            with torch.no_grad(), self._compute.ranks.talking():
                for own, source in _pairs(self._whole, self._source):
                    own.copy_(source.full_tensor() if isinstance(source, DTensor) else source)
            self._is_current = True
        return self._whole

    def begin_step(self) -> None:
        """Free the whole copy, which the step will make outdated."""
        if self._is_current:
            for storage in self._storages:
                storage.resize_(0)
            self._is_current = False

    def communicate(self, is_last: bool) -> None:
        """Let the next backward pass send gradients; they are sent once in a step."""
        assert isinstance(self._live, FSDPModule)
        self._live.set_requires_gradient_sync(is_last)

    def whole_tensor(self, tensor: Tensor) -> Tensor:
        """Return all of a tensor that may be cut, on its device, so that nothing waits for it; of all ranks."""
        with self._compute.ranks.talking():
            return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def whole_state(self, tree: T) -> T:
        """Return nested dicts and lists of tensors, with whole ones on the CPU for those that are cut; of all ranks."""
        with self._compute.ranks.talking():
            return tree_map(lambda part: part.full_tensor().cpu() if isinstance(part, DTensor) else part, tree)  # type: ignore[no-any-return]

    def load(
        self, optimizer: Optimizer, state: Mapping[str, Any], average: Mapping[str, Any] | None
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Cut the weights that have been loaded into the whole copy.

        Returns:
            the states of the optimizer and of the average, which `whole_state` made, with cut tensors.
        """
        if average and self._source is self._live:  # the weights that have been loaded are averaged ones
            self._whole.load_state_dict(average["live"])
        self._source.load_state_dict(_cut_weights(self._whole.state_dict(), self._source))
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        cut = {
            index: {name: _cut_like(value, parameters[index]) for name, value in values.items()}
            for index, values in state["state"].items()
        }
        live = {**average, "live": _cut_weights(average["live"], self._live)} if average else None
        return {**state, "state": cut}, live


def _cut_weights(whole: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    own = model.state_dict()
    return {name: _cut_like(tensor, own.get(name)) for name, tensor in whole.items()}


def _require_shardable(model: nn.Module) -> None:
    name = type(model).__name__
    if scalars := [key for key, parameter in model.named_parameters() if not parameter.dim()]:
        raise InputError(
            f'parallel = "fsdp": the parameter {scalars[0]} of {name} is a single number, which cannot be cut; '
            'expected the shape (1,), or parallel = "ddp"'
        )
    if sparse := [key for key, module in model.named_modules() if getattr(module, "sparse", False) is True]:
        raise InputError(
            f'parallel = "fsdp": the layer {sparse[0]} of {name} has sparse gradients; expected dense ones, or '
            'parallel = "ddp"'
        )


def _cut(model: nn.Module, compute: Compute) -> None:
    _require_shardable(model)
    mesh = compute.ranks.mesh(compute.device.type)
    model.to(memory_format=torch.contiguous_format)  # torch cuts no channels_last weights, which vision models have
    for layer in _layers(model):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    # What is not in a layer of its own stays whole from the forward to the backward pass: the model's own loss uses it,
    # and an operation in place on the outputs does no harm.
    warnings.filterwarnings("ignore", rf"FSDP2-wrapped module \({type(model).__name__}\) returned a view")


def _layers(model: nn.Module) -> list[nn.Module]:
    """Return the large elements of lists of layers, which are used one after the other.

    Weights that a layer shares with others stay with the rest of the model.
    """
    owners: dict[Tensor, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners[parameter] = owners.get(parameter, 0) + 1
    found: list[nn.Module] = []
    inside: set[nn.Module] = set()
    for parent in model.modules():
        if isinstance(parent, (nn.ModuleList, nn.Sequential)) and parent not in inside:
            for layer in parent:
                own = list(layer.parameters())
                is_large = sum(parameter.numel() for parameter in own) >= LAYER_WEIGHTS
                if is_large and layer not in inside and all(owners[parameter] == 1 for parameter in own):
                    found.append(layer)
                    inside.update(layer.modules())
    return found


def _pairs(whole: nn.Module, cut: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    yield from zip(whole.parameters(), cut.parameters(), strict=True)
    yield from zip(whole.buffers(), cut.buffers(), strict=True)


def _cut_like(whole: Any, like: Any) -> Any:
    if not isinstance(like, DTensor) or not isinstance(whole, Tensor) or whole.shape != like.shape:
        return whole
    whole = whole.to(device=like.device, dtype=like.dtype)
    return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)
