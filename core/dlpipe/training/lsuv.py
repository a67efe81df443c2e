"""Layer-sequential unit-variance initialization: weights with which the signal neither vanishes nor explodes.

Source: Mishkin & Matas 2016, "All You Need Is a Good Init", https://arxiv.org/abs/1511.06422, algorithm 1; orthonormal
weights: Saxe, McClelland & Ganguli 2014, https://arxiv.org/abs/1312.6120.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn

from dlpipe.compute import Compute
from dlpipe.data.batches import Batches
from dlpipe.data.model_caller import ModelCaller, columns_needed
from dlpipe.errors import InputError
from dlpipe.fields import Positive, PositiveFloat
from dlpipe.messages import shown
from dlpipe.protocols import Data
from dlpipe.training.one_step import OneStep

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


class LSUV(OneStep):
    """Set the weights of linear and convolutional layers so that the outputs of each have variance 1.

    Every layer gets orthonormal weights and biases of 0; then, from the first layer that the model calls to the last
    one, its weights are divided by the standard deviation of its outputs for a batch of training examples. The model
    is in evaluation mode: without dropout, and with the statistics that batch normalization has before it has seen an
    example. Layers of other kinds, such as recurrent ones, stay as they are.

    Args:
        batch_size: number of training examples, drawn and augmented as in training.
        tolerance: how far a variance may be from 1.
        max_iterations: divisions of each layer at most; more than one if outputs are not in proportion to weights.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        compute: Compute,
        seed: int,
        *,
        batch_size: Positive = 256,
        tolerance: PositiveFloat = 0.01,
        max_iterations: Positive = 10,
    ) -> None:
        super().__init__(model)
        self._names = {layer: name for name, layer in model.named_modules() if isinstance(layer, LAYERS)}
        self._batches = Batches(data.split("train"), batch_size, compute, columns=columns_needed(model), seed=seed)
        self._compute, self._seed = compute, seed
        self._tolerance, self._max_iterations = tolerance, max_iterations

    def step(self) -> dict[str, Tensor]:
        """Initialize all layers that the model calls.

        Returns:
            how many ``layers`` there are, and the least and the largest variance of their outputs, with the weights
            that the model had (``variance_before_min`` …) and with the new ones (``variance_after_min`` …).

        Raises:
            InputError: the model calls no such layer, or the outputs of one do not vary.
        """
        batch = next(self._batches.epoch(0))
        caller = ModelCaller(self.model, tuple(batch))

        def run() -> None:
            with self._compute.autocast():
                caller.outputs(batch)

        self.model.eval()
        with torch.no_grad():
            before = _variances(self._names, run)
            if not before:
                raise InputError(
                    f"core.lsuv initializes linear and convolutional layers, and the model {type(self.model).__name__} "
                    "calls none; take another model, or leave this stage out"
                )
            generator = torch.Generator().manual_seed(self._seed)
            for layer in before:
                _make_orthonormal(layer, generator)
            after = {layer: self._scale(layer, run) for layer in before}
        self.model.train()
        if missed := [self._names[layer] for layer, found in after.items() if abs(found - 1) > self._tolerance]:
            warnings.warn(
                f"the outputs of {shown(missed)} do not have a variance within {self._tolerance} of 1 after "
                f"{self._max_iterations} divisions of the weights; raise max_iterations",
                stacklevel=2,
            )
        ranges = {
            f"variance_{name}_{end.__name__}": end(found.values())
            for name, found in (("before", before), ("after", after))
            for end in (min, max)
        }
        return {name: torch.tensor(value) for name, value in {"layers": float(len(after)), **ranges}.items()}

    def _scale(self, layer: Layer, run: Callable[[], None]) -> float:
        """Divide the weights of a layer until its outputs have variance 1; return their variance."""
        for iteration in range(self._max_iterations + 1):
            (variance,) = _variances([layer], run, last=layer).values()
            if abs(variance - 1) <= self._tolerance or iteration == self._max_iterations:
                break
            if not variance > 0:
                raise InputError(
                    f"the outputs of the layer {self._names[layer]} have the variance {variance} for "
                    f"{self._batches.batch_size} examples; expected outputs that differ. Set a larger batch_size, or "
                    "look for what makes the inputs of this layer constant"
                )
            layer.weight.div_(variance**0.5)
        return variance


class _Reached(Exception):
    """The layer whose outputs are wanted has been called."""


def _variances(layers: Iterable[Layer], run: Callable[[], None], last: Layer | None = None) -> dict[Layer, float]:
    """Return the variance of the outputs of the first call of each layer, in the order of these calls.

    Args:
        run: calls the model.
        last: the layer after which nothing else needs to be computed.
    """
    found: dict[Layer, Tensor] = {}

    def look(layer: nn.Module, _: object, outputs: Tensor) -> None:
        assert isinstance(layer, LAYERS)
        found.setdefault(layer, outputs.float().var(correction=0))
        if layer is last:
            raise _Reached

    with _hooks(layers, look), suppress(_Reached):
        run()
    return {layer: float(variance) for layer, variance in found.items()}


@contextmanager
def _hooks(layers: Iterable[nn.Module], hook: Callable[[nn.Module, object, Tensor], None]) -> Iterator[None]:
    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _make_orthonormal(layer: Layer, generator: torch.Generator) -> None:
    """Set the rows or the columns of the weights, as a matrix (outputs, inputs), to orthonormal vectors."""
    layer.weight.copy_(nn.init.orthogonal_(torch.empty(layer.weight.shape), generator=generator))
    if layer.bias is not None:
        layer.bias.zero_()
