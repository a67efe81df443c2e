"""Labeled images from any source: splits, normalization, augmentation, and predictions for a user's pictures.

Images stay bytes until they are in a batch on the device; only there are they converted to floating point.
Axes: N images, B of a batch, C channels, H rows, W columns.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor

from dlpipe.data import Columns, Prepare, class_answer, expand_folder, file_digests, in_both
from dlpipe.errors import DataError, InputError
from dlpipe.fields import Fraction, PositiveFloat
from dlpipe.messages import counted, shown
from dlpipe.protocols import Batch
from dlpipe_vision.augment import Augment, augmented, noisy
from dlpipe_vision.image_sets import ImageDataset, ImageSet, ImageSplits, image_keys
from dlpipe_vision.label_sampling import long_tail, stratified_sample, with_wrong_labels
from dlpipe_vision.near_copies import nearly_in
from dlpipe_vision.picture import SUFFIXES, read_picture


class MeanStd(TypedDict):
    """The statistics that images are standardized with, as the weights of a trained network expect them.

    Keys:
        mean: of each channel, of pixels from 0 to 1.
        std: standard deviation of each channel.
    """

    mean: Sequence[Fraction]
    std: Sequence[PositiveFloat]


#: How bytes are converted: to mean 0 and standard deviation 1 over the training images, or with given ones; to 0 to 1;
#: to -1 to 1; or unchanged, from 0 to 255.
Normalize = Literal["standardize", "unit", "symmetric", "none"] | MeanStd


class EncodedPicture(dict[str, Tensor]):
    """A picture as an example for the model.

    Args:
        images: the picture (C, H, W).
        notes: what was done to it to make it like those of the training.
    """

    def __init__(self, images: Tensor, notes: Sequence[str]) -> None:
        super().__init__(images=images)
        self.notes = notes


class LabeledImages:
    """Labeled images, for a classifier.

    Args:
        read: reads the files; called once, when a split is first needed.
        dev_size: how many training images to hold out as the dev split (an int), or which share of them (a float below
            1), drawn evenly from all classes and always the same; used only if the files have no dev split.
        limit: use at most this many of the remaining training images.
        normalize: "standardize" (mean 0, standard deviation 1 over the training images, by channel), "unit"
            (0 to 1), "symmetric" (-1 to 1) or "none" (0 to 255); or the mean and standard deviation by channel.
        augment: random changes to training images.
        noise: standard deviation of the noise added to every pixel (0 to 1) of evaluation images.
        shuffle_pixels: finally put the pixels of each image into another order, the same for all images.
        label_noise: share of the training images that get the label of another class, always the same ones.
        imbalance: how many times more training images the first class has than the last one.

    Attributes:
        noise: as given.
        is_restored: whether it has the state of an earlier process: a trained model can be used on other images.
    """

    def __init__(
        self,
        read: Callable[[], ImageSplits],
        *,
        dev_size: int | float = 0,
        limit: int | None = None,
        normalize: Normalize = "standardize",
        augment: Augment | None = None,
        noise: float = 0.0,
        shuffle_pixels: bool = False,
        label_noise: float = 0.0,
        imbalance: float = 1.0,
    ) -> None:
        self._read, self._dev_size, self._limit = read, dev_size, limit
        self._normalize, self._augment, self.noise = normalize, augment, noise
        self._shuffle_pixels, self._label_noise, self._imbalance = shuffle_pixels, label_noise, imbalance
        self.is_restored = False
        self._loaded_splits: ImageSplits | None = None
        self._state: dict[str, Any] = {}
        self._scales: dict[tuple[torch.device, float], tuple[Tensor, Tensor]] = {}

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the files, and "dev"."""
        return tuple(split for split in ("train", "dev", "test") if split in self._sets)

    @property
    def facts(self) -> dict[str, Any]:
        """``image_shape`` (C, H, W), ``num_classes``, ``labels``, ``pixel_range`` (values of black and white)."""
        state = self.state()
        labels = list(state["labels"])
        offset, factor = self._scale(255.0, torch.device("cpu"))
        return {
            "image_shape": tuple(state["image_shape"]),
            "num_classes": len(labels),
            "labels": labels,
            "pixel_range": (
                round(float((0 - offset).mul(factor).min()), 6),
                round(float((255 - offset).mul(factor).max()), 6),
            ),
        }

    @property
    def labels(self) -> list[str]:
        """The name of each class."""
        return list(self.state()["labels"])

    def split(self, name: str) -> Columns | ImageDataset:
        """Return ``images`` (N, C, H, W), prepared in batches, and ``targets`` (N,).

        Raises:
            DataError: the images are of another shape, or of other classes, than those that a model was trained on.
        """
        return self._split(name, self._prepare)

    def transformed(self, name: str, transform: Callable[[Tensor, torch.Generator], Tensor]) -> Columns | ImageDataset:
        """Return a split whose images are transformed before they get the noise of evaluation and are normalized.

        Args:
            transform: maps images (B, C, H, W) from 0 to 1 to new ones; it may use the generator.
        """

        def prepare(batch: Batch, generator: torch.Generator, training: bool) -> Batch:
            images = transform(_to_unit_range(batch["images"]), generator)
            if self.noise:
                images = noisy(images, self.noise, generator)
            return batch | {"images": self._normalized(images, 1.0)}

        return self._split(name, prepare)

    def pictures(self, name: str, rows: Tensor) -> Tensor:
        """Return the images `rows` (M,) of a split as bytes (M, C, H, W), neither normalized nor augmented."""
        images = self._sets[name].images
        found = images[rows] if isinstance(images, Tensor) else torch.stack([images[row] for row in rows.tolist()])
        return found.round().byte() if found.is_floating_point() else found

    def as_seen(self, images: Tensor) -> Tensor:
        """Return images (B, C, H, W) with their pixels in the order in which a model gets them."""
        return permute_pixels(images) if self._shuffle_pixels else images

    def as_input(self, images: Tensor) -> Tensor:
        """Return images (B, C, H, W) with pixels from 0 to 1, of any size, as a model gets them; gradients pass.

        Raises:
            InputError: their pixels are to be shuffled, in an order that only images of the data's own size have.
        """
        if self._shuffle_pixels:
            raise InputError("shuffle_pixels = true leaves no neighborhoods of pixels to draw; remove it from the data")
        return self._normalized(images, 1.0)

    def names(self, name: str) -> Sequence[str]:
        """Return the name of each image of a split."""
        images = self._sets[name]
        return images.names or [str(row) for row in range(len(images))]

    def copies(self, split: str, other: str) -> tuple[Tensor, Tensor]:
        """Return which images of `split` are in `other`: (N,) exactly, (N,) nearly (as if encoded again or resized)."""
        ours, theirs = self._sets[split], self._sets[other]
        keys = [images.keys if images.keys is not None else image_keys(images.images) for images in (ours, theirs)]
        exact = in_both(*keys)
        if isinstance(ours.images, Tensor) and isinstance(theirs.images, Tensor):
            return exact, exact | nearly_in(ours.images, theirs.images)
        return exact, exact

    def expand(self, item: str) -> list[str]:
        """Return the images in a folder and its subfolders; any other item is returned as it is.

        Raises:
            InputError: the folder contains no image, or a link to nowhere.
        """
        return expand_folder(item, SUFFIXES, "image")

    def encode(self, item: str) -> EncodedPicture:
        """Read an image of any size and colors and convert it to the format of the training images.

        Raises:
            InputError: the file is not a readable image.
        """
        return self._encoded(item, None)

    def encode_content(self, item: str, content: bytes) -> EncodedPicture:
        """Convert the content of an image file, whose name `item` is, as `encode` converts a file."""
        return self._encoded(item, content)

    def _encoded(self, item: str, content: bytes | None) -> EncodedPicture:
        state = self.state()
        shape, light_on_dark = tuple(state["image_shape"]), state["light_on_dark"]
        image, notes = read_picture(Path(item), shape, light_on_dark=light_on_dark, content=content)
        return EncodedPicture(self._normalized(image[None])[0], notes)

    def present(
        self,
        item: str,
        prediction: Tensor,
        probabilities: Tensor | None,
        top: int = 0,
        *,
        example: EncodedPicture,
    ) -> dict[str, Any]:
        """Return the class, its probability, on request the most probable classes, and the changes to the picture."""
        answer = class_answer(self.labels, prediction, probabilities, top)
        return answer | {"prepared": list(example.notes)}

    def state(self) -> dict[str, Any]:
        """Return labels, shape, and mean and standard deviation by channel (of bytes, 0 to 255)."""
        if not self._state:
            self._state = self._loaded.statistics(self._sets["train"]) | {"labels": list(self._loaded.labels)}
        return self._state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the state of an earlier process."""
        self._state, self._scales, self.is_restored = dict(state), {}, True

    def fingerprint(self) -> str:
        """Return a digest of all images and labels; for images not in memory, of the content of their files.

        Raises:
            DataError: a file cannot be read.
        """
        digest = hashlib.sha256(repr(list(self._loaded.labels)).encode())
        lazy = [images for images in self._sets.values() if not isinstance(images.images, Tensor)]
        digests = _digests([file for images in lazy for file in images.files or []])
        for name, images in sorted(self._sets.items()):
            digest.update(f"{name} {list(images.names or [])}".encode())
            digest.update(images.targets.numpy().tobytes())
            if isinstance(images.images, Tensor):
                digest.update(images.images.contiguous().numpy().data)
            else:
                digest.update("".join(digests[file] for file in images.files or []).encode())
        return digest.hexdigest()[:16]

    @property
    def _loaded(self) -> ImageSplits:
        if self._loaded_splits is None:
            self._loaded_splits = self._hold_out(self._read())
        return self._loaded_splits

    @property
    def _sets(self) -> Mapping[str, ImageSet]:
        return self._loaded.sets

    def _hold_out(self, loaded: ImageSplits) -> ImageSplits:
        """Hold out the dev split, make the other training images imbalanced, keep the first `limit`, mislabel some.

        A trained model needs no training images: it is evaluated on others.
        """
        sets = dict(loaded.sets)
        if "train" not in sets:
            if self.is_restored:
                return loaded
            raise DataError(
                f"{loaded.source}: no training image that can be read, only images of {' and '.join(sets)}; add some. "
                "To evaluate a trained model on these images: `dlpipe evaluate RUN --set data.path=FOLDER`"
            )
        train = sets["train"]
        if self._dev_size and "dev" not in sets:
            count = self._dev_size if isinstance(self._dev_size, int) else math.ceil(self._dev_size * len(train))
            if count >= len(train):
                raise InputError(
                    f"dev_size = {self._dev_size}: there are {len(train)} training images; leave some for training"
                )
            taken = stratified_sample(train.targets, count)
            rest = torch.ones(len(train), dtype=torch.bool).index_fill_(0, taken, False)
            if len(taken):  # none if no class has two images
                sets |= {"dev": train.subset(taken), "train": train.subset(rest.nonzero()[:, 0])}
        if self._imbalance > 1:
            sets["train"] = sets["train"].subset(long_tail(sets["train"].targets, self._imbalance, len(loaded.labels)))
        if self._limit is not None:
            sets["train"] = sets["train"].subset(torch.arange(min(self._limit, len(sets["train"]))))
        if self._label_noise:
            targets = with_wrong_labels(sets["train"].targets, self._label_noise, len(loaded.labels))
            sets["train"] = replace(sets["train"], targets=targets)
        return replace(loaded, sets=sets)

    def _split(self, name: str, prepare: Prepare) -> Columns | ImageDataset:
        images = self._as_trained(name)
        if isinstance(images.images, Tensor):
            return Columns({"images": images.images, "targets": images.targets}, prepare=prepare)
        return ImageDataset(images, prepare)

    def _as_trained(self, name: str) -> ImageSet:
        """Return the images of a split with the class numbers of training: other data may lack some of its classes."""
        if name not in self._sets:
            raise DataError(
                f"{self._loaded.source}: no images of {name}, which an evaluator compares with; add those of the "
                "training, or leave that evaluator out"
            )
        images, labels, state = self._sets[name], self._loaded.labels, self.state()
        found, expected = list(images.images[0].shape), list(state["image_shape"])
        if found != expected:
            raise DataError(
                f"the images of {name} have the shape {found} (channels, height, width); expected {expected}, as in "
                "training. Convert them; vision.image_folder does so with color and size"
            )
        numbers = {label: number for number, label in enumerate(state["labels"])}
        targets = torch.tensor([numbers.get(label, -1) for label in labels])[images.targets]
        if unknown := images.targets[targets < 0].unique().tolist():
            raise DataError(
                f"{counted(int((targets < 0).sum()), 'image')} of {name} in classes that training did not have: "
                f"{shown([labels[number] for number in unknown])}; expected those of {shown(state['labels'])}. Rename "
                "these classes, or leave the images out"
            )
        return replace(images, targets=targets)

    def _prepare(self, batch: Batch, generator: torch.Generator, training: bool) -> Batch:
        images = batch["images"]
        if training and self._augment:
            images = self._normalized(augmented(_to_unit_range(images), self._augment, generator), 1.0)
        elif not training and self.noise:
            images = self._normalized(noisy(_to_unit_range(images), self.noise, generator), 1.0)
        else:
            images = self._normalized(images)
        return batch | {"images": images}

    def _normalized(self, images: Tensor, white: float = 255.0) -> Tensor:
        """Convert images (B, C, H, W) with values from 0 to `white` to the input of a model."""
        if (images.device, white) not in self._scales:
            self._scales[images.device, white] = self._scale(white, images.device)
        offset, factor = self._scales[images.device, white]
        return self.as_seen(torch.sub(images, offset).mul_(factor))

    def _scale(self, white: float, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the offset to subtract from images from 0 to `white`, then the factor to multiply by: (C, 1, 1)."""
        channels = len(self.state()["mean"])
        if isinstance(self._normalize, str):
            offset, width = {
                "standardize": (self.state()["mean"], self.state()["std"]),
                "none": ([0.0] * channels, [1.0] * channels),
                "unit": ([0.0] * channels, [255.0] * channels),
                "symmetric": ([127.5] * channels, [127.5] * channels),
            }[self._normalize]
        else:
            offset, width = (_of_channels(name, self._normalize[name], channels) for name in ("mean", "std"))
        offsets, widths = (torch.tensor(part, device=device)[:, None, None] / 255 * white for part in (offset, width))
        return offsets, 1 / widths


def _of_channels(name: str, values: Sequence[float], channels: int) -> list[float]:
    """Return a statistic of pixels from 0 to 1 as one of bytes."""
    if len(values) != channels:
        raise InputError(f"normalize.{name} = {list(values)}: expected one number for each channel: {channels}")
    return [value * 255 for value in values]


def _digests(files: Sequence[Path]) -> dict[Path, str]:
    try:
        return file_digests(files)  # of all splits together: they share a manifest
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}") from error


def permute_pixels(images: Tensor) -> Tensor:
    """Permute the pixels of images (B, C, H, W), always in the same way; the channels of a pixel stay together."""
    order = torch.randperm(images.shape[-2] * images.shape[-1], generator=torch.Generator().manual_seed(0))
    return images.flatten(-2)[..., order.to(images.device)].view_as(images)


def _to_unit_range(images: Tensor) -> Tensor:
    """Scale images from 0 to 255 to the range from 0 to 1."""
    return images * (1 / 255)


def require_labeled_images(data: object, evaluator: str) -> LabeledImages:
    """Return `data` if it is labeled images, which `evaluator` needs.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(data, LabeledImages):
        raise InputError(f"{evaluator} needs labeled images, such as vision.digits; the data is {type(data).__name__}")
    return data
