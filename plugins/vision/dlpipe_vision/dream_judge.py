"""A second network that says what it sees in a dream.

A pattern that only exploits the weights of one network is not recognized by another, which began with other weights.
Axes: B images, C channels, H rows, W columns, N crops of an image, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlpipe.data import ModelCaller
from dlpipe.errors import InputError
from dlpipe.evaluation import Examples
from dlpipe_vision.labeled_images import LabeledImages


def crops_of(images: Tensor, height: int, width: int) -> Tensor:
    """Return as many crops side by side as fit into images (B, C, H, W): (B, N, C, height, width)."""
    cut = images.unfold(2, height, height).unfold(3, width, width)  # (B, C, down, across, height, width)
    return cut.permute(0, 2, 3, 1, 4, 5).flatten(1, 2)


class Judge:
    """An independently trained classifier of the same data.

    Args:
        model: the classifier, in evaluation mode.
        data: whose classes it knows.
        device: where the model is.
    """

    def __init__(self, model: nn.Module, data: LabeledImages, device: torch.device) -> None:
        self._model, self._data, self._device = model, data, device
        self._caller = ModelCaller(model, ("images",))

    def probabilities(self, images: Tensor, number: int) -> Tensor:
        """Return the probability of a class in each crop (B, N) of images (B, C, H, W) with pixels from 0 to 1.

        Raises:
            InputError: the judge has no probabilities, or those of another number of classes.
        """
        crops = crops_of(images.to(self._device), *self._data.facts["image_shape"][1:])
        batch = {"images": self._data.as_input(crops.flatten(0, 1))}
        with torch.inference_mode():
            outputs = self._caller.outputs(batch)
            found = self._caller.probabilities(outputs, self._caller.predictions(outputs, batch), batch)
        classes = len(self._data.labels)
        if found is None or found.shape != (len(batch["images"]), classes):
            of = "no probabilities" if found is None else f"probabilities of {found.size(-1)} classes"
            raise InputError(
                f"judge: {type(self._model).__name__} gives {of}; expected those of the {classes} classes of the data: "
                "choose a classifier that was trained on the same data"
            )
        return found[:, number].view(crops.shape[:2]).cpu()

    def accuracy(self, examples: Examples) -> float:
        """Return its accuracy on a split."""
        right = total = 0
        passed = examples.predictions_on(self._model, self._data.split(examples.split))
        for batch, _, predictions in passed:
            right += int((predictions == batch["targets"]).sum())
            total += len(predictions)
        return right / total
