"""Synthetic comic faces with known attributes, so that the attributes of generated faces can be counted.

Axes: N faces, C channels (one, grey), H rows, W columns, A attributes.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from random import Random
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dlpipe.compute import derived_seed
from dlpipe.data import Columns, class_answer
from dlpipe.errors import InputError
from dlpipe.fields import Positive
from dlpipe.protocols import Batch
from dlpipe_generative import face_drawing
from dlpipe_generative.face_drawing import FACTORS, FaceVariation, draw_face, factors_of
from dlpipe_generative.pixels import SYMMETRIC, UNIT, PixelRange

Label = Literal["hair", "hair_tone", "eyes", "mouth", "glasses", "screentone"]
RANGES: Mapping[str, PixelRange] = {"unit": UNIT, "symmetric": SYMMETRIC}


class MangaFaces:
    """Greyscale faces with independent factors: hair, hair_tone, eyes, mouth, glasses and screentone.

    Each face depends only on the seed and its number, so any part of the data can be reproduced.

    Args:
        size: H and W.
        count: number of training faces; dev and test have a tenth of that each.
        label: the factor that is the class of a face (``targets``), for conditional models and classifiers.
        normalize: "symmetric" (-1 to 1) or "unit" (0 to 1).
        seed: of the faces.
    """

    splits = ("train", "dev", "test")
    text_items = True

    def __init__(
        self,
        *,
        size: Positive = 64,
        count: Positive = 4000,
        label: Label = "hair",
        normalize: Literal["symmetric", "unit"] = "symmetric",
        seed: int = 0,
    ) -> None:
        self._size, self._count, self._label, self._seed = size, count, label, seed
        self._range = RANGES[normalize]
        self._splits: dict[str, Columns] = {}

    @property
    def facts(self) -> dict[str, Any]:
        """``image_shape``, ``pixel_range``, ``num_classes``, ``labels``, and the frequencies of ``attributes``."""
        labels = list(FACTORS[self._label])
        return {
            "image_shape": (1, self._size, self._size),
            "pixel_range": self._range,
            "num_classes": len(labels),
            "labels": labels,
            "attributes": {name: dict(shares) for name, shares in FACTORS.items()},
        }

    def split(self, name: str) -> Columns:
        """Return ``images`` (N, 1, H, W), ``targets`` (N,), and ``factors`` (N, A), indices of values."""
        if name not in self._splits:
            count = self._count if name == "train" else max(1, self._count // 10)
            faces = [self._face(f"{name} {number}") for number in range(count)]
            factors = torch.tensor([_numbers(factors) for factors, _ in faces])
            images = torch.stack([image for _, image in faces])
            targets = factors[:, list(FACTORS).index(self._label)]
            columns = {"images": images, "targets": targets, "factors": factors}
            self._splits[name] = Columns(columns, prepare=self._prepare)
        return self._splits[name]

    def encode(self, item: str) -> dict[str, Tensor]:
        """Draw a face that is in no split; the same `item`, such as ``"17"``, always gives the same face."""
        return {"images": self._normalized(self._face(f"predict {item}")[1])}

    def present(self, item: str, prediction: Tensor, probabilities: Tensor | None, top: int = 0) -> dict[str, Any]:
        """Return the class of a face, its probability, on request the most probable classes, and its true factors.

        Raises:
            InputError: the prediction is not a class.
        """
        if prediction.is_floating_point() or prediction.dim():
            raise InputError(
                f"{item}: expected a predicted class, got a tensor of shape {tuple(prediction.shape)} and type "
                f"{prediction.dtype}; the model is not a classifier; leave the items out to generate faces"
            )
        answer = class_answer(list(FACTORS[self._label]), prediction, probabilities, top)
        return answer | {"true_factors": self._face(f"predict {item}")[0]}

    def state(self) -> dict[str, Any]:
        """Return an empty state: nothing is fitted to the faces."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Do nothing: there is no state."""

    def fingerprint(self) -> str:
        """Return a digest of everything that determines the faces, including the code that draws them."""
        what = (self._size, self._count, self._label, self._seed, inspect.getsource(face_drawing))
        return hashlib.sha256(repr(what).encode()).hexdigest()[:16]

    def _face(self, name: str) -> tuple[dict[str, str], Tensor]:
        random = Random(derived_seed(self._seed, "face", name))
        factors = factors_of(random)
        return factors, _bytes(draw_face(factors, FaceVariation.sample(random), self._size))

    def _prepare(self, batch: Batch, generator: torch.Generator, training: bool) -> Batch:
        return batch | {"images": self._normalized(batch["images"])}

    def _normalized(self, images: Tensor) -> Tensor:
        low, high = self._range
        return images.float().mul_((high - low) / 255).add_(low)


def _numbers(factors: Mapping[str, str]) -> list[int]:
    return [list(FACTORS[name]).index(value) for name, value in factors.items()]


def _bytes(picture: Image.Image) -> Tensor:
    """Return a greyscale picture as bytes (1, H, W)."""
    return torch.from_numpy(np.array(picture))[None]
