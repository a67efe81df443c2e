"""A small classifier that learns to read real images, by which drawn ones are judged.

Its features stand where published numbers take those of a net trained on ImageNet: nothing is downloaded, and what it
sees is what matters in this very data. Numbers made with it can be compared with each other on the same data only.
Axes: B images, C channels, H rows, W columns, A attributes of an image, V values of all of them together, F features.
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
from dlpipe.training import Budget, Supervised
from dlpipe_generative.strided import half, halvings
from dlpipe_generative.things import isolated, parts

#: Enough for 99 % on MNIST: three and a half epochs of it.
STEPS, BATCH_SIZE, LEARNING_RATE = 1500, 128, 3e-3
FEATURES = 128
WIDTHS = (32, 64)


class Reader(nn.Module):
    """Two convolutions, a layer of features, and a linear one for each attribute.

    Args:
        image_shape: C, H, W.
        sizes: how many values each of the A attributes has.
    """

    def __init__(self, image_shape: Sequence[int], sizes: Sequence[int]) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.sizes = list(sizes)
        depth = min(len(halvings((channels, height, width), 1)) - 1, len(WIDTHS))
        layers: list[nn.Module] = []
        for inputs, outputs in zip([channels, *WIDTHS], WIDTHS[:depth], strict=False):
            layers += [half(inputs, outputs, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        flat = WIDTHS[depth - 1] * prod(side // 2**depth for side in (height, width))
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, FEATURES), nn.ReLU())
        self.scores = nn.Sequential(nn.Dropout(0.2), nn.Linear(FEATURES, sum(sizes)))

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, V), those of the attributes side by side."""
        return self.scores(self.features(images))  # type: ignore[no-any-return]

    def loss(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """Return the cross-entropy of `wanted` (B, A), a mean over images and attributes."""
        logits = outputs.split(self.sizes, dim=1)
        losses = [F.cross_entropy(some, wanted[:, number]) for number, some in enumerate(logits)]
        return torch.stack(losses).mean()

    def read(self, images: Tensor) -> Tensor:
        """Return the most likely value of each attribute (N, A) of images (N, C, H, W)."""
        with torch.inference_mode():
            logits = torch.cat([self(some) for (some,) in parts(images)])
        return torch.stack([some.argmax(1) for some in logits.split(self.sizes, dim=1)], dim=1)

    def see(self, images: Tensor) -> Tensor:
        """Return the features (N, F) of images (N, C, H, W)."""
        with torch.inference_mode():
            return torch.cat([self.features(some) for (some,) in parts(images)])


class _Seen:
    """Images and what is to be read of them, as data to learn from."""

    def __init__(self, images: Tensor, wanted: Tensor) -> None:
        self._columns = Columns({"images": images, "wanted": wanted})

    def split(self, name: str) -> Columns:
        return self._columns


def taught(images: Tensor, wanted: Tensor, sizes: Sequence[int], seed: int = 0, steps: int = STEPS) -> Reader:
    """Return a reader that learned from images (N, C, H, W) and their values `wanted` (N, A).

    The same each time for the same arguments; the randomness of the training that it is called from is left as it was.
    """
    device = images.device
    with isolated(seed, device), torch.inference_mode(False), torch.enable_grad():
        reader = Reader(images.shape[1:], sizes).to(device)
        trainer = Supervised(
            reader,
            _Seen(images, wanted),  # type: ignore[arg-type]
            Compute(device),
            seed,
            batch_size=min(BATCH_SIZE, len(images)),
            optimizer={"use": "adamw", "lr": LEARNING_RATE, "weight_decay": 0.05},
            schedule={"use": "cosine_annealing"},
            budget=Budget(steps=steps),
        )
        for _ in islice(trainer.steps(), steps):
            pass
    return reader.eval()
