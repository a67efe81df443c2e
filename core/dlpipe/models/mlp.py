"""Fully connected network for tables, images and vectors; without hidden layers, linear or logistic regression.

Sources: Hung-yi Lee, "Deep Learning Tutorial" (lecture), part I: 784-500-500-10 on MNIST; Guo & Berkhahn 2016, "Entity
Embeddings of Categorical Variables", https://arxiv.org/abs/1604.06737: a learned vector for each category; Srivastava
et al. 2015, "Highway Networks", https://arxiv.org/abs/1505.00387: a hundred layers, all but the first with a gate.
Departs from them: ReLU by default, and logits as output, so that the cross-entropy is numerically stable.
Axes: B examples, F numbers of an example, D columns of categories, K classes, T targets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe.fields import NonNegative, NotWith, OnlyWith, OpenFraction, Positive
from dlpipe.layers import (
    Activation,
    Connection,
    InitialWeights,
    SkipConnection,
    activation_layer,
    initialized,
    units_per_output,
)

#: The layer between the linear one and the activation, by name.
NORMS = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


class MLP(nn.Module):
    """Map the numbers and categories of an example to scores of classes, or to one or several numbers.

    It takes what the data has of ``numbers`` (B, F), ``categories`` (B, D) and ``images`` (B, C, H, W), without using
    which pixels are neighbors. Each category gets a learned vector; number 0 of each column, a category that
    training did not have, has the vector 0, which is never changed.

    The initial weights are Glorot's with zero biases, as in Keras: with torch's own, which are smaller,
    the published scores of deep sigmoid and ReLU networks are not reproduced (a network of three sigmoid
    layers stays at chance where it should reach 85 %).

    Args:
        num_features: F; from the data.
        cardinalities: how many categories each of the D columns has, number 0 included; from the data.
        image_shape: C, H, W; from the data.
        num_classes: K; from the data.
        num_targets: T, for regression; from the data.
        hidden: units of each hidden layer; without any, it is linear or (multinomial) logistic regression.
        hidden_dim: units of every hidden layer, in place of `hidden`: so that size and number vary separately.
        num_layers: hidden layers of `hidden_dim` units.
        activation: after every hidden layer.
        maxout_pieces: number of linear pieces of a Maxout unit, which returns the largest of them.
        norm: normalization before every activation: of a unit over the batch, or of an example over the units.
        dropout: probability of zeroing a unit, after every hidden layer.
        input_dropout: probability of zeroing an input.
        embed_dim: size of the vector of a category; by default that of fastai's rule for a column of n categories,
            round(1.6 n^0.56), at most 600.
        init: initial weights of the linear layers: Glorot uniform or He normal with zero biases, or torch's own.
        connection: of every hidden layer with as many units as the hidden layer before it: "residual" adds its input
            to its output, "highway" mixes both by a gate that is learned, "plain" has neither.
        gate_bias: initial bias of the gates; below 0, they start nearly closed, and the input passes.

    Raises:
        InputError: there is no size of the inputs, or none of the outputs, or no layer for the connection.
    """

    def __init__(
        self,
        *,
        num_features: NonNegative | None = None,
        cardinalities: Sequence[Positive] | None = None,
        image_shape: tuple[int, int, int] | None = None,
        num_classes: NonNegative | None = None,
        num_targets: NonNegative | None = None,
        hidden: Annotated[Sequence[Positive], NotWith("hidden_dim")] = (500, 500),
        hidden_dim: Positive | None = None,
        num_layers: Annotated[Positive, OnlyWith("hidden_dim")] = 2,
        activation: Annotated[Activation, OnlyWith("hidden")] = "relu",
        maxout_pieces: Annotated[Positive, OnlyWith(activation="maxout")] = 2,
        norm: Annotated[Literal["none", "batch", "layer"], OnlyWith("hidden")] = "none",
        dropout: Annotated[OpenFraction, OnlyWith("hidden")] = 0.0,
        input_dropout: OpenFraction = 0.0,
        embed_dim: Positive | None = None,
        init: InitialWeights = "glorot_uniform",
        connection: Annotated[Connection, OnlyWith("hidden")] = "plain",
        gate_bias: Annotated[float, OnlyWith(connection="highway")] = -2.0,
    ) -> None:
        super().__init__()
        columns = [count for count in cardinalities or () if count]
        dims = [embed_dim or embedding_size(count) for count in columns]
        self.embeddings = nn.ModuleList(map(_embedding, columns, dims))
        size = (num_features or 0) + (math.prod(image_shape) if image_shape else 0) + sum(dims)
        self.num_targets = num_targets or 0
        outputs = num_classes or self.num_targets
        _check_sizes(size, outputs)
        self._is_classifier = bool(num_classes)
        layers: list[nn.Module] = [nn.Flatten(), nn.Dropout(input_dropout)]
        pieces = units_per_output(activation, maxout_pieces)
        widths = [hidden_dim] * num_layers if hidden_dim else list(hidden)
        _check_connection(connection, widths)
        for before, units in zip([0, *widths], widths, strict=False):
            linear = initialized(nn.Linear(size, units * pieces), init, pieces)
            normalized = [NORMS[norm](units * pieces)] if norm != "none" else []
            layer = [linear, *normalized, activation_layer(activation, maxout_pieces), nn.Dropout(dropout)]
            if connection != "plain" and before == units:
                gate = initialized(nn.Linear(units, units), init) if connection == "highway" else None
                layer = [SkipConnection(nn.Sequential(*layer), connection, gate=gate, gate_bias=gate_bias)]
            layers += layer
            size = units
        self.layers = nn.Sequential(*layers, initialized(nn.Linear(size, outputs), init))

    def forward(
        self, images: Tensor | None = None, numbers: Tensor | None = None, categories: Tensor | None = None
    ) -> Tensor:
        """Map images (B, C, H, W), numbers (B, F) and categories (B, D) to logits (B, K), or to numbers.

        Numbers are (B, T), or (B,) for a single target.
        """
        parts = [part.flatten(1) for part in (images, numbers) if part is not None]
        if categories is not None:
            parts += [embed(column) for embed, column in zip(self.embeddings, categories.unbind(1), strict=True)]
        if not parts:
            raise InputError(
                "core.mlp takes the columns numbers, categories and images, and the data has none of them; choose "
                "another model, or other data"
            )
        outputs: Tensor = self.layers(parts[0] if len(parts) == 1 else torch.cat(parts, dim=1))
        return outputs if self._is_classifier or self.num_targets > 1 else outputs[:, 0]

    def bypasses(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """Return what remains of each layer that has a connection, once the layer is left out."""
        return {
            f"layers.{number}": layer.bypass
            for number, layer in enumerate(self.layers)
            if isinstance(layer, SkipConnection)
        }

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the class with the highest score (B,), or the numbers as they are."""
        return outputs.argmax(-1) if self._is_classifier else outputs

    def probabilities(self, outputs: Tensor) -> Tensor | None:
        """Return the probability of each class (B, K); numbers have none."""
        return outputs.double().softmax(-1) if self._is_classifier else None


