"""WaveNet: a waveform is written sample by sample, each given all those before it that the network reaches.

Source: van den Oord et al. 2016, "WaveNet: A Generative Model for Raw Audio", https://arxiv.org/abs/1609.03499:
sections 2.1 (dilated causal convolutions), 2.2 (µ-law, softmax), 2.3 (gated units), 2.4 (residual and skip
connections) and 2.5 (conditions).
Departs from it: far fewer layers and channels. In the place of linguistic features computed from a text, conditions are
the word, the speaker and how much of the recording has passed; a small network combines them.
Axes: B recordings, S samples of the longest, K levels of a sample, C residual channels, D numbers of a condition,
P points at which conditions are computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field, Strict
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.fields import OnlyWith, Positive
from dlpipe_audio.real_samples import is_real

#: What the network is told about a recording.
Condition = Literal["word", "speaker", "position"]
#: Points of a recording at which the conditions are computed; between them, they are interpolated.
POINTS = 16


class WaveNet(nn.Module):
    """Score the K levels of each sample, given the samples before it and what is said by whom.

    Args:
        num_levels: K.
        words: the words of the recordings; a number in `forward` is a place in this list.
        speakers: the speakers of the recordings, in the same way.
        conditions: what the network is told: the "word", the "speaker" and the "position", relative to the duration of
            the recording; with none of them, it generates any speech.
        stacks: how often the dilations 1, 2, 4 … are repeated.
        layers: of a stack; each doubles the dilation of the one before.
        channels: C, numbers that a layer passes on to the next one, and units of its gate.
        skip_channels: numbers that each layer adds to the sum from which the levels are scored.
        condition_dim: D.

    Attributes:
        dilations: of the layers.
        receptive_field: how many samples before a sample the network reaches.
    """

    def __init__(
        self,
        num_levels: int,
        words: Sequence[str],
        speakers: Sequence[str],
        *,
        conditions: Sequence[Condition] = ("word", "speaker", "position"),
        stacks: Positive = 1,
        layers: Annotated[int, Strict(), Field(ge=1, le=16)] = 9,
        channels: Positive = 32,
        skip_channels: Positive = 64,
        condition_dim: Annotated[Positive, OnlyWith("conditions")] = 32,
    ) -> None:
        super().__init__()
        if len(set(conditions)) < len(conditions):
            raise ValueError(f"conditions = {list(conditions)}: expected each of them once")
        self.embed = nn.Embedding(num_levels, channels)
        # Levels that are near each other begin with nearly the same numbers.
        with torch.no_grad():
            loudness = torch.linspace(-1.7, 1.7, num_levels).unsqueeze(1)  # of a variance of about 1
            self.embed.weight.mul_(0.1).add_(loudness * torch.randn(channels))
        self.conditions = Conditions(conditions, len(words), len(speakers), condition_dim) if conditions else None
        self.dilations = [2**number for number in range(layers)] * stacks
        self.layers = nn.ModuleList(
            Layer(channels, skip_channels, condition_dim if conditions else 0) for _ in self.dilations
        )
        self.output = nn.Sequential(
            nn.ReLU(), nn.Linear(skip_channels, skip_channels), nn.ReLU(), nn.Linear(skip_channels, num_levels)
        )
        self.receptive_field = 1 + sum(self.dilations)

    def forward(
        self,
        samples: Tensor,
        lengths: Tensor,
        words: Tensor,
        speakers: Tensor,
        starts: Tensor,
        durations: Tensor,
    ) -> Tensor:
        """Return the negative log-likelihood in nats of each sample of recordings, or of parts of them: (B, S).

        That of padding is 0.

        Args:
            samples: (B, S) levels.
            lengths: (B,) on the CPU, how many of them belong to the recording.
            words: (B,) which word is said.
            speakers: (B,) who says it.
            starts: (B,) samples of the recording before the first one.
            durations: (B,) samples of the whole recording.
        """
        levels = samples.long()
        steps = torch.arange(levels.size(1), device=levels.device)
        told = None
        if self.conditions:
            positions = (starts.unsqueeze(1) + steps) / durations.unsqueeze(1)
            told = self.conditions.at(self.conditions(words, speakers), positions)
        # A sample is predicted from those before it; before the first one there is nothing.
        hidden = F.pad(self.embed(levels), (0, 0, 1, 0))[:, : levels.size(1)]  # (B, S, C)
        skips = hidden.new_zeros(())
        for dilation, layer in zip(self.dilations, self.layers, strict=True):
            before = F.pad(hidden, (0, 0, dilation, 0))[:, : levels.size(1)]
            hidden, skip = layer(before, hidden, told)
            skips = skips + skip
        log_probabilities: Tensor = self.output(skips).log_softmax(2).gather(2, levels.unsqueeze(2)).squeeze(2)
        return -log_probabilities * is_real(samples, lengths)

    def loss(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        """Return the negative log-likelihood in nats, mean over all samples."""
        return outputs.sum() / lengths.sum()

    def count_loss_terms(self, lengths: Tensor) -> Tensor:
        """Return the number of samples."""
        return lengths.sum()


class Conditions(nn.Module):
    """What the network is told about recordings, as D numbers at each of P points.

    Args:
        told: which of them.
        num_words: number of different words.
        num_speakers: number of different speakers.
        dim: D.
    """

    def __init__(self, told: Sequence[Condition], num_words: int, num_speakers: int, dim: int) -> None:
        super().__init__()
        self.points = POINTS if "position" in told else 1
        self.word = nn.Embedding(num_words, dim) if "word" in told else None
        self.speaker = nn.Embedding(num_speakers, dim) if "speaker" in told else None
        self.point = nn.Embedding(POINTS, dim) if "position" in told else None
        self.combine = nn.Sequential(nn.ReLU(), nn.Linear(dim, dim))

    def forward(self, words: Tensor, speakers: Tensor) -> Tensor:
        """Map words (B,) and speakers (B,) to conditions (B, P, D)."""
        found = torch.zeros(1, 1, 1, device=words.device)
        if self.word:
            found = found + self.word(words).unsqueeze(1)
        if self.speaker:
            found = found + self.speaker(speakers).unsqueeze(1)
        if self.point:
            found = found + self.point.weight
        combined: Tensor = self.combine(found)
        return combined.expand(words.size(0), -1, -1)

    def at(self, conditions: Tensor, positions: Tensor) -> Tensor:
        """Interpolate conditions (B, P, D) at positions (B, S) from 0 to 1: (B, S, D)."""
        if self.points == 1:
            return conditions.expand(-1, positions.size(1), -1)
        points = torch.arange(self.points, device=positions.device)
        shares = (1 - (positions.unsqueeze(2) * (self.points - 1) - points).abs()).relu()  # (B, S, P)
        return shares.to(conditions) @ conditions


class Layer(nn.Module):
    """A gated unit that sees two samples at a distance.

    Args:
        channels: C.
        skip_channels: of what it adds to the output.
        condition_dim: D, 0 without conditions.
    """

    def __init__(self, channels: int, skip_channels: int, condition_dim: int) -> None:
        super().__init__()
        self.gates = nn.Linear(2 * channels + condition_dim, 2 * channels)
        self.outputs = nn.Linear(channels, channels + skip_channels)
        self.sizes = (channels, skip_channels)

    def forward(self, before: Tensor, inputs: Tensor, conditions: Tensor | None) -> tuple[Tensor, Tensor]:
        """Map inputs (…, C), those at a distance `before` them and conditions (…, D) to outputs (…, C) and skips."""
        seen = [before, inputs] if conditions is None else [before, inputs, conditions]
        filtered, gate = self.gates(torch.cat(seen, -1)).chunk(2, -1)
        residual, skip = self.outputs(filtered.tanh() * gate.sigmoid()).split(self.sizes, -1)
        return inputs + residual, skip
