"""Residual networks for small images, and the highway and plain networks of the same depth.

Sources: He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2, https://arxiv.org/abs/1512.03385;
He et al. 2016, "Identity Mappings in Deep Residual Networks", section 4.1, https://arxiv.org/abs/1603.05027
(pre-activation); Srivastava et al. 2015, "Highway Networks", section 2, https://arxiv.org/abs/1505.00387.
Departs from them: a highway block has two convolutions with batch normalization, as the residual one, and a gate
computed by a 3×3 convolution; the zeros of a shortcut come after the channels. With pre-activation, every shortcut
starts before the normalization.
Axes: B images, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.errors import InputError
from dlpipe.fields import OnlyWith, Positive
from dlpipe.layers import Connection, SkipConnection, initialized

#: The channels of each stage, in units of `width`; a stage has half the size of the one before.
STAGES = (1, 2, 4)


class ResidualNet(nn.Module):
    """Score K classes for images with a network of 6 n + 2 layers: ResNet-20, 32, 44, 56, 110 for CIFAR-10.

    A convolution, three stages of n blocks of two convolutions, the mean of each channel, and a linear layer. The
    blocks of a stage have 1, 2 and 4 times `width` channels; its first block halves the size of the images, except
    in the first stage.

    Args:
        image_shape: C, H, W.
        num_classes: K.
        depth: layers with weights, 6 n + 2; those of shortcuts and gates do not count.
        width: channels of the first stage.
        connection: "residual" adds the input of a block to its output, "highway" mixes both by a gate that is
            learned, "plain" has neither.
        shortcut: where a block changes the number of channels: zeros for the new ones (option A of the paper), or a
            1×1 convolution (option B).
        pre_activation: normalize and activate before each convolution rather than after it.
        gate_bias: initial bias of the gates; below 0, they start nearly closed, and the input passes.

    Raises:
        InputError: there is no network of this depth.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        *,
        depth: Positive = 20,
        width: Positive = 16,
        connection: Connection = "residual",
        shortcut: Annotated[Literal["zeros", "convolution"], OnlyWith(connection=("residual", "highway"))] = "zeros",
        pre_activation: bool = False,
        gate_bias: Annotated[float, OnlyWith(connection="highway")] = -2.0,
    ) -> None:
        super().__init__()
        widths = [width, *_widths(depth, width)]
        self.stem = nn.Sequential(_convolution(image_shape[0], width))
        if not pre_activation:
            self.stem.extend([nn.BatchNorm2d(width), nn.ReLU()])
        blocks = []
        for before, after in pairwise(widths):
            stride = after // before  # a block that doubles the channels halves the size
            layers = _layers(before, after, stride, pre_activation)
            activation = None
            if not pre_activation and connection == "residual":
                activation = nn.ReLU()  # of the sum
            elif not pre_activation:
                layers.append(nn.ReLU())
            gate = _convolution(before, after, stride, bias=True) if connection == "highway" else None
            around = _shortcut(shortcut, before, after) if after != before else None
            blocks.append(
                SkipConnection(
                    layers, connection, shortcut=around, gate=gate, gate_bias=gate_bias, activation=activation
                )
            )
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.BatchNorm2d(widths[-1]), nn.ReLU()) if pre_activation else nn.Identity()
        self.classifier = initialized(nn.Linear(widths[-1], num_classes), "he_normal")
        self.to(memory_format=torch.channels_last)  # as in CNN

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, K)."""
        maps = self.head(self.blocks(self.stem(images)))  # (B, 4 width, H / 4, W / 4)
        logits: Tensor = self.classifier(maps.mean((2, 3)))
        return logits

    def bypasses(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """Return what remains of each block once it is left out: its shortcut, in a plain network as well."""
        return {
            f"blocks.{number}": block.bypass
            for number, block in enumerate(self.blocks)
            if isinstance(block, SkipConnection)
        }


class ZeroPadding(nn.Module):
    """The shortcut without weights: every second pixel, and as many channels of zeros as there are channels."""

    def forward(self, maps: Tensor) -> Tensor:
        """Map maps (B, C, H, W) to (B, 2 C, H / 2, W / 2), sizes rounded up."""
        return F.pad(maps[:, :, ::2, ::2], (0, 0, 0, 0, 0, maps.size(1)))


def _widths(depth: int, width: int) -> list[int]:
    """Return the channels of each block."""
    blocks = len(STAGES) * 2
    if depth < blocks + 2 or (depth - 2) % blocks:
        below = max(depth - 2, blocks) // blocks * blocks + 2
        raise InputError(
            f"depth = {depth}: expected 6 n + 2, two layers for each of the n blocks of three stages and two more, "
            f"such as {below} or {below + blocks}"
        )
    return [width * factor for factor in STAGES for _ in range((depth - 2) // blocks)]


def _layers(before: int, after: int, stride: int, pre_activation: bool) -> nn.Sequential:
    first, second = _convolution(before, after, stride), _convolution(after, after)
    if pre_activation:
        return nn.Sequential(nn.BatchNorm2d(before), nn.ReLU(), first, nn.BatchNorm2d(after), nn.ReLU(), second)
    return nn.Sequential(first, nn.BatchNorm2d(after), nn.ReLU(), second, nn.BatchNorm2d(after))


def _shortcut(shortcut: Literal["zeros", "convolution"], before: int, after: int) -> nn.Module:
    if shortcut == "zeros":
        return ZeroPadding()
    convolution = nn.Conv2d(before, after, 1, stride=2, bias=False)
    return nn.Sequential(initialized(convolution, "he_normal"), nn.BatchNorm2d(after))


def _convolution(before: int, after: int, stride: int = 1, *, bias: bool = False) -> nn.Conv2d:
    # Without a bias where batch normalization has one of its own.
    return initialized(nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=bias), "he_normal")
