"""The outputs of some layers of a trained network, for losses that compare images by what a network sees in them.

Axes: B images, C channels, H rows, W columns; h and w of a feature map.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

from dlpipe.errors import InputError
from dlpipe_vision.distinct import require_distinct
from dlpipe_vision.layer_outputs import require_layer


class FeatureLayers(nn.Module):
    """Compute the feature maps of some layers of a trained network, which is neither trained further nor changed.

    The layers after the last of them are left out, so that images of any size will do. The network stays in evaluation
    mode and its weights get no gradient; gradients pass through it to the images.

    Args:
        network: takes images (B, C, H, W).
        layers: names of layers whose outputs are maps (B, c, h, w), such as "layers.2".
        image_shape: C, H, W of an image, for a trial.
        option: what names the layers in a pipeline file, for messages.

    Attributes:
        shapes: (c, h, w) of the maps of an image of `image_shape`, by layer.

    Raises:
        InputError: there is no such layer, its output is no map, or the network takes no such images.
    """

    def __init__(
        self, network: nn.Module, layers: Sequence[str], image_shape: tuple[int, int, int], *, option: str
    ) -> None:
        super().__init__()
        _require_layers(network, layers, option)
        network = deepcopy(network).eval().requires_grad_(False)
        for module in network.modules():
            if hasattr(module, "inplace"):  # an activation must not overwrite the maps of the layer before it
                module.inplace = False  # type: ignore[assignment]
        try:
            self.network = create_feature_extractor(network, {name: name for name in layers})
        except Exception as error:  # torch.fx raises whatever the forward pass of the network raises
            raise InputError(
                f"the layers of {type(network).__name__} cannot be found by torch.fx: {error}; expected a network "
                "whose forward pass takes the same way for all images, such as vision.cnn"
            ) from error
        self.shapes = {name: _map_shape(maps, name, option) for name, maps in self._trial(image_shape).items()}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map images (B, C, H, W) to the maps (B, c, h, w) of each layer."""
        maps: dict[str, Tensor] = self.network(images)
        return maps

    def train(self, mode: bool = True) -> FeatureLayers:
        """Stay in evaluation mode: batch normalization uses the statistics of the training of the network."""
        return super().train(False)

    def _trial(self, image_shape: tuple[int, int, int]) -> dict[str, Tensor]:
        """Return the maps of a black image."""
        weight = next(self.parameters(), torch.zeros(()))
        try:
            with torch.no_grad():
                maps: dict[str, Tensor] = self(weight.new_zeros(1, *image_shape))
        except RuntimeError as error:
            raise InputError(
                f"a network of features cannot take the images of this data, of {image_shape[0]} channels and "
                f"{image_shape[1]}×{image_shape[2]} pixels: {error}; train it on such images"
            ) from error
        return maps


def _require_layers(network: nn.Module, layers: Sequence[str], option: str) -> None:
    for name in layers:
        require_layer(network, name, option)
    require_distinct(option, layers)


def _map_shape(maps: object, name: str, option: str) -> tuple[int, int, int]:
    if not isinstance(maps, Tensor) or maps.dim() != 4:
        found = f"a tensor of shape {tuple(maps.shape)}" if isinstance(maps, Tensor) else type(maps).__name__
        raise InputError(
            f'{option}: the layer "{name}" returns {found}; expected feature maps (images, channels, rows, columns), '
            "as convolutions return them"
        )
    channels, height, width = maps.shape[1:]
    return channels, height, width
