"""A look into a model while it takes steps of its training that change nothing: gradients, units, inputs."""

from __future__ import annotations

import contextlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.hooks import RemovableHandle

from dlpipe.data.model_caller import tensors_in
from dlpipe.data.targets import NO_INPUTS
from dlpipe.protocols import Batch
from dlpipe.training.losses import BatchLoss
from dlpipe.training.schedule import LearningRateSchedule
from dlpipe.training.step_parts import replaced

#: Layers whose weights are compared: each number of them takes part in every example, unlike a row of an embedding.
WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
#: Activations that are 0 for every input below 0, and pass no gradient on there.
RECTIFIERS = (nn.ReLU, nn.ReLU6)
#: Activations with two bounds, and how near to a bound an output counts as saturated: there, the slope is below 0.04
#: of a tanh, and a sigmoid's below 0.02.
BOUNDED: Mapping[type[nn.Module], tuple[float, float]] = {nn.Sigmoid: (0.0, 1.0), nn.Tanh: (-1.0, 1.0)}
NEAR = 0.02


@dataclass(frozen=True)
class Weights:
    """The weights of a layer.

    Args:
        layer: its name in the model.
        gradient: the root mean square of their gradients, over all steps.
    """

    layer: str
    gradient: float


@dataclass(frozen=True)
class Units:
    """The units of an activation that does not give the answer.

    Args:
        layer: its name in the model.
        kind: its class, such as "ReLU".
        count: of units; channels of an image.
        silent: the share of units that were 0 for all examples; 0 for activations that are never silent.
        saturated: the share of outputs that were within `NEAR` of a bound; 0 for activations without two bounds.
    """

    layer: str
    kind: str
    count: int
    silent: float
    saturated: float


@dataclass(frozen=True)
class Inputs:
    """The numbers of a column that the model gets; a column of indices, such as words, has none."""

    name: str
    mean: float
    std: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class Examination:
    """What was found.

    Args:
        weights: by layer, in the order of the model.
        units: by layer, in the order in which they were computed.
        without_gradient: names of the parameters that are to be trained, but had no gradient, or always 0.
        largest_class: what the most frequent class has of the training examples, if each has one class.
        steps: that were watched.
    """

    weights: list[Weights]
    units: list[Units]
    inputs: list[Inputs]
    without_gradient: list[str]
    largest_class: float | None
    steps: int


def examine(model: nn.Module, take_step: Callable[[], Any], steps: int) -> Examination:
    """Take steps of a training that leave the weights as they are, and look at the model meanwhile.

    Args:
        model: that the steps train.
        take_step: takes one.
    """
    held = [*model.parameters(), *model.buffers()]
    before = [tensor.detach().clone() for tensor in held]
    look = _Look(model)
    try:
        with look.watching():
            for _ in range(steps):
                take_step()
    finally:
        with torch.no_grad():
            for tensor, value in zip(held, before, strict=True):  # the statistics of normalization, for example
                tensor.copy_(value)
    return look.found(steps)


