"""What evaluators, trainers and predictions expect of the models here. Nothing need inherit from these.

Axes: B things of a batch, Z numbers that a thing is drawn from; a thing is an image (C, H, W) or a point (2,).
"""

from __future__ import annotations

from typing import Protocol, TypeVar, runtime_checkable

from torch import Tensor, nn

from dlpipe.errors import InputError

#: What is learned from, as the data calls it: the first of these columns that a batch has.
THINGS = ("images", "points")


@runtime_checkable
class Draws(Protocol):
    """A model that draws a thing from numbers.

    Attributes:
        latent_dim: Z.
        num_classes: how many classes it can be told to draw; None where it takes no wishes.
    """

    latent_dim: int
    num_classes: int | None

    def draw(self, latent: Tensor, targets: Tensor | None = None) -> Tensor:
        """Draw things (B, …), pixels as in the data, from numbers (B, Z), N(0, 1) each; of classes `targets` (B,)."""


@runtime_checkable
class Encodes(Draws, Protocol):
    """A model that also tells from which numbers it would draw a given image."""

    def encode(self, images: Tensor, targets: Tensor | None = None) -> Tensor:
        """Map images (B, C, H, W) to numbers (B, Z); what `draw` makes of them should look like the image."""


@runtime_checkable
class Adversaries(Draws, Protocol):
    """Two nets against each other; both are called with `targets` (B,) only where `num_classes` is not None.

    Attributes:
        generator: maps numbers (B, Z) to things.
        discriminator: maps things to scores (B,), the higher the more real.
    """

    generator: nn.Module
    discriminator: nn.Module


ContractT = TypeVar("ContractT", Draws, Encodes, Adversaries)
_KINDS = {
    Draws: "models that draw, such as generative.vae or generative.dcgan",
    Encodes: "models that encode and draw, such as generative.autoencoder or generative.vae",
    Adversaries: "a generator and a discriminator, such as generative.gan or generative.dcgan",
}


def require(model: nn.Module, kind: type[ContractT], who: str) -> ContractT:
    """Return `model` if it is of that kind.

    Args:
        who: needs it, such as ``"generative.latent"``.

    Raises:
        InputError: it is not.
    """
    if not isinstance(model, kind):
        raise InputError(f"{who} needs {_KINDS[kind]}; this model is {type(model).__name__}")
    return model


def column_of(columns: tuple[str, ...] | list[str], who: str) -> str:
    """Return which of the columns holds the things to learn from.

    Raises:
        InputError: none does.
    """
    for name in THINGS:
        if name in columns:
            return name
    raise InputError(
        f"{who} learns to draw {' or '.join(THINGS)}; this data has {', '.join(columns)}: choose data of images, "
        "such as vision.digits"
    )
