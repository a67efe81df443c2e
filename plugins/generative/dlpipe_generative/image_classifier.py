"""A small image classifier for the evaluation of generated images.

Its features replace those of a network trained on ImageNet, which published metrics use: nothing is downloaded, and the
features fit the data. Metrics that use it are comparable on the same data only. Axes: B images, C channels, H rows, W
columns, A attributes of an image, V values of all attributes in total, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.compute import Compute
from dlpipe.data import Columns
from dlpipe.progress import tracked
from dlpipe.training import Budget, Supervised
from dlpipe_generative.resampling import downsample, halved_sizes
from dlpipe_generative.split_tensors import batched, isolated_rng

#: Enough for 99 % accuracy on MNIST: about three and a half epochs of it.
STEPS, BATCH_SIZE, LEARNING_RATE = 1500, 128, 3e-3
FEATURES = 128
WIDTHS = (32, 64)


class ImageClassifier(nn.Module):
    """Two convolutions, a linear layer of features, and a linear classifier for each attribute.

    Args:
        image_shape: C, H, W; odd sides are padded with zeros by one.
        sizes: number of values of each of the A attributes.
    """

    def __init__(self, image_shape: Sequence[int], sizes: Sequence[int]) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.sizes = list(sizes)
        padding = (0, width % 2, 0, height % 2)
        height, width = height + height % 2, width + width % 2
        depth = min(len(halved_sizes((channels, height, width), 1)) - 1, len(WIDTHS))
        layers: list[nn.Module] = [nn.ZeroPad2d(padding)] if any(padding) else []
        for inputs, outputs in zip([channels, *WIDTHS], WIDTHS[:depth], strict=False):
            layers += [downsample(inputs, outputs, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        flat = WIDTHS[depth - 1] * prod(side // 2**depth for side in (height, width))
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, FEATURES), nn.ReLU())
        self.scores = nn.Sequential(nn.Dropout(0.2), nn.Linear(FEATURES, sum(sizes)))

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, V), concatenated over attributes."""
        return self.scores(self.features(images))  # type: ignore[no-any-return]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy for the values `targets` (B, A), a mean over images and attributes."""
        logits = outputs.split(self.sizes, dim=1)
        losses = [F.cross_entropy(some, targets[:, number]) for number, some in enumerate(logits)]
        return torch.stack(losses).mean()

    def classify(self, images: Tensor) -> Tensor:
        """Return the most likely value of each attribute (N, A) of images (N, C, H, W)."""
        with torch.inference_mode():
            logits = torch.cat([self(some) for (some,) in batched(images)])
        return torch.stack([some.argmax(1) for some in logits.split(self.sizes, dim=1)], dim=1)

    def extract_features(self, images: Tensor) -> Tensor:
        """Return the features (N, F) of images (N, C, H, W)."""
        with torch.inference_mode():
            return torch.cat([self.features(some) for (some,) in batched(images)])


class _LabeledImages:
    """Images and their attribute values, as data for the trainer."""

    splits = ("train",)

    def __init__(self, images: Tensor, targets: Tensor) -> None:
        self._columns = Columns({"images": images, "targets": targets})

    def split(self, name: str) -> Columns:
        return self._columns


def train_classifier(
    images: Tensor, targets: Tensor, sizes: Sequence[int], seed: int = 0, steps: int = STEPS
) -> ImageClassifier:
    """Return a classifier trained on images (N, C, H, W) and their attribute values `targets` (N, A).

    The result is the same for the same arguments. The global random state of the calling training is left unchanged.
    """
    device = images.device
    with isolated_rng(seed, device), torch.inference_mode(False), torch.enable_grad():
        classifier = ImageClassifier(images.shape[1:], sizes).to(device)
        trainer = Supervised(
            classifier,
            _LabeledImages(images, targets),  # type: ignore[arg-type]
            Compute(device),
            seed,
            batch_size=min(BATCH_SIZE, len(images)),
            optimizer={"use": "adamw", "lr": LEARNING_RATE, "weight_decay": 0.05},
            schedule={"use": "cosine_annealing"},
            budget=Budget(steps=steps),
        )
        for _ in tracked(islice(trainer.steps(), steps), "training a classifier to judge by: step", steps):
            pass
    return classifier.eval()
