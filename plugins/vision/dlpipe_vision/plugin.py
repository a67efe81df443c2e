"""What the vision plugin offers. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping

from dlpipe import DataSpec, EvaluatorSpec, ModelSpec, RuleSpec, hookimpl

DLPIPE_API = (1, 0)
FACTS = ("image_shape", "num_classes", "labels", "pixel_range")
EXTRA = "dlpipe[vision]"
#: Networks that are given images of other data expect values of the same range.
SAME_FACTS = ("pixel_range",)
NO_METRICS = "it gives no metrics, and its figures show the test split"


@hookimpl
def dlpipe_data():
    return [
        _images(
            "digits",
            "dlpipe_vision.digits:digits",
            "handwritten digits of 8×8 pixels (included in scikit-learn)",
            requires=("scikit-learn",),
        ),
        _images("textures", "dlpipe_vision.textures:textures", "color textures of ten kinds, drawn at any size"),
        _images("idx", "dlpipe_vision.idx:idx", "your own images in IDX files, the format of MNIST"),
        _images("mnist", "dlpipe_vision.idx:mnist", "handwritten digits of 28×28 pixels (MNIST)"),
        _images(
            "image_folder",
            "dlpipe_vision.image_files:image_folder",
            "your own images in class folders, in an archive of them, or listed in a table",
            renamed={"test": "test_size"},
        ),
        _images("cifar", "dlpipe_vision.cifar:cifar", "CIFAR-10 or CIFAR-100 from binary files"),
        _images(
            "cifar10", "dlpipe_vision.cifar:cifar10", "color photographs of 32×32 pixels in ten classes (CIFAR-10)"
        ),
        DataSpec(
            "content_and_style",
            "dlpipe_vision.content_and_style:ContentAndStyle",
            "pairs of an image and another one in whose style it is to be drawn",
            requires=("pillow",),
            extra=EXTRA,
            facts=("image_shape", "pixel_range"),
        ),
    ]


def _images(
    name: str, target: str, summary: str, *, requires: tuple[str, ...] = (), renamed: Mapping[str, str] | None = None
) -> DataSpec:
    return DataSpec(
        name,
        target,
        summary,
        requires=("pillow", *requires),
        extra=EXTRA,
        renamed={"dev": "dev_size", **(renamed or {})},
        facts=FACTS,
    )


@hookimpl
def dlpipe_models():
    return [
        ModelSpec("cnn", "dlpipe_vision.cnn:CNN", "convolutional network with the layers that the pipeline file lists"),
        ModelSpec(
            "residual_net",
            "dlpipe_vision.residual_net:ResidualNet",
            "residual, highway and plain networks of any depth (ResNet-20, 56, 110 of CIFAR-10)",
        ),
        ModelSpec(
            "backbone",
            "dlpipe_vision.backbone:Backbone",
            "torchvision classification networks by name (resnet18, vgg11 …)",
            requires=("torchvision",),
            extra=EXTRA,
        ),
        ModelSpec(
            "style_transfer",
            "dlpipe_vision.style_transfer:StyleTransfer",
            "draws any image in the style of any other (AdaIN), with the features of a trained network",
            requires=("pillow", "torchvision"),
            extra=EXTRA,
            application="dlpipe_vision.stylize:stylize",
            same_facts=SAME_FACTS,
        ),
    ]


@hookimpl
def dlpipe_evaluators():
    needs = ("pillow", "matplotlib")
    return [
        EvaluatorSpec(
            "error_gallery",
            "dlpipe_vision.error_gallery:ErrorGallery",
            "shows the images of each cell of the confusion matrix, and the worst mistakes",
            not_on_train=NO_METRICS,
            requires=needs,
            extra=EXTRA,
        ),
        EvaluatorSpec(
            "robustness",
            "dlpipe_vision.robustness:Robustness",
            "accuracy on noisy, shifted and rotated images",
            requires=needs,
            extra=EXTRA,
        ),
        EvaluatorSpec(
            "layer_pictures",
            "dlpipe_vision.layer_pictures:LayerPictures",
            "draws filters, feature maps and Grad-CAM",
            not_on_train=NO_METRICS,
            requires=needs,
            extra=EXTRA,
        ),
        EvaluatorSpec(
            "deep_dream",
            "dlpipe_vision.deep_dream:DeepDream",
            "draws what layers, channels and classes respond to (Deep Dream)",
            primary_depends_on=("layer", "channels", "classes"),
            baselines=("gain_untrained",),
            requires=needs,
            extra=EXTRA,
            same_facts=("labels", *SAME_FACTS),
        ),
        EvaluatorSpec(
            "stylization",
            "dlpipe_vision.stylization:Stylization",
            "style and content of stylized pictures, judged by another network, beside simpler methods",
            requires=(*needs, "torchvision"),
            extra=EXTRA,
            same_facts=SAME_FACTS,
        ),
    ]


@hookimpl
def dlpipe_rules():
    return [
        RuleSpec(
            "no-augmentation",
            "dlpipe_vision.coach_rules:no_augmentation",
            "images that are the same in every epoch, of a model that learns what only they have",
        )
    ]
