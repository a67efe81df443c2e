"""The components that the generative plugin offers. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping

from dlpipe import DataSpec, EvaluatorSpec, ModelSpec, RuleSpec, TrainerSpec, hookimpl

DLPIPE_API = (1, 0)
EXTRA = "dlpipe[generative]"
RULES = "dlpipe_generative.coach_rules"
#: Evaluators that train a classifier on the data.
CLASSIFIER_RENAMED = {"reader_steps": "classifier_steps"}
COMPARES = "it compares every split with them"


@hookimpl
def dlpipe_data():
    return [
        DataSpec(
            "manga_faces",
            "dlpipe_generative.manga_faces:MangaFaces",
            "synthetic comic faces with known attributes",
            requires=("pillow",),
            extra=EXTRA,
            facts=("image_shape", "pixel_range", "num_classes", "labels", "attributes"),
        ),
        DataSpec(
            "gaussian_ring",
            "dlpipe_generative.gaussian_ring:GaussianRing",
            "2D mixture of Gaussians on a circle, a test for mode collapse",
            facts=("point_dim", "mode_centers", "mode_deviation"),
        ),
    ]


@hookimpl
def dlpipe_models():
    return [
        _model("autoencoder", "dlpipe_generative.autoencoder:AutoEncoder", "dense or convolutional auto-encoder"),
        _model(
            "vae",
            "dlpipe_generative.vae:VAE",
            "variational auto-encoder, optionally class-conditional",
            {"scale": "likelihood_std"},
        ),
        _model(
            "pixel_cnn",
            "dlpipe_generative.pixel_cnn:PixelCNN",
            "generates images pixel by pixel, with exact likelihood",
        ),
        _model("gan", "dlpipe_generative.gan:GAN", "fully connected generator and discriminator, for points or images"),
        _model("dcgan", "dlpipe_generative.dcgan:DCGAN", "deep convolutional generator and discriminator, for images"),
    ]


def _model(name: str, target: str, summary: str, renamed: Mapping[str, str] | None = None) -> ModelSpec:
    return ModelSpec(name, target, summary, renamed=renamed or {}, application="dlpipe_generative.generate:generate")


@hookimpl
def dlpipe_trainers():
    return [
        TrainerSpec(
            "gan_trainer",
            "dlpipe_generative.gan_trainer:GANTrainer",
            "alternating updates of a discriminator and a generator",
            changeable=(
                "generator_optimizer",
                "discriminator_optimizer",
                "loss",
                "gradient_penalty",
                "label_smoothing",
                "ema_decay",
                "num_workers",
            ),
            renamed={"workers": "num_workers"},
        ),
    ]


@hookimpl
def dlpipe_evaluators():
    return [*_evaluators_of_encoders(), *_evaluators_of_samples()]


def _evaluators_of_encoders() -> list[EvaluatorSpec]:
    return [
        _evaluator(
            "reconstruction",
            "dlpipe_generative.reconstruction:Reconstruction",
            "reconstruction error, compared with principal component analysis",
        ),
        _evaluator(
            "elbo", "dlpipe_generative.elbo:Elbo", "evidence lower bound of a variational auto-encoder, in nats"
        ),
        _evaluator(
            "pixel_likelihood",
            "dlpipe_generative.pixel_likelihood:PixelLikelihood",
            "exact likelihood of images that are generated pixel by pixel, in bits",
            baselines=("independent_bits_per_dim",),
        ),
        _evaluator(
            "latent",
            "dlpipe_generative.latent:Latent",
            "interpolation, traversal and scatter plot of the latent space, and nearest-neighbor accuracy",
            {"neighbours": "num_neighbors"},
            not_on_train=COMPARES,
        ),
    ]


def _evaluators_of_samples() -> list[EvaluatorSpec]:
    return [
        _evaluator(
            "modes",
            "dlpipe_generative.modes:Modes",
            "number of modes of a mixture that a generator covers, and precision",
            not_on_train="it compares samples with the known mixture, not with a split",
        ),
        _evaluator(
            "samples",
            "dlpipe_generative.samples:Samples",
            "samples from fixed latent vectors, and an animation of the training",
            not_on_train="its samples are the same for every split",
        ),
        _evaluator(
            "quality",
            "dlpipe_generative.quality:Quality",
            "Fréchet and kernel distance, precision, recall and coverage, on features of a classifier of the same data",
            CLASSIFIER_RENAMED,
            not_on_train=COMPARES,
        ),
        _evaluator(
            "train_on_generated",
            "dlpipe_generative.train_on_generated:TrainOnGenerated",
            "accuracy on real images of a classifier trained on generated ones",
            CLASSIFIER_RENAMED,
        ),
        _evaluator(
            "attributes",
            "dlpipe_generative.attributes:Attributes",
            "frequencies of attributes in generated images, compared with the real ones",
            CLASSIFIER_RENAMED,
        ),
        _evaluator(
            "nearest",
            "dlpipe_generative.nearest:Nearest",
            "nearest training image of each generated image, to detect copies",
            not_on_train=COMPARES,
        ),
        _evaluator(
            "gan_diagnostics",
            "dlpipe_generative.gan_diagnostics:GANDiagnostics",
            "discriminator scores and sample diversity, with a warning about mode collapse",
            {"alarm": "collapse_threshold"},
            ("balance",),
            not_on_train="it scores them on every split, as d_train",
            from_trainer=("loss",),
        ),
    ]


def _evaluator(
    name: str,
    target: str,
    summary: str,
    renamed: Mapping[str, str] | None = None,
    formerly: tuple[str, ...] = (),
    not_on_train: str = "",
    from_trainer: tuple[str, ...] = (),
    baselines: tuple[str, ...] = (),
) -> EvaluatorSpec:
    return EvaluatorSpec(
        name,
        target,
        summary,
        requires=("pillow", "matplotlib"),
        extra=EXTRA,
        renamed=renamed or {},
        formerly=formerly,
        not_on_train=not_on_train,
        from_trainer=from_trainer,
        baselines=baselines,
    )


@hookimpl
def dlpipe_rules():
    return [
        RuleSpec("discriminator-wins", f"{RULES}:discriminator_wins", "a discriminator that is never wrong"),
        RuleSpec("mode-collapse", f"{RULES}:mode_collapse", "a generator whose samples are all alike"),
        RuleSpec(
            "posterior-collapse", f"{RULES}:posterior_collapse", "a variational auto-encoder that ignores its codes"
        ),
    ]
