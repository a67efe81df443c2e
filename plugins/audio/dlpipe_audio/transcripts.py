"""Recordings of speech with what is said in them: data for speech recognition.

Axes: N recordings of a split, T frames of a recording, F numbers per frame, L labels of a transcript.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from dlpipe.data import IGNORE_INDEX, Columns, Ragged
from dlpipe.errors import DataError, InputError
from dlpipe.messages import counted, shown
from dlpipe_audio.augment import Augment
from dlpipe_audio.features import Features
from dlpipe_audio.segments import Segment, Source
from dlpipe_audio.speech_data import SpeechData

#: What a label of a transcript is.
Units = Literal["letters", "words", "phones"]


class TranscriptData(SpeechData):
    """Recordings with transcripts: the word of each `Segment` is all that is said in it.

    Args:
        source: where the recordings come from.
        features: what is computed of them.
        units: what a model is to write; the spaces between words are letters, too.
        augment: random changes to the features of training recordings.
        skip_bad: leave out what cannot be used, with a warning, instead of raising an error.
    """

    def __init__(
        self,
        source: Source,
        features: Features,
        *,
        units: Units,
        augment: Augment | None = None,
        skip_bad: bool = False,
    ) -> None:
        super().__init__(source, features, augment=augment, skip_bad=skip_bad)
        self.units = units
        self._labels: list[str] | None = None

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return ``num_features`` and ``alphabet``, the labels of the training split."""
        return {"num_features": self.features.num_features, "alphabet": self._learned()}

    def split(self, name: str) -> Columns:
        """Return ``frames`` (N, T, F) and ``targets`` (N, L), the numbers of the labels."""
        segments, frames = self._load(name)
        numbers = {label: number for number, label in enumerate(self._learned())}
        labels = [self.labels_of(segment) for segment in segments]
        values = torch.tensor([numbers.get(label, IGNORE_INDEX) for each in labels for label in each])
        targets = Ragged(values, torch.tensor([len(each) for each in labels]), padding=IGNORE_INDEX)
        return Columns({"frames": frames, "targets": targets}, prepare=self._augmented if self._augment else None)

    def labels_of(self, segment: Segment) -> list[str]:
        """Return what is said in a recording, as labels."""
        if self.units == "phones":
            return list(segment.phones)
        return list(segment.word) if self.units == "letters" else segment.word.split()

    def named(self, numbers: Tensor) -> list[str]:
        """Return the names of labels (L,), without those that are `IGNORE_INDEX`."""
        names = self._learned()
        return [names[number] for number in numbers.tolist() if number != IGNORE_INDEX]

    def written(self, labels: Sequence[str]) -> str:
        """Return labels as a text."""
        return "".join(labels) if self.units == "letters" else " ".join(labels)

    def present(self, item: str, prediction: Tensor) -> dict[str, Any]:
        """Return the text that a recording says."""
        return {"text": self.written(self.named(prediction))}

    def state(self) -> dict[str, Any]:
        """Return the labels of the training split, and what they are."""
        return {"alphabet": self._learned(), "units": self.units}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set what `state` returned.

        Raises:
            InputError: the labels are of another kind.
        """
        if state["units"] != self.units:
            raise InputError(
                f'units = "{self.units}": the model was trained to write {state["units"]}; leave units as they were'
            )
        self._labels = list(state["alphabet"])
        self.is_restored = True

    def fingerprint(self) -> str:
        """Return a digest of what is said, as which labels, the recordings and the features."""
        return hashlib.sha256(f"{self.units} {super().fingerprint()}".encode()).hexdigest()[:16]

    def _check(self, split: str, segment: Segment, num_frames: int) -> None:
        """Refuse a recording that has fewer frames than a path through its labels."""
        labels = self.labels_of(segment)
        needed = len(labels) + sum(label == last for label, last in zip(labels[1:], labels, strict=False))
        fastest = 1 + self._augment.get("speed", 0.0) if self._augment and split == "train" else 1.0
        left = math.floor(num_frames / fastest)
        if left < needed:
            faster = f", of which augment.speed leaves {left}" if left < num_frames else ""
            raise DataError(
                f"{segment.name}: {counted(num_frames, 'frame')}{faster}, for {counted(len(labels), 'label')}; "
                f"expected at least {needed}, one for each label and one between two that are the same. Correct the "
                "transcript, or set a smaller features.hop_ms"
            )

    def _check_split(self, split: str) -> None:
        """Warn of labels that training does not have, which no model can write."""
        known = set(self._learned())
        unknown = Counter(
            label for segment in self.segments(split) for label in self.labels_of(segment) if label not in known
        )
        if unknown:
            warnings.warn(
                f"training has no {shown(sorted(unknown))}, which the {split} split has "
                f"{counted(unknown.total(), 'time')}: no model writes what it was never shown, so each counts as an "
                "error. Correct the transcripts, or add recordings of them to train",
                stacklevel=4,
            )

    def _learned(self) -> list[str]:
        if self._labels is None:
            self._labels = sorted({label for segment in self.segments("train") for label in self.labels_of(segment)})
        return self._labels
