"""Variational auto-encoder: an auto-encoder whose codes are made to fill a normal distribution, so that it can draw.

Sources: Kingma & Welling 2014, "Auto-Encoding Variational Bayes", https://arxiv.org/abs/1312.6114, sections 2.3 and 3
and appendix B (the KL divergence); Higgins et al. 2017, "beta-VAE"; Burda et al. 2016, "Importance Weighted
Autoencoders", https://arxiv.org/abs/1509.00519, eq. 8 (the bound); Kingma et al. 2014, "Semi-supervised Learning with
Deep Generative Models", model M2 (conditional).
Departs from them: several layers and Adam; the class joins the encoder behind its layers, not in front of them.
Axes: B images, C channels, H rows, W columns, Z numbers of a code, K samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.fields import NonNegative, NonNegativeFloat, Positive, PositiveFloat
from dlpipe_generative.coders import Activation, Net, decoder, encoder
from dlpipe_generative.pixels import UNIT, check_range
from dlpipe_generative.wishes import classes_told, with_class


class Drawn(NamedTuple):
    """What became of a batch of images.

    Args:
        wanted: (B, C, H, W) what should be drawn; in training of a Bernoulli likelihood, black and white only.
        pixels: (B, C, H, W) what the decoder says: logits of a Bernoulli, means of a Gaussian likelihood.
        mean: (B, Z) of the code.
        log_variance: (B, Z) of the code.
    """

    wanted: Tensor
    pixels: Tensor
    mean: Tensor
    log_variance: Tensor


class VAE(nn.Module):
    """Learn a distribution of codes for each image, near N(0, 1), by drawing the image from it again.

    Both parts of the loss are in nats: sums over dimensions, means over the batch.

    Args:
        image_shape: C, H, W.
        pixel_range: what black and white are; expected 0 and 1.
        num_classes: of the data; used where the model is conditional.
        net: "dense" layers, or "conv": convolutions that halve the image.
        hidden: units of each layer before the code, or channels; the way back has them in turn.
        latent_dim: Z.
        activation: behind every layer but the code and the image.
        likelihood: "bernoulli" of pixels that are black or white (grey ones are drawn anew as such, with their grey as
            probability, each time they are seen in training); "gaussian" of grey and colour.
        likelihood_std: standard deviation of the Gaussian likelihood.
        beta: weight of the KL divergence in training; 1 for the evidence lower bound.
        warmup_steps: steps over which that weight grows from 0, in a line.
        conditional: tell both halves the class of an image, so that one can ask for a class.
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
        activation: Activation = "softplus",
        likelihood: Literal["bernoulli", "gaussian"] = "bernoulli",
        likelihood_std: PositiveFloat = 0.1,
        beta: NonNegativeFloat = 1.0,
        warmup_steps: NonNegative = 0,
        conditional: bool = False,
    ) -> None:
        super().__init__()
        check_range("generative.vae", pixel_range, UNIT)
        self.num_classes = classes_told("generative.vae", conditional, num_classes)
        self.latent_dim, self.pixel_range = latent_dim, UNIT
        self.likelihood, self.likelihood_std = likelihood, likelihood_std
        self.beta, self.warmup_steps = beta, warmup_steps
        told = self.num_classes or 0
        self.features, width = encoder(image_shape, net, hidden, activation)
        self.code = nn.Linear(width + told, 2 * latent_dim)
        self.decoder = decoder(latent_dim + told, image_shape, net, hidden, activation)

    def forward(self, images: Tensor, targets: Tensor | None = None) -> Drawn:
        """Draw images (B, C, H, W) from samples of their codes; in evaluation, from the means of those."""
        if self.training and self.likelihood == "bernoulli":
            images = torch.bernoulli(images)
        mean, log_variance = self.posterior(images, targets)
        latent = sampled(mean, log_variance, torch.randn_like(mean)) if self.training else mean
        return Drawn(images, self._pixels(latent, targets), mean, log_variance)

    def loss(self, outputs: Drawn, step: int | None = None) -> Tensor:
        """Return minus the evidence lower bound in nats, its KL divergence weighted; mean over the batch.

        Args:
            step: optimizer steps taken so far; None outside of training, where the weight is that after the warm-up.
        """
        drawn = self._log_probability(outputs.pixels.float(), outputs.wanted.float())
        divergence = kl_divergence(outputs.mean.float(), outputs.log_variance.float())
        return (self._weight(step) * divergence - drawn).mean()

    def predict(self, outputs: Drawn) -> Tensor:
        """Return what was drawn, pixels from 0 to 1: that is the prediction."""
        return self._seen(outputs.pixels)

    def posterior(self, images: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map images (B, C, H, W) to mean and logarithm of the variance of their codes, (B, Z) each."""
        features = with_class(self.features(images), targets, self.num_classes)
        mean, log_variance = self.code(features).chunk(2, dim=1)
        return mean, log_variance

    def encode(self, images: Tensor, targets: Tensor | None = None) -> Tensor:
        """Map images (B, C, H, W) to the means of their codes (B, Z)."""
        return self.posterior(images, targets)[0]

    def draw(self, latent: Tensor, targets: Tensor | None = None) -> Tensor:
        """Draw images (B, C, H, W), the mean of each pixel, from codes (B, Z), of classes (B,) if conditional."""
        return self._seen(self._pixels(latent, targets))

    def log_likelihood(self, images: Tensor, latent: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return log p(image | code) in nats (B,), a sum over pixels, of images (B, C, H, W) and codes (B, Z)."""
        return self._log_probability(self._pixels(latent, targets).float(), images.float())

    def _pixels(self, latent: Tensor, targets: Tensor | None) -> Tensor:
        return self.decoder(with_class(latent, targets, self.num_classes))  # type: ignore[no-any-return]

    def _seen(self, pixels: Tensor) -> Tensor:
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


def sampled(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Return samples of normal distributions, made of `noise` N(0, 1) of any shape that fits."""
    return mean + (0.5 * log_variance).exp() * noise


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the KL divergence of normal distributions (B, Z) from N(0, 1) in nats: (B,), a sum over Z."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


def log_normal(values: Tensor, mean: Tensor | float, log_variance: Tensor | float) -> Tensor:
    """Return the logarithm of the density of normal distributions, for each of the values."""
    variance = torch.as_tensor(log_variance, device=values.device).exp()
    return -0.5 * (math.log(2 * math.pi) + log_variance + (values - mean).square() / variance)
