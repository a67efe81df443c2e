"""Random augmentation of batches of features, on their own device.

Each word of a batch is augmented independently. Axes: B words, T frames of the longest, F numbers per frame.
"""

from __future__ import annotations

from typing import Annotated, TypedDict

import torch
from pydantic import Field, Strict
from torch import Tensor

from dlpipe.fields import Positive, PositiveFloat


class Augment(TypedDict, total=False):
    """How the features of training words are augmented, in this order.

    Keys:
        speed: change the tempo by a random factor between 1 - speed and 1 + speed; the pitch stays.
        noise: standard deviation of the noise added to every number; that of normalized features is 1.
        time_mask: set at most this many consecutive frames to 0, never more than half of a word.
        feature_mask: set at most this many neighboring numbers to 0 in all frames of a word (bands of log_mel).
    """

    speed: Annotated[float, Strict(), Field(gt=0, lt=1)]
    noise: PositiveFloat
    time_mask: Positive
    feature_mask: Positive


def augmented(frames: Tensor, lengths: Tensor, how: Augment, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return augmented frames (B, T', F), padded with 0, and their lengths (B,) on the CPU.

    The masks are those of Park et al. 2019, "SpecAugment", https://arxiv.org/abs/1904.08779, section 2, one of each.
    """
    if "speed" in how:
        factor = 1 + how["speed"] * (2 * _uniform(frames, generator, 1)[:, 0].cpu() - 1)
        frames, lengths = _stretched(frames, lengths, (lengths / factor).round().long().clamp_min(1))
    if "noise" in how:
        noise = torch.randn(frames.shape, generator=generator, device=frames.device)
        frames = frames + how["noise"] * noise
    own = lengths.to(frames.device, non_blocking=True)
    if "time_mask" in how:
        masked = _spans(_uniform(frames, generator, 2), own, (own // 2).clamp_max(how["time_mask"]), frames.size(1))
        frames = frames.masked_fill(masked.unsqueeze(2), 0.0)
    if "feature_mask" in how:
        features = torch.full_like(own, frames.size(2))
        longest = features.clamp_max(how["feature_mask"])
        masked = _spans(_uniform(frames, generator, 2), features, longest, frames.size(2))
        frames = frames.masked_fill(masked.unsqueeze(1), 0.0)
    beyond = torch.arange(frames.size(1), device=frames.device) >= own.unsqueeze(1)
    return frames.masked_fill(beyond.unsqueeze(2), 0.0), lengths


def _stretched(frames: Tensor, lengths: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Return frames of the `wanted` lengths (B,), interpolated linearly between the first and the last of each word."""
    steps = torch.arange(int(wanted.max())).unsqueeze(0)
    places = (steps * ((lengths - 1) / (wanted - 1).clamp_min(1)).unsqueeze(1)).minimum(lengths.unsqueeze(1) - 1.0)
    places = places.to(frames.device, non_blocking=True)
    before = places.long()
    after = (before + 1).clamp_max(frames.size(1) - 1)
    rows = torch.arange(len(frames), device=frames.device).unsqueeze(1)
    weight = (places - before).unsqueeze(2).to(frames.dtype)
    return torch.lerp(frames[rows, before], frames[rows, after], weight), wanted


def _spans(drawn: Tensor, counts: Tensor, longest: Tensor, size: int) -> Tensor:
    """Return (B, size) bool, a random span of each row: at most `longest` (B,) of the first `counts` (B,) places.

    Args:
        drawn: (B, 2) uniform random numbers, for the length and the beginning of the span.
    """
    length = (drawn[:, 0] * (longest + 1)).long()
    start = (drawn[:, 1] * (counts - length + 1)).long()
    places = torch.arange(size, device=drawn.device)
    return (places >= start.unsqueeze(1)) & (places < (start + length).unsqueeze(1))


def _uniform(frames: Tensor, generator: torch.Generator, count: int) -> Tensor:
    """Return (B, count) uniform random numbers from 0 to 1."""
    return torch.rand(len(frames), count, generator=generator, device=frames.device)
