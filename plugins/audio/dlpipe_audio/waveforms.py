"""Spoken words as waveforms, for models that generate speech.

Axes: N recordings of a split, B recordings of a batch, S samples of a recording.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlpipe.data import Columns, Ragged, in_both
from dlpipe.errors import DataError, InputError
from dlpipe.fields import OpenFraction, Positive, PositiveFloat
from dlpipe.messages import shown
from dlpipe.progress import tracked
from dlpipe.protocols import Batch
from dlpipe_audio.mu_law import NUM_LEVELS, to_levels
from dlpipe_audio.recorded_words import word_recordings
from dlpipe_audio.recordings import SHARE, HoldOut
from dlpipe_audio.segments import Segment, Utterances
from dlpipe_audio.tone_takes import ToneTakes


class WaveformData:
    """Waveforms of words, with who says what. Nothing is read before it is needed.

    Args:
        source: where the recordings come from; the words and the speakers of dev and test are those of train.
        crop_seconds: of a longer recording, training sees a random part of this length.
        skip_bad: leave out what cannot be read or used, with a warning, instead of raising an error.

    Attributes:
        is_restored: whether it has the state of an earlier process.
    """

    def __init__(self, source: Utterances, crop_seconds: float, *, skip_bad: bool = False) -> None:
        self.is_restored = False
        self.source, self._crop = source, round(crop_seconds * source.rate_hz)
        if not self._crop:
            raise InputError(
                f"crop_seconds = {crop_seconds:g}: less than one sample; expected at least {1 / source.rate_hz:.3g}"
            )
        self._skip_bad = skip_bad
        self._words: list[str] | None = None
        self._speakers: list[str] | None = None
        self._loaded: dict[str, tuple[list[Segment], Ragged]] = {}

    @property
    def splits(self) -> Sequence[str]:
        """Names of the splits."""
        return self.source.splits

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return ``num_levels``, ``words`` and ``speakers`` of the training split, and ``rate_hz``."""
        return {
            "num_levels": NUM_LEVELS,
            "words": self._names()[0],
            "speakers": self._names()[1],
            "rate_hz": self.source.rate_hz,
        }

    def split(self, name: str) -> Columns:
        """Return ``samples`` (N, S), ``words``, ``speakers`` and ``durations`` (N,), and ``starts``, which are 0.

        A batch for training has random parts of longer recordings, and where they start.
        """
        _, samples = self._load(name)
        segments, (words, speakers) = self.segments(name), self._names()
        columns: dict[str, Tensor | Ragged] = {
            "samples": samples,
            "words": _numbers("words", [segment.word for segment in segments], words, name),
            "speakers": _numbers("speakers", [segment.speaker for segment in segments], speakers, name),
            "starts": torch.zeros(len(samples), dtype=torch.int64),
            "durations": samples.lengths,
        }
        return Columns(columns, prepare=self._cropped)

    def segments(self, split: str) -> Sequence[Segment]:
        """Return the recordings of a split, in the order of its rows."""
        return self._load(split)[0]

    def waveform(self, split: str, row: int) -> Tensor:
        """Return the samples (S,) of a recording, -1 to 1."""
        return self.source.waveform(self.segments(split)[row])

    def names(self, split: str) -> list[str]:
        """Return what a person calls each recording of a split."""
        return [segment.name for segment in self.segments(split)]

    def copies(self, split: str, other: str) -> tuple[Tensor, Tensor]:
        """Return which recordings of `split` have exactly the levels of one in `other`: (N,) bool.

        Near copies are not looked for, so both results are the same.
        """
        ours, theirs = (
            [part.numpy().tobytes() for part in samples.values[:-1].split(samples.lengths.tolist())]
            for _, samples in (self._load(split), self._load(other))
        )
        same = in_both(ours, theirs)
        return same, same

    def state(self) -> dict[str, Any]:
        """Return the words and the speakers of the training split."""
        words, speakers = self._names()
        return {"words": words, "speakers": speakers}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set what `state` returned."""
        self._words, self._speakers = list(state["words"]), list(state["speakers"])
        self.is_restored = True

    def fingerprint(self) -> str:
        """Return a digest of what is said, and of the recordings."""
        digest = hashlib.sha256(self.source.digest().encode())
        for split in self.splits:
            digest.update(repr([asdict(segment) for segment in self.segments(split)]).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:16]

    def _names(self) -> tuple[list[str], list[str]]:
        """Return the words and the speakers of the training split."""
        if self._words is None or self._speakers is None:
            train = self.segments("train")
            self._words = sorted({segment.word for segment in train})
            self._speakers = sorted({segment.speaker for segment in train})
        return self._words, self._speakers

    def _load(self, split: str) -> tuple[list[Segment], Ragged]:
        """Return the recordings of a split that can be used, and their levels."""
        if split not in self._loaded:
            segments, waves = self.source.segments(split), []
            kept = []
            for segment in tracked(segments, f"waveforms of {split}"):
                try:
                    waves.append(to_levels(self.source.waveform(segment)).to(torch.uint8))
                    kept.append(segment)
                except DataError:
                    if not self._skip_bad:
                        raise
            if not kept:
                raise DataError(f"none of the {len(segments)} recordings of the {split} split can be used")
            if len(kept) < len(segments):
                warnings.warn(
                    f"{len(segments) - len(kept)} of {len(segments)} recordings of the {split} split cannot be used "
                    "and are left out; skip_bad = false stops at the first one and says why",
                    stacklevel=2,
                )
            clipped = sum(segment.name in self.source.clipped for segment in kept)
            if clipped:
                warnings.warn(
                    f"{clipped} of {len(kept)} recordings of the {split} split are clipped: more than 1 % of their "
                    "samples are at the end of the range, and a model learns to generate that; record more quietly",
                    stacklevel=2,
                )
            self._loaded[split] = kept, Ragged(torch.cat(waves), torch.tensor([len(wave) for wave in waves]))
        return self._loaded[split]

    def _cropped(self, batch: Batch, generator: torch.Generator, training: bool) -> Batch:
        samples, lengths = batch["samples"], batch["lengths"]
        if not training or samples.size(1) <= self._crop:
            return batch
        room = (lengths - self._crop).clamp(min=0).to(samples.device, non_blocking=True)
        shares = torch.rand(len(samples), device=samples.device, generator=generator, dtype=torch.float64)
        starts = (shares * (room + 1)).long()
        places = starts.unsqueeze(1) + torch.arange(self._crop, device=samples.device)
        return batch | {
            "samples": samples.gather(1, places),
            "lengths": lengths.clamp(max=self._crop),
            "starts": starts,
        }


def _numbers(kind: str, said: Sequence[str], known: Sequence[str], split: str) -> Tensor:
    """Return the numbers (N,) of the words or of the speakers of a split.

    Raises:
        DataError: training has no such word or speaker.
    """
    numbers = {name: number for number, name in enumerate(known)}
    if unknown := sorted(set(said) - set(numbers)):
        raise DataError(
            f"the {split} split has {kind} that training does not have: {shown(unknown)}; expected the same {kind}, "
            "since a model generates what it was trained on. Move recordings of them to the folder train, or remove "
            f"them from {split}"
        )
    return torch.tensor([numbers[name] for name in said])


def tone_waveforms(
    *,
    num_words: Positive = 10,
    num_speakers: Positive = 3,
    takes: Positive = 30,
    crop_seconds: PositiveFloat = 1.0,
) -> WaveformData:
    """Made-up syllables by made-up speakers, from a synthesizer, as waveforms of 8 kHz.

    Of ten takes, one is in dev and one in test.

    Args:
        num_words: syllables.
        num_speakers: who say each of them.
        takes: how often each speaker says each of them, at least ten.
        crop_seconds: of a longer recording, training sees a random part of this length.
    """
    return WaveformData(ToneTakes(num_words, num_speakers, takes), crop_seconds)


def waveforms(
    path: Path,
    *,
    test_size: OpenFraction = SHARE,
    dev_size: OpenFraction = SHARE,
    rate_hz: Positive = 16_000,
    crop_seconds: PositiveFloat = 1.0,
    skip_bad: bool = False,
) -> WaveformData:
    """Your own recordings of words as waveforms.

    Args:
        path: a folder, or an archive of one (.tar, .tar.gz, .zip), as `audio.folder` takes it; FSDD is one.
        test_size: share of the recordings of each word by each speaker that is for test if the files do not say which
            are.
        dev_size: share of the rest that is for dev if the files do not say which are.
        rate_hz: samples per second that recordings are converted to.
        crop_seconds: of a longer recording, training sees a random part of this length.
        skip_bad: leave out what cannot be read or used, with a warning that counts it.
    """
    hold_out = HoldOut((), (), test_size, dev_size, by_speaker=True)
    # A trained model may be evaluated on files with other splits.
    source = word_recordings(path, hold_out, rate_hz, lambda: not data.is_restored)
    data = WaveformData(source, crop_seconds, skip_bad=skip_bad)
    return data
