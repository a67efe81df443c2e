"""Style transfer by adaptive instance normalization: any image in the style of any other, in one forward pass.

Source: Huang & Belongie 2017, "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization",
https://arxiv.org/abs/1703.06868, sections 5 and 6.
Departs from it: the network of features is any classifier that was trained before, not VGG-19; the pixels are a layer
as well (`colors`), as a small classifier need not see colors; the losses are squared errors, as in the code of the
authors; the decoder repeats its borders instead of reflecting them, whose gradient on a GPU is not deterministic, and
ends in a sigmoid, as pixels are from 0 to 1.
Axes: B images, C channels, H rows, W columns; c channels of a layer; D channels, h rows and w columns of the content.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.errors import InputError
from dlpipe.fields import NonNegativeFloat, Positive
from dlpipe_vision.distinct import require_distinct
from dlpipe_vision.feature_layers import FeatureLayers
from dlpipe_vision.style_statistics import adaptive_instance_norm, channel_statistics

#: Pixels of the images that the model takes and draws.
PIXEL_RANGE = (0.0, 1.0)
#: The name of the layer of pixels, and the mean and standard deviation that are taken for those of any image: they get
#: about the scale that batch normalization gives to other layers.
PIXELS, PIXEL_MEAN, PIXEL_STD = "pixels", 0.5, 0.25


class StyleTransfer(nn.Module):
    """Draw the content of an image in the style of another one.

    A trained network encodes both images at `content_layer`. The channels of the content get the mean and standard
    deviation that those of the style have, and a decoder, the only part that is trained, draws an image from them.

    Args:
        image_shape: C, H, W of the training images; others may have any other size.
        pixel_range: values of black and white; must be 0 and 1.
        features: a trained network of images with values from 0 to 1, such as a classifier. It is not trained further.
        content_layer: the layer of it that is the content, from whose maps the decoder draws, such as "layers.3".
        style_layers: the layers whose means and standard deviations are the style.
        colors: the pixels are one more of these layers, and, reduced to the size of the content layer, more channels of
            it. Without, colors are only what `features` sees of them.
        style_weight: how much the style counts in the loss, compared with the content.
        width: channels of the decoder after its last enlargement; before it twice as many, and so on.

    Attributes:
        features: computes the maps of all these layers.
        decoder: draws images from maps of the content layer.

    Raises:
        InputError: there is no such layer, or `features` takes no such images.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        pixel_range: tuple[float, float],
        features: nn.Module,
        *,
        content_layer: str,
        style_layers: Annotated[Sequence[str], Field(min_length=1)],
        colors: bool = True,
        style_weight: NonNegativeFloat = 20.0,
        width: Positive = 16,
    ) -> None:
        super().__init__()
        if tuple(pixel_range) != PIXEL_RANGE:
            raise InputError(
                f"the pixels of the data are from {pixel_range[0]:g} to {pixel_range[1]:g}; expected 0 to 1"
            )
        require_distinct("style_layers", style_layers)
        self.content_layer, self.style_weight, self.colors = content_layer, style_weight, colors
        self.style_layers = (*style_layers, PIXELS) if colors else tuple(style_layers)
        layers = list(dict.fromkeys([content_layer, *style_layers]))
        self.features = FeatureLayers(features, layers, image_shape, option="content_layer, style_layers")
        channels, *sides = self.features.shapes[content_layer]
        self._enlargements = _enlargements(content_layer, image_shape[1:], sides)
        if colors:
            channels += image_shape[0]
        self.decoder = Decoder(channels, image_shape[0], self._enlargements, width)

    def forward(self, images: Tensor, styles: Tensor) -> dict[str, Any]:
        """Draw images (B, C, H, W) in the styles of others (B, C, ·, ·) with pixels from 0 to 1.

        Returns:
            ``pictures`` (B, C, H, W); ``target`` (B, D, h, w), the maps from which they are drawn; ``means`` and
            ``stds``, lists of the statistics (B, c) of each style layer for `styles`.
        """
        style = self.encode(styles)
        target = self._target(self.encode(images)[self.content_layer], style[self.content_layer])
        statistics = [channel_statistics(style[layer]) for layer in self.style_layers]
        return {
            "pictures": self.decoder(target, images.shape[2:]),
            "target": target,
            "means": [mean for mean, _ in statistics],
            "stds": [std for _, std in statistics],
        }

    def loss(self, outputs: dict[str, Any]) -> Tensor:
        """Return the content loss plus `style_weight` times the style loss: equations 11 to 13, means of squares.

        The content is compared with the maps that the decoder got, not with those of the image (section 5.2).
        """
        drawn = self.encode(outputs["pictures"])
        content = F.mse_loss(drawn[self.content_layer], outputs["target"])
        style = content.new_zeros(())
        for layer, mean, std in zip(self.style_layers, outputs["means"], outputs["stds"], strict=True):
            drawn_mean, drawn_std = channel_statistics(drawn[layer])
            style = style + F.mse_loss(drawn_mean, mean) + F.mse_loss(drawn_std, std)
        return content + self.style_weight * style

    def predict(self, outputs: dict[str, Any]) -> Tensor:
        """Return the pictures (B, C, H, W)."""
        pictures: Tensor = outputs["pictures"]
        return pictures

    def stylize(self, images: Tensor, styles: Tensor, strength: float = 1.0) -> Tensor:
        """Return images (B, C, H, W) in the styles of others (B, C, ·, ·), or partly so: equation 14.

        Args:
            strength: 0 draws the images as they are, as well as the decoder can; 1 is all of the style.
        """
        # Without the maps of other layers, which would stay in memory while the decoder draws.
        content, style = (self.encode(each)[self.content_layer] for each in (images, styles))
        maps = content.lerp(self._target(content, style), strength)
        pictures: Tensor = self.decoder(maps, images.shape[2:])
        return pictures

    def exported(self, batch: dict[str, Tensor]) -> tuple[nn.Module, dict[str, Tensor]]:
        """Return a module that only draws the pictures, and its inputs."""
        return Stylizer(self), {name: batch[name] for name in ("images", "styles")}

    def encode(self, images: Tensor) -> dict[str, Tensor]:
        """Map images (B, C, H, W) to the maps (B, c, ·, ·) of the content layer and the style layers."""
        maps: dict[str, Tensor] = self.features(images)
        if not self.colors:
            return maps
        pixels = (images - PIXEL_MEAN) / PIXEL_STD
        content = maps[self.content_layer]
        # Not adaptive pooling, whose gradient on a GPU is not deterministic.
        reduced = F.avg_pool2d(pixels, 2**self._enlargements, ceil_mode=True)[..., : content.size(2), : content.size(3)]
        return maps | {self.content_layer: torch.cat([content, reduced], 1), PIXELS: pixels}

    def _target(self, content: Tensor, style: Tensor) -> Tensor:
        """Return maps (B, D, h, w) of the content with the statistics of those of the style: equation 8."""
        return adaptive_instance_norm(content, *channel_statistics(style))


