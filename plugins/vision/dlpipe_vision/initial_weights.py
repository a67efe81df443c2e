"""First weights of linear and convolutional layers, by the name of the scheme.

Sources: Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural
networks", eq. 16 (glorot_uniform); He et al. 2015, "Delving Deep into Rectifiers", eq. 10,
https://arxiv.org/abs/1502.01852 (he_normal, a plain normal, where Keras truncates it).
"""

from typing import Literal, TypeVar

import torch
from torch import nn

InitialWeights = Literal["glorot_uniform", "he_normal", "torch"]
LayerT = TypeVar("LayerT", bound=nn.Linear | nn.Conv2d)


def initialised(layer: LayerT, init: InitialWeights, pieces: int = 1) -> LayerT:
    """Draw the weights of a layer anew, set its biases to zero and return it.

    "torch" leaves the layer as torch made it: weights and biases uniform within 1 / sqrt(fan in).

    Args:
        pieces: outputs of the layer that belong to one Maxout unit and lie side by side. Each piece
            is drawn as the layer that it would be alone; all together would count as too wide a fan out.
    """
    if init == "torch":
        return layer
    draw = nn.init.xavier_uniform_ if init == "glorot_uniform" else nn.init.kaiming_normal_
    with torch.no_grad():
        for piece in layer.weight.unflatten(0, (-1, pieces)).unbind(1):
            draw(piece)
        if layer.bias is not None:
            layer.bias.zero_()
    return layer
