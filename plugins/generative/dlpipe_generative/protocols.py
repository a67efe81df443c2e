"""The interfaces that evaluators, trainers and predictions expect of generative models. No inheritance is needed.

Axes: B samples of a batch, Z latent dimensions. A sample is an image (C, H, W) or a point (2,).
"""

from __future__ import annotations

from typing import Protocol, TypeVar, runtime_checkable

from torch import Tensor, nn

from dlpipe.errors import InputError

#: Columns of the data that can hold the samples to learn from; the first that a batch has is used.
SAMPLE_COLUMNS = ("images", "points")


@runtime_checkable
class GenerativeModel(Protocol):
    """A model that maps latent vectors to samples.

    Attributes:
        latent_dim: Z.
        num_classes: number of classes that it is conditioned on; None if it is unconditional.
    """

    latent_dim: int
    num_classes: int | None

    def generate(self, latent: Tensor, targets: Tensor | None = None) -> Tensor:
        """Map N(0, 1) vectors (B, Z), and classes (B,) if conditional, to samples (B, …) in the range of the data."""


@runtime_checkable
class EncodingModel(GenerativeModel, Protocol):
    """A generative model that also maps images to latent vectors."""

    def encode(self, images: Tensor, targets: Tensor | None = None) -> Tensor:
        """Map images (B, C, H, W) to latent vectors (B, Z) from which `generate` reconstructs them."""


@runtime_checkable
class AdversarialModel(GenerativeModel, Protocol):
    """A generator and a discriminator; both are called with `targets` (B,) only if `num_classes` is not None.

    Attributes:
        generator: maps latent vectors (B, Z) to samples.
        discriminator: maps samples to scores (B,); a higher score means more likely to be real.
    """

    generator: nn.Module
    discriminator: nn.Module


ProtocolT = TypeVar("ProtocolT", GenerativeModel, EncodingModel, AdversarialModel)
_DESCRIPTIONS = {
    GenerativeModel: "a generative model, such as generative.vae or generative.dcgan",
    EncodingModel: "a model that encodes images, such as generative.autoencoder or generative.vae",
    AdversarialModel: "a model with a generator and a discriminator, such as generative.gan or generative.dcgan",
}


def require(model: nn.Module, kind: type[ProtocolT], who: str) -> ProtocolT:
    """Return `model` if it implements the protocol `kind`.

    Args:
        who: the component that needs it, such as ``"generative.latent"``.

    Raises:
        InputError: the model does not implement it.
    """
    if not isinstance(model, kind):
        raise InputError(f"{who} needs {_DESCRIPTIONS[kind]}; the model is {type(model).__name__}")
    return model


def sample_column(columns: tuple[str, ...] | list[str], who: str) -> str:
    """Return the name of the column that holds the samples to learn from.

    Raises:
        InputError: no column does.
    """
    for name in SAMPLE_COLUMNS:
        if name in columns:
            return name
    raise InputError(
        f"{who} needs data with a column {' or '.join(SAMPLE_COLUMNS)}; the data has {', '.join(columns)}; choose data "
        "of images, such as vision.digits"
    )