def embedding_size(count: int) -> int:
    """Return the size of the vectors of `count` categories.

    Source: ``emb_sz_rule`` of fastai, https://docs.fast.ai/tabular.model.html
    """
    return min(600, round(1.6 * math.pow(count, 0.56)))


def _embedding(count: int, dim: int) -> nn.Embedding:
    embedding = nn.Embedding(count, dim, padding_idx=0)
    with torch.no_grad():  # as fastai: torch's own, of standard deviation 1, would drown the standardized numbers
        nn.init.trunc_normal_(embedding.weight, std=0.01)
        embedding.weight[0] = 0
    return embedding


def _check_sizes(size: int, outputs: int) -> None:
    if not size:
        raise InputError(
            "core.mlp has no inputs: the data provides none of the facts num_features, cardinalities and image_shape; "
            "choose a model for this kind of data, or data of numbers, categories or images"
        )
    if not outputs:
        raise InputError(
            "core.mlp has no outputs: the data provides neither of the facts num_classes and num_targets; choose data "
            "with classes or numbers as targets"
        )


def _check_connection(connection: Connection, widths: Sequence[int]) -> None:
    if connection != "plain" and not any(before == units for before, units in pairwise(widths)):
        raise InputError(
            f'connection = "{connection}" has no effect with hidden layers of {list(widths)} units: none has as many '
            "as the layer before it; use hidden_dim and num_layers for layers of one size, or remove connection"
        )
