"""Generative adversarial net of fully connected layers, for points and for small images.

Sources: Goodfellow et al. 2014, "Generative Adversarial Nets", https://arxiv.org/abs/1406.2661; Miyato & Koyama 2018,
"cGANs with Projection Discriminator", https://arxiv.org/abs/1802.05637, eq. 3 (conditional).
Departs from them: normal noise where the first took uniform one; leaky ReLU where it took maxout.
Axes: B things of a batch, Z numbers a thing is drawn from, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import Tensor, nn

from dlpipe.fields import Positive
from dlpipe_generative.pixels import SYMMETRIC, check_range
from dlpipe_generative.projection import Projection
from dlpipe_generative.wishes import classes_told, with_class

#: Slope of leaky ReLU below 0, as in Radford et al. 2016.
SLOPE = 0.2


class GAN(nn.Module):
    """A generator that draws points or images, and a discriminator that scores how real they look.

    Args:
        image_shape: C, H, W of the images to draw.
        point_dim: numbers of a point, where the data are points.
        pixel_range: what black and white are; expected -1 and 1.
        num_classes: of the data; used where the model is conditional.
        hidden: units of each layer of the generator; those of the discriminator in turn.
        latent_dim: Z.
        conditional: tell both nets the class, so that one can ask for a class.
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
                "it draws images or points, and this data tells of neither (facts image_shape and pixel_range, or "
                "point_dim); expected data such as vision.digits or generative.gaussian_ring"
            )
        self.num_classes = classes_told("generative.gan", conditional, num_classes)
        self.latent_dim = latent_dim
        self.generator = Generator(shape, latent_dim, hidden, self.num_classes, nn.Tanh() if image_shape else None)
        self.discriminator = Discriminator(shape, [*reversed(hidden)], self.num_classes)

    def forward(
        self, images: Tensor | None = None, points: Tensor | None = None, targets: Tensor | None = None
    ) -> Tensor:
        """Score how real images (B, C, H, W) or points (B, 2) look: (B,)."""
        return self.discriminator(points if images is None else images, targets)  # type: ignore[no-any-return]

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the scores: they are the prediction."""
        return outputs

    def draw(self, latent: Tensor, targets: Tensor | None = None) -> Tensor:
        """Draw things (B, …) from numbers (B, Z), of classes (B,) if conditional."""
        return self.generator(latent, targets)  # type: ignore[no-any-return]


class Generator(nn.Module):
    """Layers with ReLU and batch normalisation for images, with ReLU alone for points.

    Args:
        shape: of a thing.
        last: what follows the last layer, and makes it draw images.
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
        """Map numbers (B, Z) to things (B, …)."""
        return self.layers(with_class(latent, targets, self.num_classes))  # type: ignore[no-any-return]


class Discriminator(nn.Module):
    """Layers with leaky ReLU.

    Args:
        shape: of a thing.
    """

    def __init__(self, shape: Sequence[int], hidden: Sequence[int], num_classes: int | None) -> None:
        super().__init__()
        sizes = [prod(shape), *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(SLOPE)]
        self.features = nn.Sequential(*layers)
        self.score = Projection(sizes[-1], num_classes)

    def forward(self, things: Tensor, targets: Tensor | None = None) -> Tensor:
        """Map things (B, …) to scores (B,)."""
        return self.score(self.features(things), targets)  # type: ignore[no-any-return]
