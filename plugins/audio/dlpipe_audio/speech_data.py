"""Recordings of speech as frames of features.

Axes: N recordings of a split, T frames of a recording, F numbers per frame.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import ClassVar

import torch
from torch import Tensor

from dlpipe.data import Ragged, expand_folder, in_both
from dlpipe.errors import DataError, InputError
from dlpipe.progress import tracked
from dlpipe.protocols import Batch
from dlpipe_audio.audible import audible, denormalized
from dlpipe_audio.audio_files import MAX_SENTENCE_SECONDS, SUFFIXES
from dlpipe_audio.augment import Augment, augmented
from dlpipe_audio.feature_cache import cached
from dlpipe_audio.features import Features, FrameFeatures
from dlpipe_audio.recordings import read_content
from dlpipe_audio.segments import Segment, Source


class SpeechData:
    """Recordings of speech, without what is to be learned of them. Nothing is read before it is needed.

    Args:
        source: where the recordings come from.
        features: what is computed of them.
        augment: random changes to the features of training recordings.
        skip_bad: leave out what cannot be used, with a warning, instead of raising an error.

    Attributes:
        is_restored: whether it has the state of an earlier process: a trained model can be used on other recordings.
    """

    #: What a segment is, for messages.
    unit: ClassVar[str] = "recording"
    #: Most seconds of one.
    longest: ClassVar[float] = MAX_SENTENCE_SECONDS
    paddings: ClassVar[Mapping[str, float]] = {"frames": 0.0}

    def __init__(
        self, source: Source, features: Features, *, augment: Augment | None = None, skip_bad: bool = False
    ) -> None:
        self.source, self.features = source, FrameFeatures(features, source.rate_hz)
        self._augment, self._skip_bad = augment, skip_bad
        if augment and augment.get("feature_mask", 0) > (most := self.features.num_features):
            raise InputError(
                f"augment.feature_mask = {augment['feature_mask']}: expected at most {most}, as in a frame"
            )
        self.is_restored = False
        self._loaded: dict[str, tuple[list[Segment], Ragged]] = {}

    @property
    def splits(self) -> Sequence[str]:
        """Names of the splits."""
        return self.source.splits

    def segments(self, split: str) -> list[Segment]:
        """Return the recordings of a split, in the order of its rows."""
        return self._load(split)[0]

    def waveform(self, split: str, row: int) -> Tensor:
        """Return the samples (S,) of a recording."""
        return self.source.waveform(self.segments(split)[row])

    def audible(self, split: str, row: int, frames: Tensor) -> Tensor:
        """Return a sound (S,) whose features, normalized as those of a recording, are about `frames` (T, F)."""
        found = self._load(split)[1]
        start, length = int(found.lengths[:row].sum()), int(found.lengths[row])
        raw = self._frames(self.segments(split)[row])
        return audible(denormalized(frames, found.values[start : start + length], raw), self.features)

    def names(self, split: str) -> list[str]:
        """Return what a person calls each recording of a split."""
        return [segment.name for segment in self.segments(split)]

    def copies(self, split: str, other: str) -> tuple[Tensor, Tensor]:
        """Return which recordings of `split` have exactly the frames of one in `other`: (N,) bool.

        Near copies are not looked for, so both results are the same.
        """
        ours, theirs = (
            [part.numpy().tobytes() for part in frames.values[:-1].split(frames.lengths.tolist())]
            for frames in (self._load(split)[1], self._load(other)[1])
        )
        same = in_both(ours, theirs)
        return same, same

    def expand(self, item: str) -> list[str]:
        """Return the recordings in a folder and its subfolders; any other item is returned as it is.

        Raises:
            InputError: the folder contains no recording, or a link to nowhere.
        """
        return expand_folder(item, SUFFIXES, "audio file")

    def encode(self, item: str) -> dict[str, Tensor]:
        """Return the ``frames`` (T, F) of a recording.

        Raises:
            InputError: it cannot be read or used.
        """
        return self._encoded(item, self.source.item(item))

    def encode_content(self, item: str, content: bytes) -> dict[str, Tensor]:
        """Return the ``frames`` (T, F) of the content of an audio file, whose name `item` is.

        Raises:
            InputError: it cannot be used.
        """
        return self._encoded(item, read_content(item, content, self.features.rate_hz, self.longest))

    def _encoded(self, item: str, wave: Tensor) -> dict[str, Tensor]:
        try:
            frames = self.features.frames(wave, item)
        except DataError as error:
            raise InputError(str(error)) from error
        return {"frames": self.features.normalized([frames], [""])[0]}

    def fingerprint(self) -> str:
        """Return a digest of what is said, the recordings and the features."""
        digest = hashlib.sha256(json.dumps([self.features.chosen, self.source.digest()], sort_keys=True).encode())
        for split in self.splits:
            digest.update(repr([asdict(segment) for segment in self.segments(split)]).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:16]

    def _augmented(self, batch: Batch, generator: torch.Generator, training: bool) -> Batch:
        if not training or not self._augment or "frames" not in batch:
            return batch
        frames, lengths = augmented(batch["frames"], batch["lengths"], self._augment, generator)
        return batch | {"frames": frames, "lengths": lengths}

    def _load(self, split: str) -> tuple[list[Segment], Ragged]:
        if split not in self._loaded:
            segments = list(self.source.segments(split))
            if not segments:
                raise DataError(
                    f"the {split} split has no {self.unit}s; expected at least one. Correct which are held out"
                )
            ingredients = {
                "source": self.source.digest(),
                "features": self.features.chosen,
                "rate_hz": self.source.rate_hz,
                "segments": [asdict(segment) for segment in segments],
                "skip_bad": self._skip_bad,
            }
            found = cached(ingredients, lambda: self._computed(split, segments))
            kept = found["kept"].tolist()
            frames = Ragged(found["values"], found["lengths"])
            fit = [
                place for place, row in enumerate(kept) if self._fits(split, segments[row], int(frames.lengths[place]))
            ]
            if not fit:
                raise self._useless(split, segments)
            if len(fit) < len(kept):
                kept = [kept[place] for place in fit]
                parts = frames.values[:-1].split(frames.lengths.tolist())
                frames = Ragged(torch.cat([parts[place] for place in fit]), frames.lengths[fit])
            if len(kept) < len(segments):
                warnings.warn(
                    f"{len(segments) - len(kept)} of {len(segments)} {self.unit}s of the {split} split cannot be used "
                    "and are left out; skip_bad = false stops at the first one and says why",
                    stacklevel=2,
                )
            if count := int(found["clipped"]):
                warnings.warn(
                    f"{count} of {len(kept)} recordings of the {split} split are clipped: more than 1 % of their "
                    "samples are at the end of the range; record more quietly",
                    stacklevel=2,
                )
            self._loaded[split] = [segments[row] for row in kept], frames
            self._check_split(split)
        return self._loaded[split]

    def _useless(self, split: str, segments: Sequence[Segment]) -> DataError:
        return DataError(f"none of the {len(segments)} {self.unit}s of the {split} split can be used")

    def _fits(self, split: str, segment: Segment, num_frames: int) -> bool:
        """Return whether a recording can be used; whether it is refused otherwise depends on ``skip_bad``."""
        try:
            self._check(split, segment, num_frames)
        except DataError:
            if not self._skip_bad:
                raise
            return False
        return True

    def _check(self, split: str, segment: Segment, num_frames: int) -> None:
        """Raise a `DataError` if a recording with this number of frames cannot be used."""

    def _check_split(self, split: str) -> None:
        """Warn of what is odd in a split that has been loaded."""

    def _computed(self, split: str, segments: Sequence[Segment]) -> dict[str, Tensor]:
        frames, kept = [], []
        for row, segment in enumerate(tracked(segments, f"features of {split}")):
            try:
                frames.append(self._frames(segment))
                kept.append(row)
            except DataError:
                if not self._skip_bad:
                    raise
        if not frames:
            raise self._useless(split, segments)
        frames = self.features.normalized(frames, [segments[row].speaker for row in kept])
        lengths = torch.tensor([len(part) for part in frames])
        clipped = sum(segments[row].name in self.source.clipped for row in kept)
        return {
            "values": torch.cat(frames),
            "lengths": lengths,
            "kept": torch.tensor(kept),
            "clipped": torch.tensor(clipped),
        }

    def _frames(self, segment: Segment) -> Tensor:
        """Return the frames (T, F) of a recording, before they are normalized."""
        return self.features.frames(self.source.waveform(segment), segment.name)
