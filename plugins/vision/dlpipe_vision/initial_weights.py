"""Initial weights of linear and convolutional layers, by the name of the scheme.

Sources: Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural
networks", eq. 16 (glorot_uniform); He et al. 2015, "Delving Deep into Rectifiers", eq. 10,
https://arxiv.org/abs/1502.01852 (he_normal; not truncated, unlike in Keras).
"""

from typing import Literal, TypeVar

import torch
from torch import nn

InitialWeights = Literal["glorot_uniform", "he_normal", "torch"]
LayerT = TypeVar("LayerT", bound=nn.Linear | nn.Conv2d)


def initialised(layer: LayerT, init: InitialWeights, pieces: int = 1) -> LayerT:
    """Reinitialise the weights of a layer, set its biases to zero and return it.

    "torch" leaves the layer as torch created it: weights and biases uniform within 1 / sqrt(fan in).

    Args:
        pieces: outputs of the layer that belong to one Maxout unit and are next to each other. Each piece
            is initialised like a layer of its own; all of them together would have too large a fan out.
    """
    if init == "torch":
        return layer
    initialise = nn.init.xavier_uniform_ if init == "glorot_uniform" else nn.init.kaiming_normal_
    with torch.no_grad():
        for piece in layer.weight.unflatten(0, (-1, pieces)).unbind(1):
            initialise(piece)
        if layer.bias is not None:
            layer.bias.zero_()
    return layer
