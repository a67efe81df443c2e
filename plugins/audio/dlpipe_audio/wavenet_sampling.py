"""Samples drawn from a WaveNet, one after the other.

Source: Paine et al. 2016, "Fast Wavenet Generation Algorithm", https://arxiv.org/abs/1611.09482, section 2.1: each
layer keeps what it has seen as long as its dilation, so that a sample takes one pass through the layers.
Axes: B recordings, S samples of the longest, K levels of a sample, C channels, D numbers of a condition.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dlpipe.compute import derived_seed
from dlpipe.progress import tracked
from dlpipe_audio.wavenet import WaveNet


class Stepper:
    """Goes through a network sample by sample.

    Args:
        model: the network.
        batch_size: B.
    """

    def __init__(self, model: WaveNet, batch_size: int) -> None:
        self._model = model
        weight, self._step = model.embed.weight, 0
        self._seen = [weight.new_zeros(dilation, batch_size, weight.size(1)) for dilation in model.dilations]

    def __call__(self, last: Tensor | None, told: Tensor | None) -> Tensor:
        """Return the logits (B, K) of the next sample, given the last one (B,) and its conditions (B, D)."""
        hidden = self._seen[0].new_zeros(self._seen[0].shape[1:]) if last is None else self._model.embed(last)
        skips = hidden.new_zeros(())
        for layer, seen in zip(self._model.layers, self._seen, strict=True):
            place = self._step % len(seen)
            before = seen[place].clone()
            seen[place] = hidden
            hidden, skip = layer(before, hidden, told)
            skips = skips + skip
        self._step += 1
        logits: Tensor = self._model.output(skips)
        return logits


def draw_recordings(
    model: WaveNet,
    words: Tensor,
    speakers: Tensor,
    durations: Tensor,
    *,
    seed: int,
    temperature: float = 1.0,
) -> Tensor:
    """Draw the levels of recordings (B, S), int64; those beyond the duration of a recording are undefined.

    A recording depends on its row and the seed, not on the others.

    Args:
        model: the network; on the device of the other arguments.
        words: (B,) which word is said.
        speakers: (B,) who says it.
        durations: (B,) samples of each recording.
        seed: of the random numbers.
        temperature: by which the logits are divided; below 1, what is probable becomes more so.
    """
    device, longest = words.device, int(durations.max())
    random = torch.stack([_random(seed, row, longest) for row in range(len(words))], 1).to(device)  # (S, B)
    told = model.conditions(words, speakers) if model.conditions else None
    levels = torch.zeros(len(words), longest, dtype=torch.int64, device=device)
    step = Stepper(model, len(words))
    last: Tensor | None = None
    with torch.inference_mode():
        for place in tracked(range(longest), "drawing samples", longest):
            at = None
            if model.conditions and told is not None:
                at = model.conditions.at(told, (place / durations).clamp(max=1).unsqueeze(1))[:, 0]
            logits = step(last, at)
            # The largest one is 0, which no temperature makes infinite.
            differences = logits.double() - logits.max(1, keepdim=True).values
            below = (differences / temperature).softmax(1).cumsum(1)
            last = (below < random[place].unsqueeze(1)).sum(1).clamp(max=logits.size(1) - 1)
            levels[:, place] = last
    return levels


def _random(seed: int, row: int, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(derived_seed("recording", seed, row))
    return torch.rand(count, dtype=torch.float64, generator=generator)
