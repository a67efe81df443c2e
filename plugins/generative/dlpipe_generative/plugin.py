"""What the generative plugin offers. Imports no torch."""

from __future__ import annotations

from dlpipe import Evaluator, Model, hookimpl

DLPIPE_API = (1, 0)
EXTRA = "dlpipe[generative]"


@hookimpl
def dlpipe_models():
    return [
        Model("autoencoder", "dlpipe_generative.autoencoder:AutoEncoder", "an image through a few numbers and back"),
        Model("vae", "dlpipe_generative.vae:VAE", "variational auto-encoder: codes that one can draw from"),
    ]


@hookimpl
def dlpipe_evaluators():
    return [
        _evaluator(
            "reconstruction",
            "dlpipe_generative.reconstruction:Reconstruction",
            "squared error of images drawn again from their codes, beside principal components",
        ),
        _evaluator(
            "elbo", "dlpipe_generative.elbo:Elbo", "likelihood of images under a variational auto-encoder, in nats"
        ),
        _evaluator(
            "latent", "dlpipe_generative.latent:Latent", "interpolation, traversal and map of codes, and their classes"
        ),
    ]


def _evaluator(name: str, target: str, summary: str) -> Evaluator:
    return Evaluator(name, target, summary, requires=("pillow", "matplotlib"), extra=EXTRA)
