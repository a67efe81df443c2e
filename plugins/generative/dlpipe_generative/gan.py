"""Fully connected generative adversarial network for points and small images.

Sources: Goodfellow et al. 2014, "Generative Adversarial Nets", https://arxiv.org/abs/1406.2661; Miyato & Koyama 2018,
"cGANs with Projection Discriminator", https://arxiv.org/abs/1802.05637, eq. 3 (conditional).
Departs from them: normal instead of uniform noise; leaky ReLU instead of maxout.
Axes: B samples of a batch, Z latent dimensions, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import Tensor, nn

from dlpipe.fields import Positive
from dlpipe.protocols import Batch
from dlpipe_generative.conditioning import append_class, conditioned_classes, generator_inputs
from dlpipe_generative.pixels import SYMMETRIC, check_range
from dlpipe_generative.projection import Projection

#: Slope of leaky ReLU below 0, as in Radford et al. 2016.
SLOPE = 0.2


class GAN(nn.Module):
    """A generator of points or images, and a discriminator that scores them.

    Args:
        image_shape: C, H, W, if the data are images.
        point_dim: dimensions of a point, if the data are points.
        pixel_range: values of black and white; must be -1 and 1.
        num_classes: of the data; used if the model is conditional.
        hidden: units of each layer of the generator; the discriminator has them in reverse order.
        latent_dim: Z.
        conditional: condition both networks on the class.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int] | None = None,
        point_dim: int | None = None,
        pixel_range: tuple[float, float] | None = None,
        num_classes: int | None = None,
        hidden: Sequence[Positive] = (256, 512),
        latent_dim: Positive = 64,
        conditional: bool = False,
    ) -> None:
        super().__init__()
        shape: tuple[int, ...]
        if image_shape is not None and pixel_range is not None:
            check_range("generative.gan", pixel_range, SYMMETRIC)
            shape = tuple(image_shape)
        elif point_dim is not None:
            shape = (point_dim,)
        else:
            raise ValueError(
                "generative.gan needs data of images (facts image_shape and pixel_range) or points (fact point_dim); "
                f"the data provides image_shape = {image_shape}, pixel_range = {pixel_range} and point_dim = "
                f"{point_dim}; choose data such as vision.digits or generative.gaussian_ring"
            )
        self.num_classes = conditioned_classes("generative.gan", conditional, num_classes)
        self.latent_dim = latent_dim
        self.generator = Generator(shape, latent_dim, hidden, self.num_classes, nn.Tanh() if image_shape else None)
        self.discriminator = Discriminator(shape, [*reversed(hidden)], self.num_classes)

    def forward(
        self, images: Tensor | None = None, points: Tensor | None = None, targets: Tensor | None = None
    ) -> Tensor:
        """Map images (B, C, H, W) or points (B, 2) to the discriminator's scores (B,)."""
        return self.discriminator(points if images is None else images, targets)  # type: ignore[no-any-return]

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the scores."""
        return outputs

    def generate(self, latent: Tensor, targets: Tensor | None = None) -> Tensor:
        """Map latent vectors (B, Z), and classes (B,) if conditional, to samples (B, …)."""
        return self.generator(latent, targets)  # type: ignore[no-any-return]

    def exported(self, batch: Batch) -> tuple[nn.Module, dict[str, Tensor]]:
        """Return the generator, with random latent vectors (B, Z), and the classes (B,) if it is conditional."""
        return self.generator, generator_inputs(batch, self.latent_dim, self.num_classes)


class Generator(nn.Module):
    """Linear layers with ReLU, and batch normalization for images.

    Args:
        shape: of a sample.
        last: activation of the last layer; None for points.
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent_dim: int,
        hidden: Sequence[int],
        num_classes: int | None,
        last: nn.Module | None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        sizes = [latent_dim + (num_classes or 0), *hidden]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            norm = nn.Identity() if last is None else nn.BatchNorm1d(outputs)
            layers += [nn.Linear(inputs, outputs), norm, nn.ReLU()]
        layers += [nn.Linear(sizes[-1], prod(shape)), nn.Unflatten(1, tuple(shape))]
        self.layers = nn.Sequential(*layers, last or nn.Identity())

    def forward(self, latent: Tensor, targets: Tensor | None = None) -> Tensor:
        """Map latent vectors (B, Z) to samples (B, …)."""
        return self.layers(append_class(latent, targets, self.num_classes))  # type: ignore[no-any-return]


class Discriminator(nn.Module):
    """Linear layers with leaky ReLU.

    Args:
        shape: of a sample.
    """

    def __init__(self, shape: Sequence[int], hidden: Sequence[int], num_classes: int | None) -> None:
        super().__init__()
        sizes = [prod(shape), *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(SLOPE)]
        self.features = nn.Sequential(*layers)
        self.score = Projection(sizes[-1], num_classes)

    def forward(self, samples: Tensor, targets: Tensor | None = None) -> Tensor:
        """Map samples (B, …) to scores (B,)."""
        return self.score(self.features(samples), targets)  # type: ignore[no-any-return]
