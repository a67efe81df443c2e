"""Spoken words as frames of features.

Axes: N words of a split, T frames of a word, F numbers per frame.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from dlpipe.data import IGNORE_INDEX, Columns, Prepare, Ragged, class_answer, expand_folder, in_both
from dlpipe.errors import DataError, InputError
from dlpipe.messages import counted, shown
from dlpipe.progress import tracked
from dlpipe.protocols import Batch
from dlpipe_audio.audible import audible, denormalized
from dlpipe_audio.audio_files import SUFFIXES
from dlpipe_audio.augment import Augment, augmented
from dlpipe_audio.feature_cache import cached
from dlpipe_audio.features import Features, FrameFeatures
from dlpipe_audio.partners import Partners, SoundAlikes, sounding_alike
from dlpipe_audio.recordings import read_content
from dlpipe_audio.segments import Segment, Source

#: What the column ``partners`` holds, if there is one.
Pairs = Literal["none", "same_word", "alike"]


class WordData:
    """Spoken words for word embeddings and keyword classifiers. Nothing is read before it is needed.

    Args:
        source: where the words come from.
        features: what is computed of them.
        pairs: "same_word" adds a column ``partners``: the same word as another speaker says it; "alike" a recording
            that sounds like it.
        augment: random changes to the features of training words; those of ``partners`` are not changed.
        skip_bad: leave out what cannot be used, with a warning, instead of raising an error.
        classified: whether words are classes, those of the training split.
        held_out: the words that are kept from training on purpose.

    Attributes:
        is_restored: whether it has the state of an earlier process: a trained model can be used on other recordings.
    """

    paddings: ClassVar[Mapping[str, float]] = {"frames": 0.0}

    def __init__(
        self,
        source: Source,
        features: Features,
        *,
        pairs: Pairs,
        augment: Augment | None = None,
        skip_bad: bool = False,
        classified: bool = True,
        held_out: Collection[str] = (),
    ) -> None:
        self.source, self.features = source, FrameFeatures(features, source.rate_hz)
        self._pairs, self._augment, self._skip_bad, self._classified = pairs, augment, skip_bad, classified
        if augment and augment.get("feature_mask", 0) > (most := self.features.num_features):
            raise InputError(
                f"augment.feature_mask = {augment['feature_mask']}: expected at most {most}, as in a frame"
            )
        self._held_out = held_out
        self.is_restored = False
        self._loaded: dict[str, tuple[list[Segment], Ragged]] = {}
        self._alike: dict[str, Tensor] = {}
        self._labels: list[str] | None = None

    @property
    def splits(self) -> Sequence[str]:
        """Names of the splits."""
        return self.source.splits

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return ``num_features`` and, if words are classes, ``labels`` and ``num_classes``."""
        facts: dict[str, Any] = {"num_features": self.features.num_features}
        if self._classified:
            facts |= {"labels": self._learned(), "num_classes": len(self._learned())}
        return facts

    def segments(self, split: str) -> list[Segment]:
        """Return the words of a split, in the order of its rows."""
        return self._load(split)[0]

    def waveform(self, split: str, row: int) -> Tensor:
        """Return the samples (S,) of a word."""
        return self.source.waveform(self.segments(split)[row])

    def audible(self, split: str, row: int, frames: Tensor) -> Tensor:
        """Return a sound (S,) whose features, normalized as those of a word, are about `frames` (T, F)."""
        found = self._load(split)[1]
        start, length = int(found.lengths[:row].sum()), int(found.lengths[row])
        raw = self._frames(self.segments(split)[row])
        return audible(denormalized(frames, found.values[start : start + length], raw), self.features)

    def names(self, split: str) -> list[str]:
        """Return what a person calls each word of a split."""
        return [segment.name for segment in self.segments(split)]

    def split(self, name: str) -> Columns:
        """Return ``frames`` (N, T, F), ``targets`` (N,) if words are classes, and ``partners`` if there are pairs."""
        segments, frames = self._load(name)
        columns: dict[str, Tensor | Ragged] = {"frames": frames}
        if self._classified:
            numbers = {label: number for number, label in enumerate(self._learned())}
            columns["targets"] = torch.tensor([numbers.get(segment.word, IGNORE_INDEX) for segment in segments])
        steps: list[Prepare] = [self._augmented] if self._augment else []
        if self._pairs == "same_word":
            partners = Partners(frames, segments)
            columns["partners"] = partners.blocks
            steps.append(partners)
        elif self._pairs == "alike":
            if name not in self._alike:
                self._alike[name] = sounding_alike(frames, segments)
            alikes = SoundAlikes(frames, self._alike[name])
            columns["partners"] = alikes.rows
            steps.append(alikes)

        def prepare(batch: Batch, generator: torch.Generator, training: bool) -> Batch:
            for step in steps:
                batch = step(batch, generator, training)
            return batch

        return Columns(columns, prepare=prepare if steps else None)

    def copies(self, split: str, other: str) -> tuple[Tensor, Tensor]:
        """Return which words of `split` have exactly the frames of one in `other`: (N,) bool.

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
        return self._encoded(item, read_content(item, content, self.features.rate_hz))

    def _encoded(self, item: str, wave: Tensor) -> dict[str, Tensor]:
        try:
            frames = self.features.frames(wave, item)
        except DataError as error:
            raise InputError(str(error)) from error
        return {"frames": self.features.normalized([frames], [""])[0]}

    def present(self, item: str, prediction: Tensor, probabilities: Tensor | None, top: int = 0) -> dict[str, Any]:
        """Return the word, its probability and, on request, the most probable words.

        Raises:
            InputError: words are no classes.
        """
        if not self._classified:
            raise InputError("this data has no classes, so its items cannot be classified")
        return class_answer(self._learned(), prediction, probabilities, top)

    def state(self) -> dict[str, Any]:
        """Return the words of the training split, if they are classes."""
        return {"labels": self._learned()} if self._classified else {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set what `state` returned."""
        self._labels = list(state["labels"]) if self._classified else None
        self.is_restored = True

    def fingerprint(self) -> str:
        """Return a digest of the words, the recordings and the features."""
        digest = hashlib.sha256(json.dumps([self.features.chosen, self.source.digest()], sort_keys=True).encode())
        for split in self.splits:
            digest.update(repr([asdict(segment) for segment in self.segments(split)]).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:16]

    def _augmented(self, batch: Batch, generator: torch.Generator, training: bool) -> Batch:
        if not training or not self._augment or "frames" not in batch:
            return batch
        frames, lengths = augmented(batch["frames"], batch["lengths"], self._augment, generator)
        return batch | {"frames": frames, "lengths": lengths}

    def _learned(self) -> list[str]:
        if self._labels is None:
            self._labels = sorted({segment.word for segment in self.segments("train")})
        return self._labels

    def _load(self, split: str) -> tuple[list[Segment], Ragged]:
        if split not in self._loaded:
            segments = list(self.source.segments(split))
            if not segments:
                raise DataError(f"the {split} split has no words; expected at least one. Correct which are held out")
            ingredients = {
                "source": self.source.digest(),
                "features": self.features.chosen,
                "rate_hz": self.source.rate_hz,
                "segments": [asdict(segment) for segment in segments],
                "skip_bad": self._skip_bad,
            }
            found = cached(ingredients, lambda: self._computed(split, segments))
            kept = found["kept"].tolist()
            if len(kept) < len(segments):
                warnings.warn(
                    f"{len(segments) - len(kept)} of {len(segments)} words of the {split} split cannot be used and are "
                    "left out; skip_bad = false stops at the first one and says why",
                    stacklevel=2,
                )
            if count := int(found["clipped"]):
                warnings.warn(
                    f"{count} of {len(kept)} recordings of the {split} split are clipped: more than 1 % of their "
                    "samples are at the end of the range; record more quietly",
                    stacklevel=2,
                )
            self._loaded[split] = [segments[row] for row in kept], Ragged(found["values"], found["lengths"])
            if self._classified:
                self._warn_of_unknown(split)
        return self._loaded[split]

    def _warn_of_unknown(self, split: str) -> None:
        """Warn of words that are no classes although nobody held them out: their recordings have no target."""
        known = {*self._learned(), *self._held_out}
        unknown = Counter(segment.word for segment in self.segments(split) if segment.word not in known)
        if unknown:
            warnings.warn(
                f"{counted(unknown.total(), 'recording')} of {len(self.segments(split))} of the {split} split have no "
                f"class, since training has none of their words: {shown(sorted(unknown))}; scores of classes leave "
                "them out. Correct the words, or add recordings of them to train",
                stacklevel=4,
            )

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
            raise DataError(f"none of the {len(segments)} words of the {split} split can be used")
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
        """Return the frames (T, F) of a word, before they are normalized."""
        return self.features.frames(self.source.waveform(segment), segment.name)
