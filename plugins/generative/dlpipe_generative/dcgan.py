"""Deep convolutional generative adversarial network.

Source: Radford, Metz & Chintala 2016, "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks", https://arxiv.org/abs/1511.06434, section 3 and figure 1; spectral normalization: Miyato et al.
2018, https://arxiv.org/abs/1802.05957; conditional: Miyato & Koyama 2018, "cGANs with Projection Discriminator".
Departs from it: normal instead of uniform noise; the image size follows from the data; the discriminator returns
scores, not probabilities.
Axes: B images, C channels, H rows, W columns, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized

from dlpipe.fields import Positive
from dlpipe.protocols import Batch
from dlpipe_generative.conditioning import append_class, conditioned_classes, generator_inputs
from dlpipe_generative.pixels import SYMMETRIC, check_range
from dlpipe_generative.projection import Projection
from dlpipe_generative.resampling import downsample, halved_sizes, upsample

Norm = Literal["batch", "spectral", "none"]
#: Section 4 of the paper: standard deviation of the initial weights, slope of leaky ReLU below 0.
DEVIATION, SLOPE = 0.02, 0.2


class DCGAN(nn.Module):
    """A generator that upsamples a small feature map to an image, and a discriminator that downsamples an image.

    The defaults with images of 64×64 pixels give the networks of the paper: maps of 4×4 pixels and 1024 channels.

    Args:
        image_shape: C, H, W.
        pixel_range: values of black and white; must be -1 and 1.
        num_classes: of the data; used if the model is conditional.
        latent_dim: Z.
        channels: of the layer next to the image; each further layer has twice as many.
        kernel: size of all convolution kernels.
        smallest: minimum side of the feature maps; an image is halved while its sides are even and stay this long.
        discriminator_norm: "batch" normalization in all layers but the first, as in the paper; "spectral"
            normalization of the weights of all its layers, but not of the embedding of the class; or "none". For the
            losses "wgan_gp" and "hinge", use "spectral" or "none".
        conditional: condition both networks on the class.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        pixel_range: tuple[float, float],
        *,
        num_classes: int | None = None,
        latent_dim: Positive = 100,
        channels: Positive = 128,
        kernel: Literal[3, 4, 5] = 5,
        smallest: Positive = 4,
        discriminator_norm: Norm = "batch",
        conditional: bool = False,
    ) -> None:
        super().__init__()
        check_range("generative.dcgan", pixel_range, SYMMETRIC)
        self.num_classes = conditioned_classes("generative.dcgan", conditional, num_classes)
        self.latent_dim = latent_dim
        *halved, size = halved_sizes(image_shape, smallest)
        widths = [image_shape[0], *(channels * 2**depth for depth in range(len(halved)))]
        self.generator = Generator(widths[::-1], size, latent_dim, kernel, self.num_classes)
        self.discriminator = Discriminator(widths, size, kernel, discriminator_norm, self.num_classes)
        self.apply(_initialize)

    def forward(self, images: Tensor, targets: Tensor | None = None) -> Tensor:
        """Map images (B, C, H, W) to the discriminator's scores (B,)."""
        return self.discriminator(images, targets)  # type: ignore[no-any-return]

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the scores."""
        return outputs

    def generate(self, latent: Tensor, targets: Tensor | None = None) -> Tensor:
        """Map latent vectors (B, Z), and classes (B,) if conditional, to images (B, C, H, W) from -1 to 1."""
        return self.generator(latent, targets)  # type: ignore[no-any-return]

    def exported(self, batch: Batch) -> tuple[nn.Module, dict[str, Tensor]]:
        """Return the generator, with random latent vectors (B, Z), and the classes (B,) if it is conditional."""
        return self.generator, generator_inputs(batch, self.latent_dim, self.num_classes)


class Generator(nn.Module):
    """Project latent vectors to a small feature map, and upsample it to an image.

    Args:
        widths: channels of the feature maps, ending with those of the image.
        size: H and W of the first map.
    """

    def __init__(
        self, widths: list[int], size: tuple[int, int], latent_dim: int, kernel: int, num_classes: int | None
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.project = nn.Sequential(
            nn.Linear(latent_dim + (num_classes or 0), widths[0] * prod(size), bias=False),
            nn.Unflatten(1, (widths[0], *size)),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        )
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths[:-1]):
            layers += [
                upsample(inputs, outputs, kernel, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers, upsample(widths[-2], widths[-1], kernel), nn.Tanh())

    def forward(self, latent: Tensor, targets: Tensor | None = None) -> Tensor:
        """Map latent vectors (B, Z) to images (B, C, H, W)."""
        maps = self.project(append_class(latent, targets, self.num_classes))
        # The channels-last layout makes convolutions a fifth faster on a CPU, and more on a GPU in bfloat16.
        return self.layers(maps.contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]


class Discriminator(nn.Module):
    """Downsample an image to a small feature map, and score it.

    Args:
        widths: channels of the feature maps, starting with those of the image.
        size: H and W of the last map.
    """

    def __init__(
        self, widths: list[int], size: tuple[int, int], kernel: int, norm: Norm, num_classes: int | None
    ) -> None:
        super().__init__()
        weighted: Callable[[nn.Module], nn.Module] = _spectrally_normalized if norm == "spectral" else nn.Identity()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            batch = norm == "batch" and bool(layers)  # not in the first layer, section 3 of the paper
            layers.append(weighted(downsample(inputs, outputs, kernel, bias=not batch)))
            layers += [nn.BatchNorm2d(outputs)] if batch else []
            layers.append(nn.LeakyReLU(SLOPE, inplace=True))
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.score = Projection(widths[-1] * prod(size), num_classes)
        weighted(self.score.linear)

    def forward(self, images: Tensor, targets: Tensor | None = None) -> Tensor:
        """Map images (B, C, H, W) to scores (B,)."""
        features = self.layers(images.contiguous(memory_format=torch.channels_last))
        return self.score(features, targets)  # type: ignore[no-any-return]


def _spectrally_normalized(layer: nn.Module) -> nn.Module:
    """Divide the weight of a layer by its largest singular value."""
    normalized = spectral_norm(layer)
    normalized.weight  # noqa: B018  estimates it by one more step of the power iteration than torch does
    return normalized


def _initialize(layer: nn.Module) -> None:
    """Initialize weights from N(0, 0.02²), as in the paper; those of batch normalization from N(1, 0.02²).

    Layers with spectral normalization keep torch's weights: their scale has no effect.
    """
    if is_parametrized(layer):
        return
    if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0.0, DEVIATION)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, DEVIATION)
