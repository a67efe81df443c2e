"""Auto-encoder: an image through a few numbers and back.

Sources: Hinton & Salakhutdinov 2006, "Reducing the Dimensionality of Data with Neural Networks",
https://doi.org/10.1126/science.1127647 (deep); Vincent et al. 2008, "Extracting and Composing Robust Features with
Denoising Autoencoders" (with `noise`).
Departs from them: trained from scratch in one go, no restricted Boltzmann machines first; normal noise on
pixels where Vincent et al. set some to 0; squared error.
Axes: B images, C channels, H rows, W columns, Z numbers of a code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.fields import NonNegativeFloat, Positive
from dlpipe_generative.coders import Activation, Net, decoder, encoder
from dlpipe_generative.pixels import UNIT, check_range

#: How fast the mean and deviation of codes follow, per step; as in torch's batch normalisation.
MOMENTUM = 0.1


class AutoEncoder(nn.Module):
    """Learn a code of Z numbers for an image by drawing the image from it again.

    It knows mean and deviation of the codes it has seen, and `encode` and `draw` speak of codes that are standardised
    by them, so that numbers N(0, 1) are codes that might be. What it draws of those shows that an auto-encoder
    is no machine that draws: nothing made it learn what lies between its codes.

    Args:
        image_shape: C, H, W.
        pixel_range: what black and white are; expected 0 and 1.
        net: "dense" layers, or "conv": convolutions that halve the image.
        hidden: units of each layer before the code, or channels; the way back has them in turn.
        latent_dim: Z.
        activation: behind every layer but the code and the image.
        output: "sigmoid" draws pixels from 0 to 1; "linear" lets them run free, as a principal component analysis does.
        noise: standard deviation of normal noise on the pixels of training images, which the model learns to
            take away.
    """

    num_classes: int | None = None

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        pixel_range: tuple[float, float],
        *,
        net: Net = "dense",
        hidden: Sequence[Positive] = (512, 256),
        latent_dim: Positive = 30,
        activation: Activation = "relu",
        output: Literal["sigmoid", "linear"] = "sigmoid",
        noise: NonNegativeFloat = 0.0,
    ) -> None:
        super().__init__()
        check_range("generative.autoencoder", pixel_range, UNIT)
        self.latent_dim, self.noise, self.pixel_range = latent_dim, noise, UNIT
        features, width = encoder(image_shape, net, hidden, activation)
        self.encoder = nn.Sequential(features, nn.Linear(width, latent_dim))
        pixels = decoder(latent_dim, image_shape, net, hidden, activation)
        self.decoder = nn.Sequential(pixels, nn.Sigmoid() if output == "sigmoid" else nn.Identity())
        self.code_mean: Tensor
        self.code_std: Tensor
        self.register_buffer("code_mean", torch.zeros(latent_dim))
        self.register_buffer("code_std", torch.ones(latent_dim))

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to what is left of them, likewise."""
        if self.training and self.noise:
            images = images + self.noise * torch.randn_like(images)
        codes = self.encoder(images)  # (B, Z)
        if self.training:
            self._note(codes.detach().float())
        return self.decoder(codes)  # type: ignore[no-any-return]

    def loss(self, outputs: Tensor, images: Tensor) -> Tensor:
        """Return the squared error, mean over pixels and images."""
        return F.mse_loss(outputs.float(), images)

    def predict(self, outputs: Tensor) -> Tensor:
        """Return what was drawn: that is the prediction."""
        return outputs

    def encode(self, images: Tensor, targets: Tensor | None = None) -> Tensor:
        """Map images (B, C, H, W) to standardised codes (B, Z)."""
        return (self.encoder(images) - self.code_mean) / self.code_std  # type: ignore[no-any-return]

    def draw(self, latent: Tensor, targets: Tensor | None = None) -> Tensor:
        """Draw images (B, C, H, W) from standardised codes (B, Z)."""
        return self.decoder(self.code_mean + self.code_std * latent)  # type: ignore[no-any-return]

    def _note(self, codes: Tensor) -> None:
        self.code_mean.lerp_(codes.mean(0), MOMENTUM)
        if len(codes) > 1:
            self.code_std.lerp_(codes.std(0).clamp_min(1e-6), MOMENTUM)
