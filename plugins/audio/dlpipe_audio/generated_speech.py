"""What a model says when it generates words: whether a recognizer understands them, and how they look and sound.

Axes: N recordings, S samples of one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

import soundfile
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.errors import InputError
from dlpipe.evaluation import Examples
from dlpipe.fields import NonNegative, Positive, PositiveFloat
from dlpipe.figures import drawing, shortened
from dlpipe.report_items import ReportItem
from dlpipe_audio.mu_law import to_wave
from dlpipe_audio.waveforms import WaveformData
from dlpipe_audio.wavenet import WaveNet
from dlpipe_audio.wavenet_sampling import draw_recordings
from dlpipe_audio.word_recognizer import STEPS, WordRecognizer

WHO = "audio.generated_speech"
#: Recordings that are drawn and written.
SHOWN = 6
#: Samples of a recording where an evaluation is only tried out.
TRIED = 256


class Said(NamedTuple):
    """A recording of the split, and what the model generates for its word, its speaker and its duration; (S,) each."""

    word: str
    speaker: str
    recorded: Tensor
    generated: Tensor


class GeneratedSpeech:
    """Generate the words of a split, and let a recognizer say which they are.

    For each recording, the model generates one of the same word by the same speaker, of the same duration. Recognizers
    of words and of speakers are trained on the recordings of the training split. ``evaluate`` returns ``recognized``,
    the share of generated recordings whose word is recognized; ``recognized_recorded``, that of the recordings of the
    split, which is as good as it can be; and, if the model is told which of several speakers it is,
    ``speaker_recognized`` and ``speaker_recognized_recorded``. ``write`` draws spectrograms of both
    (``spectrograms.png``), and makes both audible: the folder ``sounds`` gets ``1_seven_recorded.wav`` and
    ``1_seven_generated.wav``. All recordings are generated together, in as many steps as the longest one has samples.

    Args:
        count: recordings to generate, evenly spaced in the split; all of them if it has fewer.
        temperature: by which the logits of each sample are divided.
        seed: of the random numbers.
        recognizer_steps: training steps of each recognizer.
    """

    primary = "recognized"
    goal: Literal["max"] = "max"

    def __init__(
        self,
        *,
        count: Positive = 100,
        temperature: PositiveFloat = 1.0,
        seed: NonNegative = 0,
        recognizer_steps: Positive = STEPS,
    ) -> None:
        self._count, self._temperature, self._seed, self._steps = count, temperature, seed, recognizer_steps
        self._recognizers: dict[str, WordRecognizer] = {}
        self._said: list[Said] = []

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Generate words and recognize them.

        Raises:
            InputError: the data has no waveforms, or the model is not told which word to generate.
        """
        data = examples.data
        if not isinstance(data, WaveformData):
            raise InputError(f"{WHO} judges waveforms; {type(data).__name__} has none: use audio.waveforms")
        if not isinstance(model, WaveNet):
            raise InputError(f"{WHO} needs a model that generates speech, audio.wavenet; got {type(model).__name__}")
        if model.conditions is None or model.conditions.word is None:
            raise InputError(f'{WHO} needs a model that is told which word to generate: add "word" to its conditions')
        if len(data.facts["words"]) == 1:
            raise InputError(f"{WHO} needs several words to tell apart; training has one: {data.facts['words'][0]}")
        rows = _evenly(len(data.segments(examples.split)), examples.at_most(self._count))
        segments = data.segments(examples.split)
        batch = data.split(examples.split).batch(rows)
        words, speakers, durations = batch["words"], batch["speakers"], batch["durations"]
        if examples.limit:  # only to try it out
            durations = durations.clamp(max=TRIED)
        device = examples.compute.device
        model.eval()
        levels = draw_recordings(
            model,
            words.to(device),
            speakers.to(device),
            durations.to(device),
            seed=self._seed,
            temperature=self._temperature,
        ).cpu()
        self._rate = data.source.rate_hz
        self._said = [
            Said(
                segments[row].word,
                segments[row].speaker,
                data.waveform(examples.split, row),
                to_wave(levels[place, : int(durations[place])]),
            )
            for place, row in enumerate(rows.tolist())
        ]
        asked = {"": ("words", words)}
        if model.conditions.speaker is not None and len(data.facts["speakers"]) > 1:
            asked["speaker_"] = ("speakers", speakers)
        metrics = {}
        for prefix, (kind, targets) in asked.items():
            recognizer = self._recognizer(data, kind, examples)
            generated = recognizer([said.generated for said in self._said]) == targets
            recorded = recognizer([said.recorded for said in self._said]) == targets
            metrics[f"{prefix}recognized"] = float(generated.double().mean())
            metrics[f"{prefix}recognized_recorded"] = float(recorded.double().mean())
        return metrics

    def write(self, folder: Path) -> list[ReportItem]:
        """Draw some of the words above what the model generates, and write both as sounds."""
        shown = [self._said[place] for place in _evenly(len(self._said), SHOWN).tolist()]
        with drawing(folder / "spectrograms.png", 1.6 * len(shown) + 0.6, 3.6) as figure:
            axes = figure.subplots(2, len(shown), squeeze=False, sharey=True)
            for column, said in enumerate(shown):
                for row, wave in enumerate((said.recorded, said.generated)):
                    axes[row, column].imshow(
                        spectrogram(wave).numpy(),
                        origin="lower",
                        aspect="auto",
                        vmin=-80,
                        vmax=0,
                        extent=(0, len(wave) / self._rate, 0, self._rate / 2000),
                    )
                    axes[row, column].tick_params(labelbottom=row == 1, labelsize=6)
                axes[0, column].set_title(f"{shortened(said.word)}\nspeaker {shortened(said.speaker)}", fontsize=8)
            for row, label in enumerate(("recorded", "generated")):
                axes[row, 0].set_ylabel(f"{label}\nkHz", fontsize=8)
            figure.supxlabel("seconds", fontsize=8)
        (folder / "sounds").mkdir(exist_ok=True)
        for number, said in enumerate(shown, start=1):
            word = re.sub(r"\W", "_", said.word)[:20]
            for kind, wave in (("recorded", said.recorded), ("generated", said.generated)):
                soundfile.write(folder / "sounds" / f"{number}_{word}_{kind}.wav", wave.numpy(), self._rate)
        return [
            ReportItem(
                "spectrograms.png",
                "Words, recorded and generated",
                "Above a recording of the split, below what the model generates for its word, speaker and duration. "
                "Time goes to the right and frequency up; colors go from -80 dB (dark) to 0 dB (yellow), the loudest "
                "point of each.",
            ),
            ReportItem("sounds", "Listen", "Each recording, and what the model generates."),
        ]

    def _recognizer(self, data: WaveformData, kind: str, examples: Examples) -> WordRecognizer:
        """Return one that is trained on the recordings of the training split, the same for all splits."""
        if kind not in self._recognizers:
            self._recognizers[kind] = WordRecognizer(
                [data.waveform("train", row) for row in range(len(data.segments("train")))],
                data.split("train").columns[kind],  # type: ignore[arg-type]
                len(data.facts[kind]),
                rate_hz=data.source.rate_hz,
                device=examples.compute.device,
                steps=examples.limit or self._steps,
            )
        return self._recognizers[kind]


def spectrogram(wave: Tensor) -> Tensor:
    """Return the power of a waveform (S,) in dB, at most 0, as (frequencies, times)."""
    size = 256
    padded = F.pad(wave, (0, max(0, size - len(wave))))
    power = torch.stft(padded, size, size // 4, window=torch.hann_window(size), return_complex=True).abs().square()
    return 10 * (power / power.max().clamp_min(1e-12)).clamp_min(1e-12).log10()


def _evenly(available: int, count: int) -> Tensor:
    """Return at most `count` of `available` numbers, evenly spaced."""
    return torch.linspace(0, available - 1, min(count, available)).round().long()
