"""Variational auto-encoder: an auto-encoder with a standard normal prior on its codes, so that it can generate.

Sources: Kingma & Welling 2014, "Auto-Encoding Variational Bayes", https://arxiv.org/abs/1312.6114, sections 2.3 and 3
and appendix B (the KL divergence); Higgins et al. 2017, "beta-VAE"; Burda et al. 2016, "Importance Weighted
Autoencoders", https://arxiv.org/abs/1509.00519, eq. 8 (the bound); Kingma et al. 2014, "Semi-supervised Learning with
Deep Generative Models", model M2 (conditional).
Departs from them: several layers and Adam; the class is appended after the layers of the encoder, not before.
Axes: B images, C channels, H rows, W columns, Z latent dimensions, K samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.fields import NonNegative, NonNegativeFloat, OnlyWith, Positive, PositiveFloat
from dlpipe_generative.conditioning import append_class, conditioned_classes
from dlpipe_generative.encoder_decoder import Activation, Net, build_decoder, build_encoder
from dlpipe_generative.pixels import UNIT, check_range


class VAEOutput(NamedTuple):
    """Outputs for a batch of images.

    Args:
        target: (B, C, H, W) the images to reconstruct; sampled as black or white in training with a Bernoulli
            likelihood.
        pixels: (B, C, H, W) outputs of the decoder: logits of a Bernoulli, means of a Gaussian likelihood.
        mean: (B, Z) of the posterior.
        log_variance: (B, Z) of the posterior.
    """

    target: Tensor
    pixels: Tensor
    mean: Tensor
    log_variance: Tensor


class VAE(nn.Module):
    """Encode an image as a distribution of codes, regularized towards N(0, 1), and decode samples of it.

    Both terms of the loss are in nats: sums over dimensions, means over the batch.

    Args:
        image_shape: C, H, W.
        pixel_range: values of black and white; must be 0 and 1.
        num_classes: of the data; used if the model is conditional.
        net: "dense" layers, or "conv": convolutions that halve the image.
        hidden: units of each layer of the encoder, or channels; the decoder has them in reverse order.
        latent_dim: Z.
        activation: after every layer except the code and the image.
        likelihood: "bernoulli" for black or white pixels (grey pixels are sampled as black or white each time they are
            seen in training, with their grey value as probability, clipped to 0 to 1); "gaussian" for grey and color.
        likelihood_std: standard deviation of the Gaussian likelihood.
        beta: weight of the KL divergence in the loss; 1 gives the evidence lower bound.
        warmup_steps: optimizer steps over which that weight grows linearly from 0.
        conditional: condition encoder and decoder on the class.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        pixel_range: tuple[float, float],
        *,
        num_classes: int | None = None,
        net: Net = "dense",
        hidden: Sequence[Positive] = (400, 400),
        latent_dim: Positive = 20,
        activation: Annotated[Activation, OnlyWith("hidden")] = "softplus",
        likelihood: Literal["bernoulli", "gaussian"] = "bernoulli",
        likelihood_std: Annotated[PositiveFloat, OnlyWith(likelihood="gaussian")] = 0.1,
        beta: NonNegativeFloat = 1.0,
        warmup_steps: Annotated[NonNegative, OnlyWith("beta")] = 0,
        conditional: bool = False,
    ) -> None:
        super().__init__()
        check_range("generative.vae", pixel_range, UNIT)
        self.num_classes = conditioned_classes("generative.vae", conditional, num_classes)
        self.latent_dim, self.pixel_range = latent_dim, UNIT
        self.likelihood, self.likelihood_std = likelihood, likelihood_std
        self.beta, self.warmup_steps = beta, warmup_steps
        num_conditions = self.num_classes or 0
        self.features, width = build_encoder(image_shape, net, hidden, activation)
        self.code = nn.Linear(width + num_conditions, 2 * latent_dim)
        self.decoder = build_decoder(latent_dim + num_conditions, image_shape, net, hidden, activation)

    def forward(self, images: Tensor, targets: Tensor | None = None) -> VAEOutput:
        """Reconstruct images (B, C, H, W) from samples of their codes; in evaluation, from the posterior means."""
        if self.training and self.likelihood == "bernoulli":
            images = torch.bernoulli(images.clamp(0, 1))  # augmentation with noise leaves this range
        mean, log_variance = self.posterior(images, targets)
        latent = reparameterize(mean, log_variance, torch.randn_like(mean)) if self.training else mean
        return VAEOutput(images, self._pixels(latent, targets), mean, log_variance)

    def loss(self, outputs: VAEOutput, step: int | None = None) -> Tensor:
        """Return the negative evidence lower bound in nats, with weighted KL divergence; mean over the batch.

        In evaluation mode it is no bound: the code is the posterior mean instead of a sample, and with a Bernoulli
        likelihood grey pixels are targets as they are. `dlpipe_generative.elbo` measures the bound.

        Args:
            step: optimizer steps taken so far; None outside of training, where the weight is `beta`.
        """
        log_likelihood = self._log_probability(outputs.pixels.float(), outputs.target.float())
        divergence = kl_divergence(outputs.mean.float(), outputs.log_variance.float())
        return (self._weight(step) * divergence - log_likelihood).mean()

    def predict(self, outputs: VAEOutput) -> Tensor:
        """Return the reconstruction, pixels from 0 to 1."""
        return self._to_pixels(outputs.pixels)

    def posterior(self, images: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map images (B, C, H, W) to mean and log variance of the posterior, (B, Z) each."""
        features = append_class(self.features(images), targets, self.num_classes)
        mean, log_variance = self.code(features).chunk(2, dim=1)
        return mean, log_variance

    def encode(self, images: Tensor, targets: Tensor | None = None) -> Tensor:
        """Map images (B, C, H, W) to posterior means (B, Z)."""
        return self.posterior(images, targets)[0]

    def generate(self, latent: Tensor, targets: Tensor | None = None) -> Tensor:
        """Map codes (B, Z), and classes (B,) if conditional, to images (B, C, H, W), the mean of each pixel."""
        return self._to_pixels(self._pixels(latent, targets))

    def log_likelihood(self, images: Tensor, latent: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return log p(image | code) in nats (B,), summed over pixels, for images (B, C, H, W) and codes (B, Z)."""
        return self._log_probability(self._pixels(latent, targets).float(), images.float())

    def _pixels(self, latent: Tensor, targets: Tensor | None) -> Tensor:
        return self.decoder(append_class(latent, targets, self.num_classes))  # type: ignore[no-any-return]

    def _to_pixels(self, pixels: Tensor) -> Tensor:
        return pixels.sigmoid() if self.likelihood == "bernoulli" else pixels

    def _log_probability(self, pixels: Tensor, images: Tensor) -> Tensor:
        if self.likelihood == "bernoulli":
            each = -F.binary_cross_entropy_with_logits(pixels, images, reduction="none")
        else:
            each = log_normal(images, pixels, 2 * math.log(self.likelihood_std))
        return each.flatten(1).sum(1)

    def _weight(self, step: int | None) -> float:
        if step is None or not self.warmup_steps:
            return self.beta
        return self.beta * min(1.0, (step + 1) / self.warmup_steps)


def reparameterize(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Return samples of normal distributions, computed from standard normal `noise` of a broadcastable shape."""
    return mean + (0.5 * log_variance).exp() * noise


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the KL divergence of normal distributions (B, Z) from N(0, 1) in nats: (B,), summed over Z."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


def log_normal(values: Tensor, mean: Tensor | float, log_variance: Tensor | float) -> Tensor:
    """Return the elementwise log density of normal distributions."""
    variance = torch.as_tensor(log_variance, device=values.device).exp()
    return -0.5 * (math.log(2 * math.pi) + log_variance + (values - mean).square() / variance)
