"""Any of torchvision's classification networks.

Source: https://pytorch.org/vision/stable/models.html lists the paper of each; the small stem is that
of He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2 (CIFAR-10).
Departs from them: any number of channels and classes; no auxiliary classifiers.
Axes: B images, C channels, H rows, W columns, K classes.
"""

import difflib
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

# With auxiliary classifiers the output is more than logits; without init_weights both warn about a future change.
OPTIONS: dict[str, dict[str, Any]] = {
    name: {"aux_logits": False, "init_weights": True} for name in ("googlenet", "inception_v3")
}
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


class Backbone(nn.Module):
    """Score K classes for images with a torchvision network.

    For images of one channel, the output is that of three equal channels.

    Args:
        image_shape: C, H, W.
        num_classes: K.
        name: a classification network, such as resnet18, vgg11_bn, mobilenet_v3_small, vit_b_16.
        small_images: start a ResNet with a 3×3 convolution of stride 1 and no pooling, so that
            images of 32×32 pixels are not reduced to 1×1 before the last layers.

    Raises:
        ValueError: there is no such network, or it does not accept the images.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        *,
        name: str = "resnet18",
        small_images: bool = False,
    ) -> None:
        super().__init__()
        self.net = _create(name, num_classes)
        if small_images:
            _use_small_stem(self.net, name)
        self._first = f"net.{_adapt_channels(self.net, image_shape[0])}"
        self._channels = image_shape[0]
        self.net.to(memory_format=torch.channels_last)  # as in CNN
        _check_image_shape(self.net, image_shape, name)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, K)."""
        logits: Tensor = self.net(images)
        return logits

    def adapt_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return weights of torchvision's network, or of another number of channels, for this one.

        Auxiliary classifiers are left out, and the first convolution gets weights for the channels of the images.
        """
        # The DenseNet weights that torchvision offers were saved when norm1 was called norm.1.
        named = {
            re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", key): each for key, each in weights.items()
        }
        adapted = {key: each for key, each in named.items() if not key.removeprefix("net.").startswith(AUXILIARY)}
        for key in (self._first, self._first.removeprefix("net.")):
            if key in adapted and adapted[key].dim() == 4:
                adapted[key] = with_channels(adapted[key], self._channels)
        return adapted


def with_channels(weight: Tensor, channels: int) -> Tensor:
    """Return the weights of a first convolution (out, in, h, w) for images with a different number of channels.

    For one channel, the weights of all old channels are added up, as if the old channels were equal. More
    channels use the weights of the old ones in turn, scaled by the old number of channels over the new one.
    """
    before = weight.size(1)
    if channels == before:
        return weight
    if channels == 1:
        return weight.sum(1, keepdim=True)
    copies = weight.repeat(1, -(-channels // before), 1, 1)[:, :channels]
    return copies * (before / channels)


def _create(name: str, num_classes: int) -> nn.Module:
    names = models.list_models(module=models)  # not its subpackages: those detect, segment …
    if name not in names:
        match = difflib.get_close_matches(name, names, n=1)
        hint = f' Did you mean "{match[0]}"?' if match else ""
        raise ValueError(f'name = "{name}": torchvision has no classification network of this name.{hint}')
    net: nn.Module = models.get_model(name, weights=None, num_classes=num_classes, **OPTIONS.get(name, {}))
    return net


def _use_small_stem(net: nn.Module, name: str) -> None:
    if not isinstance(net, models.ResNet):
        raise ValueError(
            f"small_images = true: {name} is not a ResNet; remove small_images, or choose a ResNet such as "
            'name = "resnet18"'
        )
    net.conv1 = nn.Conv2d(3, net.conv1.out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")  # as in torchvision's ResNet
    net.maxpool = nn.Identity()


def _adapt_channels(net: nn.Module, channels: int) -> str:
    """Make the first convolution fit the images and return the name of its weights."""
    name, first = next((name, module) for name, module in net.named_modules() if isinstance(module, nn.Conv2d))
    first.in_channels = channels
    first.weight = nn.Parameter(with_channels(first.weight.detach(), channels))
    return f"{name}.weight"


def _check_image_shape(net: nn.Module, image_shape: tuple[int, int, int], name: str) -> None:
    """Score one image, so that images of an unsuitable size are refused before training starts."""
    net.eval()
    try:
        with torch.no_grad():
            net(torch.zeros(1, *image_shape))
    except (RuntimeError, ValueError, AssertionError) as error:
        size = "×".join(map(str, image_shape))
        raise ValueError(
            f"{name} does not accept images of {size}: {error}; choose another name or images of another size"
        ) from error
    net.train()
