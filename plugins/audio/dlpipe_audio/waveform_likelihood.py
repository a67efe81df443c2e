"""How well a model predicts waveforms, sample by sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe.evaluation import Examples, ExampleScores
from dlpipe.figures import drawing, shortened
from dlpipe.report_items import ReportItem
from dlpipe_audio.waveforms import WaveformData

WHO = "audio.waveform_likelihood"
#: Samples of this duration are one point of the figure.
WINDOW_S = 0.01


@dataclass(frozen=True)
class Measured:
    """What was measured of a recording: its row, its bits, its samples, and the mean bits of each `WINDOW_S`."""

    row: int
    bits: float
    samples: int
    windows: Tensor


class WaveformLikelihood:
    """Measure how well a model predicts each sample, given those before it.

    ``evaluate`` returns ``bits``, the negative log-likelihood per sample in bits, a mean over all samples; a sample has
    8 bits. ``write`` draws it over the time of a recording (``bits.png``). The baseline, linear prediction, is told
    neither word nor speaker.
    """

    primary = "bits"
    goal: Literal["min"] = "min"

    def __init__(self) -> None:
        self._measured: list[Measured] = []

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Measure all recordings of the split.

        Raises:
            InputError: the data has no waveforms.
        """
        if not isinstance(examples.data, WaveformData):
            raise InputError(f"{WHO} judges waveforms; {type(examples.data).__name__} has none: use audio.waveforms")
        self._measured, self._data, self._split = [], examples.data, examples.split
        window = max(1, round(WINDOW_S * self._data.source.rate_hz))
        for batch, nats in examples.outputs(model):
            rows, lengths = batch["rows"].tolist(), batch["lengths"].tolist()
            for row, length, each in zip(rows, lengths, nats.double().cpu() / math.log(2), strict=True):
                whole = each[: length // window * window].unflatten(0, (-1, window))
                self._measured.append(Measured(row, float(each[:length].sum()), length, whole.mean(1)))
        bits = math.fsum(each.bits for each in self._measured)
        return {"bits": bits / sum(each.samples for each in self._measured)}

    def example_scores(self) -> ExampleScores:
        """Return the bits per sample of each recording of the last `evaluate`."""
        rows, scores, weights = zip(
            *((each.row, each.bits / each.samples, each.samples) for each in self._measured), strict=True
        )
        return ExampleScores(rows, scores, weights=weights)

    def write(self, folder: Path) -> list[ReportItem]:
        """Draw the recording in the middle of those sorted by their bits."""
        order = sorted(self._measured, key=lambda each: each.bits / each.samples)
        shown = order[len(order) // 2]
        segment, rate = self._data.segments(self._split)[shown.row], self._data.source.rate_hz
        wave = self._data.waveform(self._split, shown.row)
        with drawing(folder / "bits.png", 6.5, 3.4) as figure:
            above, below = figure.subplots(2, 1, sharex=True)
            above.plot(torch.arange(len(wave)).numpy() / rate, wave.numpy(), linewidth=0.5)
            above.set_ylabel("amplitude")
            mean = shown.bits / shown.samples
            who = f"{shortened(segment.word)}, speaker {shortened(segment.speaker)}"
            above.set_title(f"{who}: {mean:.2f} bits per sample")
            below.plot((torch.arange(len(shown.windows)).numpy() + 0.5) * WINDOW_S, shown.windows.numpy())
            below.set_ylabel("bits per sample")
            below.set_ylim(bottom=0)
            below.set_xlabel("seconds")
        return [
            ReportItem(
                "bits.png",
                "What is hard to predict",
                "A recording, and the negative log-likelihood of its samples, given those before them: means over "
                "10 ms. At 8 bits, the model knows nothing of a sample.",
            )
        ]
