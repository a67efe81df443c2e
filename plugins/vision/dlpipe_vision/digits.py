"""Handwritten digits of 8×8 pixels, which come with scikit-learn: no files are needed.

Source: E. Alpaydin and C. Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository, https://doi.org/10.24432/C50P49; scikit-learn has its 1,797 test images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, Strict

from dlpipe.fields import Fraction, NonNegativeFloat, OpenFraction, Positive
from dlpipe_vision.augment import Augment
from dlpipe_vision.distinct import require_distinct
from dlpipe_vision.idx import read_mnist
from dlpipe_vision.image_sets import ImageSet, ImageSplits
from dlpipe_vision.label_sampling import stratified_sample
from dlpipe_vision.labeled_images import LabeledImages, Normalize

#: The data has no test split; ours is a fifth of the images, evenly from all classes and always the same.
TEST_SHARE = 5
#: The largest value: each pixel counts how many of 16 finer pixels were inked.
INKED = 16
Digit = Annotated[int, Strict(), Field(ge=0, le=9)]
Imbalance = Annotated[float, Strict(), Field(ge=1, allow_inf_nan=False)]


def digits(
    *,
    path: Path | None = None,
    classes: Annotated[Sequence[Digit], Field(min_length=2)] | None = None,
    dev_size: OpenFraction | Positive = 0.1,
    limit: Positive | None = None,
    normalize: Normalize = "standardize",
    augment: Augment | None = None,
    noise: NonNegativeFloat = 0.0,
    shuffle_pixels: bool = False,
    label_noise: Fraction = 0.0,
    imbalance: Imbalance = 1.0,
) -> LabeledImages:
    """1,797 handwritten digits of 8×8 grey pixels: 1,438 for training, 359 for the test.

    Both may contain digits of the same writer, so scores are higher than for new writers.

    Args:
        path: a folder with the IDX files of MNIST, to use its 28×28 digits instead; see vision.mnist.
        classes: only these digits, such as [0, 1, 2]; by default all ten.
        dev_size: how many training images to hold out as the dev split, or which share of them.
        limit: use at most this many of the remaining training images.
        normalize: "standardize" (mean 0, standard deviation 1 over the training images), "unit" (0 to 1),
            "symmetric" (-1 to 1), "none" (0 to 255) or statistics of pixels from 0 to 1 by
            channel: { mean = […], std = […] }.
        augment: random changes to training images, such as { rotate = 15, shift = 1 }.
        noise: standard deviation of the noise added to every pixel (0 to 1) of evaluation images.
        shuffle_pixels: put the pixels of each image into another order, the same for all images, so that
            neighboring pixels are unrelated.
        label_noise: share of the training images (not of the dev split) that get the label of another class, to study
            how models deal with wrong labels.
        imbalance: how many times more training images (not of the dev split) there are of the first digit than of the
            last; those between decay exponentially. To study classes of unequal size.
    """
    return LabeledImages(
        partial(_read_classes, _read if path is None else partial(read_mnist, path), classes),
        dev_size=dev_size,
        limit=limit,
        normalize=normalize,
        augment=augment,
        noise=noise,
        shuffle_pixels=shuffle_pixels,
        label_noise=label_noise,
        imbalance=imbalance,
    )


def _read_classes(read: Callable[[], ImageSplits], classes: Sequence[int] | None) -> ImageSplits:
    """Return the images of some classes, whose numbers are their places in `classes`."""
    every = read()
    if classes is None:
        return every
    require_distinct("classes", classes)
    numbers = torch.full((len(every.labels),), -1).index_copy_(0, torch.tensor(classes), torch.arange(len(classes)))
    sets = {}
    for split, images in every.sets.items():
        chosen = images.subset((numbers[images.targets] >= 0).nonzero()[:, 0])
        sets[split] = replace(chosen, targets=numbers[chosen.targets])
    return ImageSplits([every.labels[digit] for digit in classes], sets)


def _read() -> ImageSplits:
    from sklearn.datasets import load_digits  # takes a second to import, and only this data needs it

    bunch = load_digits()
    images = torch.from_numpy(bunch.images / INKED * 255).round().to(torch.uint8)[:, None]
    every = ImageSet(images, torch.from_numpy(bunch.target).long())
    test = stratified_sample(every.targets, len(every) // TEST_SHARE)
    rest = torch.ones(len(every), dtype=torch.bool).index_fill_(0, test, False).nonzero()[:, 0]
    return ImageSplits([str(digit) for digit in range(10)], {"train": every.subset(rest), "test": every.subset(test)})
