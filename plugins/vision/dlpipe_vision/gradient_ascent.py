"""Gradient ascent on images, at one scale after another.

Source: Mordvintsev et al. 2015, "Inceptionism: Going Deeper into Neural Networks",
https://research.google/blog/inceptionism-going-deeper-into-neural-networks/, and the notebook published with it,
https://github.com/google/deepdream (octaves, jitter, normalized gradients).
Departs from it: pixels are clipped to their range after each step, and the total variation can be kept low.
Axes: B images, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dlpipe.errors import InputError

#: Images are moved by at most this share of their smallest octave: moved further, nothing stays where it began.
MOST_JITTER = 0.25


@dataclass(frozen=True)
class GradientAscent:
    """Change images so that an objective grows, from small to large.

    Each octave starts from the start image, reduced to its size, and what the octaves before have added, enlarged. At
    each step, pixels change by `step_size` times the gradient over its mean absolute value.

    Args:
        size: H and W of the result.
        octaves: number of scales.
        octave_scale: how many times larger each scale is than the one before.
        steps: at each scale.
        step_size: mean change of a pixel (0 to 1) per step.
        jitter: images are moved by up to this many pixels before each step, and back after it; what leaves them on
            one side comes back on the other.
        total_variation: weight of the gradient of the total variation; the normalized gradient of the objective has the
            weight 1.

    Raises:
        InputError: the smallest octave has no pixels, or the jitter is too large for it.
    """

    size: int
    octaves: int
    octave_scale: float
    steps: int
    step_size: float
    jitter: int
    total_variation: float

    def __post_init__(self) -> None:
        smallest = self.sizes[0]
        if not smallest:
            raise InputError(
                f"octaves = {self.octaves}: the smallest one would have no pixels; reduce octaves or enlarge size"
            )
        if len(set(self.sizes)) < self.octaves:
            raise InputError(
                f"octaves = {self.octaves}, octave_scale = {self.octave_scale:g}: two octaves would have the same "
                f"size, {', '.join(map(str, self.sizes))}; reduce octaves or enlarge octave_scale"
            )
        if self.jitter > smallest * MOST_JITTER:
            raise InputError(
                f"jitter = {self.jitter}: the smallest octave has {smallest}×{smallest} pixels; expected at most a "
                f"quarter, {int(smallest * MOST_JITTER)}. Reduce jitter or octaves, or enlarge size"
            )

    @property
    def sizes(self) -> Sequence[int]:
        """H and W of each octave, the smallest first."""
        return [round(self.size / self.octave_scale**number) for number in reversed(range(self.octaves))]

    def run(self, start: Tensor, objective: Callable[[Tensor], Tensor], generator: torch.Generator) -> list[Tensor]:
        """Return what each octave makes of images with pixels from 0 to 1; the last one is the result.

        Args:
            start: (B, C, H, W) of the size of the result.
            objective: maps images (B, C, h, w) to what is to grow (B,).
            generator: of the jitter, on the CPU.
        """
        results: list[Tensor] = []
        added = torch.zeros_like(start)
        for size in self.sizes:
            reduced = resized(start, size)
            images = (reduced + resized(added, size)).clamp(0, 1)
            for _ in range(self.steps):
                across, down = torch.randint(-self.jitter, self.jitter + 1, (2,), generator=generator).tolist()
                moved = self._stepped(images.roll((down, across), (2, 3)), objective)
                images = moved.roll((-down, -across), (2, 3))
            added = images - reduced
            results.append(images)
        return results

    def _stepped(self, images: Tensor, objective: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.enable_grad():
            images = images.detach().requires_grad_()
            # An image does not depend on the others, so one sum gives the gradients of all.
            (gradient,) = torch.autograd.grad(objective(images).sum(), images)
        images = images.detach()
        change = gradient / gradient.abs().mean((1, 2, 3), keepdim=True).clamp_min(torch.finfo(gradient.dtype).tiny)
        if self.total_variation:
            change = change - self.total_variation * total_variation_gradient(images)
        return (images + self.step_size * change).clamp(0, 1)


def resized(images: Tensor, size: int) -> Tensor:
    """Return images (B, C, H, W) as (B, C, size, size), smoothed before they are reduced."""
    if images.shape[2:] == (size, size):
        return images
    reduces = size < images.size(2)
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=reduces)


def total_variation_gradient(images: Tensor) -> Tensor:
    """Return the gradient of the sum of the absolute differences of neighboring pixels, right and below: -4 to 4."""
    right, below = images.diff(dim=3).sign(), images.diff(dim=2).sign()
    return F.pad(right, (1, 0)) - F.pad(right, (0, 1)) + F.pad(below, (0, 0, 1, 0)) - F.pad(below, (0, 0, 0, 1))
