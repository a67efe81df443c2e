"""What a vector keeps of a word: its frames, and those that are reconstructed from the vector, as pictures and sounds.

Axes: T frames, F numbers per frame.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple, cast

import soundfile
import torch
from torch import Tensor, nn

from dlpipe.data import own_method
from dlpipe.errors import InputError
from dlpipe.evaluation import Examples
from dlpipe.fields import Positive
from dlpipe.figures import drawing, shortened
from dlpipe.report_items import ReportItem
from dlpipe_audio.segments import Segment
from dlpipe_audio.word_data import WordData
from dlpipe_audio.word_vectors import word_vectors

WHO = "audio.reconstruction"


class Shown(NamedTuple):
    """A word with its frames and those reconstructed, (T, F) each."""

    segment: Segment
    frames: Tensor
    reconstructed: Tensor


class Reconstruction:
    """Decode the vector of each word to as many frames as the word has.

    ``evaluate`` returns ``mse``, the squared error per number, a mean over all frames, and ``mean_frame_mse``, that of
    the mean frame of the split, which says nothing about the word. ``write`` draws words and their reconstructions
    (``reconstructions.png``), and makes them audible: the folder ``sounds`` gets ``1_fear_original.wav``, the
    recording; ``1_fear_features.wav``, what is left of it in its features; and ``1_fear_reconstructed.wav``, the
    features that are reconstructed from its vector.

    Args:
        count: words that are drawn and made audible, evenly spaced.
    """

    primary = "mse"
    goal: Literal["min"] = "min"

    def __init__(self, *, count: Positive = 6) -> None:
        self._count = count
        self._shown: list[Shown] = []

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Reconstruct every word of the split."""
        decode = own_method(model, "decode")
        if decode is None:
            raise InputError(f"{WHO}: {type(model).__name__} reconstructs nothing; use audio.seq2seq_autoencoder")
        words = word_vectors(model, examples, WHO)
        mean = torch.cat(words.frames).mean(0)
        chosen = set(torch.linspace(0, len(words.frames) - 1, min(self._count, len(words.frames))).long().tolist())
        self._shown = []
        errors, baseline, numbers = 0.0, 0.0, 0
        for row, (segment, frames) in enumerate(zip(words.segments, words.frames, strict=True)):
            vector = words.vectors[row : row + 1].to(examples.compute.device)
            with torch.inference_mode():
                found = decode(vector, len(frames))[0].float().cpu()
            errors += float((found - frames).square().sum())
            baseline += float((mean - frames).square().sum())
            numbers += frames.numel()
            if row in chosen:
                self._shown.append(Shown(segment, frames, found))
        self._data, self._split = cast(WordData, examples.data), examples.split
        return {"mse": errors / numbers, "mean_frame_mse": baseline / numbers}

    def write(self, folder: Path) -> list[ReportItem]:
        """Draw some words above their reconstructions, and write their sounds."""
        with drawing(folder / "reconstructions.png", 1.6 * len(self._shown) + 0.4, 3.4) as figure:
            axes = figure.subplots(2, len(self._shown), squeeze=False, sharey=True)
            for column, (segment, *both) in enumerate(self._shown):
                for row, values in enumerate(both):
                    axes[row, column].imshow(values.T.numpy(), origin="lower", aspect="auto", vmin=-2.5, vmax=2.5)
                    axes[row, column].tick_params(labelbottom=row == 1, labelsize=6)
                title = f"{shortened(segment.word)}\nspeaker {shortened(segment.speaker)}"
                axes[0, column].set_title(title, fontsize=8)
            for row, label in enumerate(("recorded", "from its vector")):
                axes[row, 0].set_ylabel(f"{label}\nfeature", fontsize=8)
            figure.supxlabel("frame", fontsize=8)
        self._write_sounds(folder / "sounds")
        return [
            ReportItem(
                "reconstructions.png",
                "Words and their reconstructions",
                "Above the features of a word over time, below what the decoder makes of its vector. Features are "
                "normalized; colors go from -2.5 (dark) to 2.5 (yellow) standard deviations.",
            ),
            ReportItem("sounds", "Listen", "Each word, and its reconstruction made audible."),
        ]

    def _write_sounds(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        segments = self._data.segments(self._split)
        for number, (segment, frames, found) in enumerate(self._shown, start=1):
            row = segments.index(segment)
            sounds = {
                "original": self._data.waveform(self._split, row),
                "features": self._data.audible(self._split, row, frames),
                "reconstructed": self._data.audible(self._split, row, found),
            }
            word = re.sub(r"\W", "_", segment.word)[:20]
            for kind, sound in sounds.items():
                soundfile.write(folder / f"{number}_{word}_{kind}.wav", sound.numpy(), self._data.source.rate_hz)