def _no_update(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Take the gradients away from an optimizer that is about to use them."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def _same_memory(first: Tensor, second: Tensor) -> bool:
    """Return whether two tensors are the same one, perhaps in another shape."""
    return first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr()


class _Numbers:
    """Sums over all numbers of several tensors."""

    def __init__(self) -> None:
        self.count, self.total, self.squares = 0, 0.0, 0.0
        self.lowest, self.highest = math.inf, -math.inf

    def add(self, values: Tensor) -> None:
        values = values.detach().double()
        if values.numel():
            self.count += values.numel()
            self.total += float(values.sum())
            self.squares += float(values.square().sum())
            self.lowest, self.highest = min(self.lowest, float(values.min())), max(self.highest, float(values.max()))

    @property
    def mean(self) -> float:
        return self.total / max(self.count, 1)

    @property
    def rms(self) -> float:
        return math.sqrt(self.squares / max(self.count, 1))

    @property
    def std(self) -> float:
        return math.sqrt(max(self.rms**2 - self.mean**2, 0.0))


class _Outputs:
    """What is known of the outputs of an activation, as far as they have the same number of units."""

    def __init__(self, module: nn.Module, units: int) -> None:
        self.kind, self.bounds = type(module).__name__, BOUNDED.get(type(module))
        self.latest: Tensor | None = None
        self.is_last = False
        self._active = torch.zeros(units, dtype=torch.bool)
        self._near, self._numbers = 0, 0

    def add(self, output: Tensor, axis: int) -> None:
        self.latest, output = output, output.detach()
        self._active |= (output > 0).movedim(axis, 0).flatten(1).any(1).cpu()
        self._numbers += output.numel()
        if self.bounds:
            low, high = self.bounds
            near = NEAR * (high - low) / 2
            self._near += int(((output < low + near) | (output > high - near)).sum())

    def found(self, layer: str) -> Units:
        silent = 0.0 if self.bounds else 1 - float(self._active.float().mean())
        return Units(layer, self.kind, self._active.numel(), silent, self._near / max(self._numbers, 1))


class _Look:
    """Watches a model, and keeps optimizers from changing it meanwhile."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._gradients: dict[str, _Numbers] = defaultdict(_Numbers)
        self._outputs: dict[tuple[str, int], _Outputs] = {}  # an activation may be used between layers of several sizes
        self._inputs: dict[str, _Numbers] = defaultdict(_Numbers)
        self._classes: Counter[int] = Counter()
        self._units_axis = -1  # of what the latest layer gave

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            # The schedule of a run that has ended has no further step.
            stack.enter_context(replaced(LearningRateSchedule, "step", lambda _: lambda schedule: None))
            stack.enter_context(replaced(BatchLoss, "__call__", self._seeing_batches))
            for handle in self._hooks():
                stack.callback(handle.remove)
            yield

    def _hooks(self) -> Iterator[RemovableHandle]:
        yield register_optimizer_step_pre_hook(_no_update)
        for name, parameter in self._model.named_parameters():
            if parameter.requires_grad:
                yield parameter.register_post_accumulate_grad_hook(partial(self._add_gradient, name))
        for name, module in self._model.named_modules():
            if isinstance(module, WEIGHTED):
                yield module.register_forward_hook(self._remember_axis)
            elif isinstance(module, RECTIFIERS) or type(module) in BOUNDED:
                yield module.register_forward_hook(partial(self._add_output, name))
        yield self._model.register_forward_hook(self._mark_last)

    def _seeing_batches(self, loss_of: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def loss(of: BatchLoss, batch: Batch, step: int) -> Tensor:
            targets = batch.get("targets")
            if targets is not None and targets.dim() == 1 and not targets.is_floating_point():
                self._classes.update(targets.tolist())
            for name, column in batch.items():
                if name not in NO_INPUTS and column.is_floating_point():
                    self._inputs[name].add(column)
            return loss_of(of, batch, step)

        return loss

    def _add_gradient(self, name: str, parameter: Tensor) -> None:
        assert parameter.grad is not None
        grad = parameter.grad
        self._gradients[name].add(grad.coalesce().values() if grad.is_sparse else grad)

    def _remember_axis(self, module: nn.Module, *_: Any) -> None:
        """Note where the units are: of a convolution before the places, otherwise at the end."""
        self._units_axis = -1 if isinstance(module, nn.Linear) else 1

    def _add_output(self, name: str, module: nn.Module, _: Any, output: Tensor) -> None:
        units = output if output.dim() > 1 else output.unsqueeze(-1)
        axis = self._units_axis if units.dim() > 2 else 1
        count = units.size(axis)
        self._outputs.setdefault((name, count), _Outputs(module, count)).add(units, axis)

    def _mark_last(self, model: nn.Module, _: Any, outputs: Any) -> None:
        for own in self._outputs.values():
            own.is_last |= own.latest is not None and any(
                _same_memory(own.latest, each) for each in tensors_in(outputs)
            )
            own.latest = None

    def found(self, steps: int) -> Examination:
        """Return what was seen in this number of steps."""
        modules = dict(self._model.named_modules())
        weights = []
        for name, parameter in self._model.named_parameters():
            layer, _, own = name.rpartition(".")
            if own == "weight" and isinstance(modules[layer], WEIGHTED) and parameter.requires_grad:
                weights.append(Weights(layer, self._gradients[name].rms))
        return Examination(
            weights,
            [each.found(name) for (name, _), each in self._outputs.items() if not each.is_last],
            [Inputs(name, each.mean, each.std, each.lowest, each.highest) for name, each in self._inputs.items()],
            [
                name
                for name, parameter in self._model.named_parameters()
                if parameter.requires_grad and not self._gradients[name].squares
            ],
            max(self._classes.values()) / self._classes.total() if self._classes else None,
            steps,
        )
