"""Convolutional keyword classifier: which word of a list a recording says.

Source: Sainath & Parada 2015, "Convolutional Neural Networks for Small-footprint Keyword Spotting".
Departs from it: convolutions over time only, the numbers of a frame are channels; words of any length, by pooling over
time; layer normalization, which padding cannot influence.
Axes: B words, T frames of the longest, F numbers per frame, C channels, K words of the list.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlpipe.fields import OpenFraction, Positive


class KeywordCNN(nn.Module):
    """Score K words with convolutions over time.

    Args:
        num_features: F.
        num_classes: K.
        channels: C of each layer.
        kernel: frames that a filter sees.
        dropout: probability of zeroing, on the outputs of each layer.
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        *,
        channels: Sequence[Positive] = (64, 128, 128),
        kernel: Positive = 5,
        dropout: OpenFraction = 0.3,
    ) -> None:
        super().__init__()
        widths = (num_features, *channels)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, kernel, padding="same") for before, after in zip(widths, channels, strict=False)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in channels)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(2 * widths[-1], num_classes)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Map frames (B, T, F), lengths (B,) on the CPU to logits (B, K)."""
        steps = torch.arange(frames.size(1), device=frames.device)
        real = (steps < lengths.to(frames.device, non_blocking=True).unsqueeze(1)).unsqueeze(2)  # (B, T, 1)
        hidden = frames * real
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            found = convolution(hidden.transpose(1, 2)).transpose(1, 2)  # (B, T, C)
            # The next filter must see zeros behind the end of a word, whatever it is padded to.
            hidden = self.dropout(norm(found).relu()) * real
        means = hidden.sum(1) / real.sum(1)
        highest = hidden.masked_fill(~real, -torch.inf).amax(1)
        logits: Tensor = self.classify(torch.cat([means, highest], dim=1))
        return logits
