"""Auto-encoder: compress an image to a short code and reconstruct it.

Sources: Hinton & Salakhutdinov 2006, "Reducing the Dimensionality of Data with Neural Networks",
https://doi.org/10.1126/science.1127647 (deep); Vincent et al. 2008, "Extracting and Composing Robust Features with
Denoising Autoencoders" (with `noise`).
Departs from them: trained end to end from scratch, without pretraining by restricted Boltzmann machines; Gaussian noise
where Vincent et al. set pixels to 0; squared error.
Axes: B images, C channels, H rows, W columns, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.fields import NonNegativeFloat, OnlyWith, Positive
from dlpipe_generative.encoder_decoder import Activation, Net, build_decoder, build_encoder
from dlpipe_generative.pixels import UNIT, check_range

#: Momentum of the running mean and deviation of codes, as in torch's batch normalization.
MOMENTUM = 0.1


class AutoEncoder(nn.Module):
    """Compress an image to a code of Z numbers and reconstruct it.

    The model keeps a running mean and deviation of its codes. `encode` and `generate` use codes that are standardized
    by them, so N(0, 1) vectors have the scale of real codes. Samples from such vectors show that a plain auto-encoder
    is not a generative model: the loss does not constrain the space between the codes.

    Args:
        image_shape: C, H, W.
        pixel_range: values of black and white; must be 0 and 1.
        net: "dense" layers, or "conv": convolutions that halve the image.
        hidden: units of each layer of the encoder, or channels; the decoder has them in reverse order.
        latent_dim: Z.
        activation: after every layer except the code and the image.
        output: "sigmoid" limits pixels to 0 to 1; "linear" does not, as in principal component analysis.
        noise: standard deviation of Gaussian noise that is added to training images; the model learns to remove it.
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
        activation: Annotated[Activation, OnlyWith("hidden")] = "relu",
        output: Literal["sigmoid", "linear"] = "sigmoid",
        noise: NonNegativeFloat = 0.0,
    ) -> None:
        super().__init__()
        check_range("generative.autoencoder", pixel_range, UNIT)
        self.latent_dim, self.noise, self.pixel_range = latent_dim, noise, UNIT
        features, width = build_encoder(image_shape, net, hidden, activation)
        self.encoder = nn.Sequential(features, nn.Linear(width, latent_dim))
        pixels = build_decoder(latent_dim, image_shape, net, hidden, activation)
        self.decoder = nn.Sequential(pixels, nn.Sigmoid() if output == "sigmoid" else nn.Identity())
        self.code_mean: Tensor
        self.code_std: Tensor
        self.register_buffer("code_mean", torch.zeros(latent_dim))
        self.register_buffer("code_std", torch.ones(latent_dim))

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to reconstructions of the same shape."""
        if self.training and self.noise:
            images = images + self.noise * torch.randn_like(images)
        codes = self.encoder(images)  # (B, Z)
        if self.training:
            self._track(codes.detach().float())
        return self.decoder(codes)  # type: ignore[no-any-return]

    def loss(self, outputs: Tensor, images: Tensor) -> Tensor:
        """Return the squared error, mean over pixels and images."""
        return F.mse_loss(outputs.float(), images)

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the reconstruction."""
        return outputs

    def encode(self, images: Tensor, targets: Tensor | None = None) -> Tensor:
        """Map images (B, C, H, W) to standardized codes (B, Z)."""
        return (self.encoder(images) - self.code_mean) / self.code_std  # type: ignore[no-any-return]

    def generate(self, latent: Tensor, targets: Tensor | None = None) -> Tensor:
        """Map standardized codes (B, Z) to images (B, C, H, W)."""
        return self.decoder(self.code_mean + self.code_std * latent)  # type: ignore[no-any-return]

    def _track(self, codes: Tensor) -> None:
        """Update the running mean and deviation with codes (B, Z)."""
        self.code_mean.lerp_(codes.mean(0), MOMENTUM)
        if len(codes) > 1:
            self.code_std.lerp_(codes.std(0).clamp_min(1e-6), MOMENTUM)