class Stylizer(nn.Module):
    """Draw pictures, and return nothing else.

    Args:
        model: the style transfer.
    """

    def __init__(self, model: StyleTransfer) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, styles: Tensor) -> Tensor:
        """Draw images (B, C, H, W) in the styles of others (B, C, ·, ·)."""
        return self.model.stylize(images, styles)


class Decoder(nn.Module):
    """Draw images from the maps of a layer, as the mirror image of an encoder.

    Blocks of two convolutions; before each but the first, the maps are enlarged by copying pixels. Borders are
    repeated. There is no normalization, which would give all images the same style (section 5.1).

    Args:
        in_channels: D.
        out_channels: C.
        enlargements: how many times the maps are doubled in size.
        width: channels of the last block; of the one before it twice as many, and so on.
    """

    def __init__(self, in_channels: int, out_channels: int, enlargements: int, width: int) -> None:
        super().__init__()
        widths = [width * 2**number for number in reversed(range(enlargements + 1))]
        self.blocks = nn.ModuleList(
            nn.Sequential(_convolution(before, wide), nn.ReLU(), _convolution(wide, wide), nn.ReLU())
            for before, wide in zip([in_channels, *widths], widths, strict=False)
        )
        self.draw = _convolution(widths[-1], out_channels)

    def forward(self, maps: Tensor, size: Sequence[int]) -> Tensor:
        """Map maps (B, D, h, w) to images (B, C, H, W) of a size (H, W), which need not be a multiple of theirs."""
        for number, block in enumerate(self.blocks):
            if number:
                factor = 2 ** (len(self.blocks) - 1 - number)
                maps = F.interpolate(maps, size=[-(-side // factor) for side in size])
            maps = block(maps)
        pictures: Tensor = self.draw(maps).sigmoid()
        return pictures


def _enlargements(layer: str, image: Sequence[int], maps: Sequence[int]) -> int:
    """Return how many times maps (h, w) of a layer are to be doubled to have the size (H, W) of an image.

    Raises:
        InputError: no number of times would do, even if sides are rounded.
    """
    number = max(0, round(math.log2(image[0] / maps[0])))
    for side, found in zip(image, maps, strict=True):
        if found not in (side // 2**number, -(-side // 2**number)):
            raise InputError(
                f'content_layer: the maps of "{layer}" have {maps[0]}×{maps[1]} positions for images of '
                f"{image[0]}×{image[1]} pixels; expected a half, a quarter … of the sides, as padded convolutions and "
                "pools of 2 make them. Choose another layer or network"
            )
    return number


def _convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, padding_mode="replicate")
