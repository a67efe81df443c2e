"""What the generative plugin offers. Imports no torch."""

from __future__ import annotations

from dlpipe import DataSpec, EvaluatorSpec, ModelSpec, TrainerSpec, hookimpl

DLPIPE_API = (1, 0)
EXTRA = "dlpipe[generative]"


@hookimpl
def dlpipe_data():
    return [
        DataSpec(
            "manga_faces",
            "dlpipe_generative.manga_faces:MangaFaces",
            "comic faces drawn by a seeded hand, all their factors known",
            requires=("pillow",),
            extra=EXTRA,
            facts=("image_shape", "pixel_range", "num_classes", "labels", "attributes"),
        ),
        DataSpec(
            "gaussian_ring",
            "dlpipe_generative.gaussian_ring:GaussianRing",
            "points around modes on a circle: does a generator forget some?",
            facts=("point_dim", "mode_centers", "mode_deviation"),
        ),
    ]


@hookimpl
def dlpipe_models():
    return [
        _model("autoencoder", "dlpipe_generative.autoencoder:AutoEncoder", "an image through a few numbers and back"),
        _model("vae", "dlpipe_generative.vae:VAE", "variational auto-encoder: codes that one can draw from"),
        _model("gan", "dlpipe_generative.gan:GAN", "generator and discriminator of dense layers, for points or images"),
        _model("dcgan", "dlpipe_generative.dcgan:DCGAN", "deep convolutional generator and discriminator of images"),
    ]


def _model(name: str, target: str, summary: str) -> ModelSpec:
    return ModelSpec(name, target, summary, application="dlpipe_generative.draw:draw")


@hookimpl
def dlpipe_trainers():
    return [
        TrainerSpec("gan_trainer", "dlpipe_generative.gan_trainer:GANTrainer", "two nets against each other"),
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
            "modes", "dlpipe_generative.modes:Modes", "how many modes of a mixture a generator covers, and how exactly"
        ),
        _evaluator(
            "samples",
            "dlpipe_generative.samples:Samples",
            "what is drawn from the same numbers; a film of the training",
        ),
        _evaluator(
            "quality",
            "dlpipe_generative.quality:Quality",
            "Fréchet and kernel distance, precision, recall and coverage, on features of a classifier of its own",
        ),
        _evaluator(
            "train_on_generated",
            "dlpipe_generative.train_on_generated:TrainOnGenerated",
            "what a classifier learns from drawn images, judged by real ones",
        ),
        _evaluator(
            "attributes",
            "dlpipe_generative.attributes:Attributes",
            "how often drawn images have each attribute, beside the truth",
        ),
        _evaluator(
            "nearest", "dlpipe_generative.nearest:Nearest", "the training image nearest to each drawn one: no copies?"
        ),
        _evaluator(
            "balance", "dlpipe_generative.balance:Balance", "scores of the discriminator, and the alarm of a collapse"
        ),
        _evaluator(
            "latent", "dlpipe_generative.latent:Latent", "interpolation, traversal and map of codes, and their classes"
        ),
    ]


def _evaluator(name: str, target: str, summary: str) -> EvaluatorSpec:
    return EvaluatorSpec(name, target, summary, requires=("pillow", "matplotlib"), extra=EXTRA)
