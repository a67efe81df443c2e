"""How well a model predicts waveforms, sample by sample."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe.evaluation import Examples, ExampleScores
from dlpipe.figures import drawing
from dlpipe.report_items import ReportItem
from dlpipe_audio.waveforms import WaveformData

WHO = "audio.waveform_likelihood"


class WaveformLikelihood:
    """Measure the information that is missing to know each sample, given those before it.

    ``evaluate`` returns ``bits``, the negative log-likelihood per sample in bits, a mean over all samples; a sample has
    8 bits. ``write`` draws it over the time of a recording (``bits.png``).
    """

    primary = "bits"
    goal: Literal["min"] = "min"

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._bits: list[Tensor] = []

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Measure all recordings of the split.

        Raises:
            InputError: the data has no waveforms.
        """
        if not isinstance(examples.data, WaveformData):
            raise InputError(f"{WHO} judges waveforms; {type(examples.data).__name__} has none: use audio.waveforms")
        self._rows, self._bits, self._data, self._split = [], [], examples.data, examples.split
        for batch, nats in examples.outputs(model):
            self._rows += batch["rows"].tolist()
            for length, row in zip(batch["lengths"].tolist(), nats.double().cpu() / math.log(2), strict=True):
                self._bits.append(row[:length])
        return {"bits": float(torch.cat(self._bits).mean())}

    def example_scores(self) -> ExampleScores:
        """Return the bits per sample of each recording of the last `evaluate`."""
        return ExampleScores(
            self._rows, [float(bits.mean()) for bits in self._bits], weights=[len(bits) for bits in self._bits]
        )

    def write(self, folder: Path) -> list[ReportItem]:
        """Draw the recording in the middle of those sorted by their bits."""
        order = sorted(range(len(self._rows)), key=lambda place: float(self._bits[place].mean()))
        place = order[len(order) // 2]
        row, bits = self._rows[place], self._bits[place]
        segment = self._data.segments(self._split)[row]
        wave = self._data.waveform(self._split, row)
        rate = self._data.source.rate_hz
        window = max(1, rate // 100)
        smooth = bits[: len(bits) // window * window].unflatten(0, (-1, window)).mean(1)
        with drawing(folder / "bits.png", 6.5, 3.4) as figure:
            above, below = figure.subplots(2, 1, sharex=True)
            above.plot(torch.arange(len(wave)) / rate, wave, linewidth=0.5)
            above.set_ylabel("amplitude")
            above.set_title(f"{segment.word}, speaker {segment.speaker}: {float(bits.mean()):.2f} bits per sample")
            below.plot((torch.arange(len(smooth)) + 0.5) * window / rate, smooth)
            below.set_ylabel("bits per sample")
            below.set_ylim(0, 8)
            below.set_xlabel("seconds")
        return [
            ReportItem(
                "bits.png",
                "What is hard to predict",
                "A recording, and the bits that are missing to know each sample, given those before it: means over "
                "10 ms. Noise is hard to predict, and vowels, which repeat themselves, are easy.",
            )
        ]
