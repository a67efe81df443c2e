"""Evidence lower bound of images under a variational auto-encoder, in nats.

Sources: Kingma & Welling 2014, eq. 3 (the bound and its two parts); Burda et al. 2016, eq. 8 (importance weighting) and
section 5.2 (active units).
Axes: B images of a batch, Z latent dimensions, K samples.
"""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe.evaluation import Examples, ExampleScores
from dlpipe.fields import NonNegative, Positive
from dlpipe.json_text import to_json
from dlpipe.report_items import ReportItem
from dlpipe_generative.vae import VAE, kl_divergence, log_normal, reparameterize

#: A latent dimension is active if the variance over images of its posterior mean is above this (Burda et al. 2016).
ACTIVE = 0.01


class Elbo:
    """Evidence lower bound in nats per image: sums over pixels and latent dimensions, means over images.

    ``evaluate`` returns ``elbo`` = ``log_likelihood`` - ``kl`` and these two terms; ``bits_per_dim`` =
    -elbo / (pixels ln 2), for densities of pixels from 0 to 1 under a Gaussian likelihood (add 8 for pixels from 0 to
    255); ``active_units``, the number of latent dimensions that carry information; and with `importance_samples` the
    tighter ``importance_weighted`` bound. For a Bernoulli likelihood, images are first sampled as black and white; the
    random numbers depend only on the row in the split, so the task is always the same. Codes are sampled per batch, so
    the metrics change a little with ``evaluation_batch_size``. ``write`` writes ``likelihood.json``, which records how
    it was measured.

    Args:
        samples: samples of the code per image, for the expected log-likelihood.
        importance_samples: K of the importance-weighted bound; each needs a pass of the decoder. 0 skips the bound.
    """

    primary = "elbo"
    goal: Literal["max"] = "max"

    def __init__(self, *, samples: Positive = 1, importance_samples: NonNegative = 0) -> None:
        self._samples, self._importance_samples = samples, importance_samples
        self._report: dict[str, object] = {}
        self._rows: list[int] = []
        self._bounds: list[float] = []

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Measure every image of the split."""
        if not isinstance(model, VAE):
            raise InputError(
                f"generative.elbo needs the model generative.vae, which defines a likelihood; the model is a "
                f"{type(model).__name__}"
            )
        found: dict[str, list[Tensor]] = defaultdict(list)
        for batch, _, _ in examples.predictions(model):
            images = batch["images"]
            if model.likelihood == "bernoulli":
                images = binarize(images, batch["rows"])
            with torch.inference_mode():
                measured = self._measure(model, images, batch.get("targets"), seed=int(batch["rows"][0]))
            for name, values in (measured | {"rows": batch["rows"]}).items():
                found[name].append(values)
        self._rows = torch.cat(found.pop("rows")).tolist()
        self._bounds = (torch.cat(found["log_likelihood"]).double() - torch.cat(found["kl"]).double()).tolist()
        return self._summary({name: torch.cat(values).double() for name, values in found.items()}, model, images[0])

    def example_scores(self) -> ExampleScores:
        """Return the bound of each image of the last `evaluate`."""
        return ExampleScores(self._rows, self._bounds)

    def write(self, folder: Path) -> list[ReportItem]:
        """Write the metrics, and how they were measured."""
        (folder / "likelihood.json").write_text(to_json(self._report, indent=1) + "\n")
        return [
            ReportItem(
                "likelihood.json",
                "Evidence lower bound",
                f"Means over {self._report['images']} images, in nats; likelihood: {self._report['likelihood']}. elbo "
                "= log_likelihood - kl: higher is better, but only among models with the same likelihood and data.",
            )
        ]

    def _measure(self, model: VAE, images: Tensor, targets: Tensor | None, seed: int) -> dict[str, Tensor]:
        """Return the terms of the bound for each image (B,), and the posterior means (B, Z)."""
        generator = torch.Generator(images.device).manual_seed(seed)
        mean, log_variance = model.posterior(images, targets)

        def sample_code() -> Tensor:
            noise = torch.randn(mean.shape, device=mean.device, generator=generator)
            return reparameterize(mean, log_variance, noise)

        log_likelihoods = [model.log_likelihood(images, sample_code(), targets) for _ in range(self._samples)]
        measured = {
            "log_likelihood": torch.stack(log_likelihoods).mean(0),
            "kl": kl_divergence(mean, log_variance),
            "means": mean,
        }
        if self._importance_samples:
            weights = []
            for _ in range(self._importance_samples):
                latent = sample_code()
                prior = log_normal(latent, 0.0, 0.0).sum(1)
                posterior = log_normal(latent, mean, log_variance).sum(1)
                weights.append(model.log_likelihood(images, latent, targets) + prior - posterior)
            measured["importance_weighted"] = importance_weighted(torch.stack(weights))
        return measured

    def _summary(self, found: dict[str, Tensor], model: VAE, image: Tensor) -> dict[str, float]:
        means = found.pop("means")
        metrics = {name: float(values.mean()) for name, values in found.items()}
        elbo = metrics["log_likelihood"] - metrics["kl"]
        active = int((means.var(0, correction=0) > ACTIVE).sum())
        bits = -elbo / (image.numel() * math.log(2))
        metrics = {"elbo": elbo, **metrics, "bits_per_dim": bits, "active_units": active}
        pixels = (
            "sampled as black or white once, with their grey value as probability"
            if model.likelihood == "bernoulli"
            else "from 0 to 1"
        )
        self._report = {
            "metrics": metrics,
            "unit": "nats per image: sums over dimensions, means over images",
            "likelihood": f"{model.likelihood}, pixels {pixels}",
            "likelihood_std": model.likelihood_std if model.likelihood == "gaussian" else None,
            "samples": self._samples,
            "importance_samples": self._importance_samples,
            "images": len(means),
        }
        return metrics


def binarize(images: Tensor, rows: Tensor) -> Tensor:
    """Sample images (B, C, H, W) as black and white, with grey as probability; the result depends on rows (B,) only."""
    thresholds = torch.stack(
        [torch.rand(images.shape[1:], generator=torch.Generator().manual_seed(row)) for row in rows.tolist()]
    )
    return (thresholds.to(images.device) < images).to(images.dtype)


def importance_weighted(log_weights: Tensor) -> Tensor:
    """Return the bound (B,) for log weights (K, B): the logarithm of the mean weight."""
    return log_weights.logsumexp(0) - math.log(len(log_weights))
