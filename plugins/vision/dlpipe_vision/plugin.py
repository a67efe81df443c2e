"""What the vision plugin offers. Imports no torch."""

from __future__ import annotations

from dlpipe import Data, Evaluator, hookimpl

DLPIPE_API = (1, 0)
FACTS = ("image_shape", "num_classes", "labels")
EXTRA = "dlpipe[vision]"


@hookimpl
def dlpipe_data():
    return [
        Data(
            "digits",
            "dlpipe_vision.digits:digits",
            "handwritten digits of 8×8 pixels, which come with scikit-learn",
            requires=("scikit-learn", "pillow"),
            extra=EXTRA,
            facts=FACTS,
        ),
    ]


@hookimpl
def dlpipe_evaluators():
    needs = ("pillow", "matplotlib")
    return [
        Evaluator(
            "error_gallery",
            "dlpipe_vision.error_gallery:ErrorGallery",
            "shows the images behind each cell of the confusion matrix, and the worst mistakes",
            requires=needs,
            extra=EXTRA,
        ),
        Evaluator(
            "robustness",
            "dlpipe_vision.robustness:Robustness",
            "accuracy on noisy, moved and turned images",
            requires=needs,
            extra=EXTRA,
        ),
        Evaluator(
            "layer_pictures",
            "dlpipe_vision.layer_pictures:LayerPictures",
            "draws filters, feature maps and where the model looks (Grad-CAM)",
            requires=needs,
            extra=EXTRA,
        ),
    ]
