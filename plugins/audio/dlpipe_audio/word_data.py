"""Spoken words as frames of features.

Axes: N words of a split, T frames of a word, F numbers per frame.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from dlpipe.data import IGNORE_INDEX, Columns, Prepare, Ragged, class_answer
from dlpipe.errors import InputError
from dlpipe.messages import counted, shown
from dlpipe.protocols import Batch
from dlpipe_audio.audio_files import MAX_SECONDS
from dlpipe_audio.augment import Augment
from dlpipe_audio.features import Features
from dlpipe_audio.partners import Partners, SoundAlikes, sounding_alike
from dlpipe_audio.segments import Source
from dlpipe_audio.speech_data import SpeechData

#: What the column ``partners`` holds, if there is one.
Pairs = Literal["none", "same_word", "alike"]


class WordData(SpeechData):
    """Spoken words for word embeddings and keyword classifiers.

    Args:
        source: where the words come from.
        features: what is computed of them.
        pairs: "same_word" adds a column ``partners``: the same word as another speaker says it; "alike" a recording
            that sounds like it.
        augment: random changes to the features of training words; those of ``partners`` are not changed.
        skip_bad: leave out what cannot be used, with a warning, instead of raising an error.
        classified: whether words are classes, those of the training split.
        held_out: the words that are kept from training on purpose.
    """

    unit: ClassVar[str] = "word"
    longest: ClassVar[float] = MAX_SECONDS

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
        super().__init__(source, features, augment=augment, skip_bad=skip_bad)
        self._pairs, self._classified, self._held_out = pairs, classified, held_out
        self._alike: dict[str, Tensor] = {}
        self._labels: list[str] | None = None

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return ``num_features`` and, if words are classes, ``labels`` and ``num_classes``."""
        facts: dict[str, Any] = {"num_features": self.features.num_features}
        if self._classified:
            facts |= {"labels": self._learned(), "num_classes": len(self._learned())}
        return facts

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

    def _check_split(self, split: str) -> None:
        if self._classified:
            self._warn_of_unknown(split)

    def _learned(self) -> list[str]:
        if self._labels is None:
            self._labels = sorted({segment.word for segment in self.segments("train")})
        return self._labels

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
