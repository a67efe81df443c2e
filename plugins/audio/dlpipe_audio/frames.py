"""Single frames of spoken words with those around them, as an acoustic model classifies them.

Each frame is a picture of 1 × W × F, so that any classifier of images can be trained on it.
Axes: R words of a split, N frames of them all, T frames of one, W frames of a window, F numbers per frame.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from dlpipe.data import IGNORE_INDEX, Columns, Ragged, class_answer
from dlpipe.errors import InputError
from dlpipe.fields import NonNegative, NotWith, OpenFraction, Positive
from dlpipe_audio.features import Features
from dlpipe_audio.recorded_words import folder
from dlpipe_audio.recordings import SHARE
from dlpipe_audio.word_data import WordData


class FrameData:
    """The frames of spoken words, each with its neighbors.

    Args:
        words: the words.
        context: neighbors on each side; at the ends of a word, its first or last frame is repeated.
        states: equal parts that a word is divided into, each a class of its own.
    """

    def __init__(self, words: WordData, *, context: int, states: int) -> None:
        self.words, self.context, self.states = words, context, states

    @property
    def splits(self) -> Sequence[str]:
        """Names of the splits."""
        return self.words.splits

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return ``image_shape`` (1, W, F), ``labels`` and ``num_classes``."""
        labels = self._labels()
        shape = (1, 2 * self.context + 1, self.words.features.num_features)
        return {"image_shape": shape, "labels": labels, "num_classes": len(labels)}

    def split(self, name: str) -> Columns:
        """Return ``images`` (N, 1, W, F), and ``targets`` (N,), the word and the part of it that a frame belongs to."""
        frames, words = self._words(name)
        images, targets = [], []
        for part, word in zip(frames.values[:-1].split(frames.lengths.tolist()), words.tolist(), strict=True):
            images.append(self._windows(part))
            state = torch.arange(len(part)) * self.states // len(part)
            targets.append(state + word * self.states if word != IGNORE_INDEX else torch.full_like(state, word))
        return Columns({"images": torch.cat(images), "targets": torch.cat(targets)})

    def word_of_frame(self, split: str) -> tuple[Tensor, Tensor]:
        """Return which word of the split (N,) each frame belongs to, and the classes of the words (R,)."""
        frames, words = self._words(split)
        return torch.arange(len(frames)).repeat_interleave(frames.lengths), words

    def names(self, split: str) -> list[str]:
        """Return the recording and the time of each frame, as `encode` takes them."""
        frames, _ = self._words(split)
        return [
            f"{name}@{self._seconds(frame):g}"
            for name, length in zip(self.words.names(split), frames.lengths.tolist(), strict=True)
            for frame in range(length)
        ]

    def copies(self, split: str, other: str) -> tuple[Tensor, Tensor]:
        """Return which frames of `split` are of a word that `other` contains too: (N,), and once more."""
        same, _ = self.words.copies(split, other)
        of_frames = same[self.word_of_frame(split)[0]]
        return of_frames, of_frames

    def expand(self, item: str) -> Iterator[str]:
        """Yield ``FILE@SECONDS`` for each frame of a recording or of those in a folder, or an item that names one."""
        if _seconds(item) is not None:
            yield item
            return
        for recording in self.words.expand(item):
            for frame in range(len(self.words.encode(recording)["frames"])):
                yield f"{recording}@{self._seconds(frame):g}"

    def encode(self, item: str) -> dict[str, Tensor]:
        """Return ``images`` (1, W, F), the frame of a recording that is nearest to a time: ``FILE@SECONDS``.

        Raises:
            InputError: it cannot be read or used, no time is given, or the recording has no such time.
        """
        time = _seconds(item)
        if time is None:
            raise InputError(f'"{item}": expected a recording and a time in seconds, such as yes.wav@0.25')
        windows = self._windows(self.words.encode(item.rpartition("@")[0])["frames"])
        frame = round(time / self._seconds(1))
        if not 0 <= frame < len(windows):
            raise InputError(f'"{item}": the recording has frames from 0 to {self._seconds(len(windows) - 1):g} s')
        return {"images": windows[frame]}

    def present(self, item: str, prediction: Tensor, probabilities: Tensor | None, top: int = 0) -> dict[str, Any]:
        """Return the class of a frame, its probability and, on request, the most probable classes."""
        return class_answer(self._labels(), prediction, probabilities, top)

    def state(self) -> dict[str, Any]:
        """Return the words of the training split."""
        return self.words.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set what `state` returned."""
        self.words.restore(state)

    def fingerprint(self) -> str:
        """Return a digest of the words, the recordings, the features and what a frame is."""
        chosen = f"{self.words.fingerprint()} {self.context} {self.states}"
        return hashlib.sha256(chosen.encode()).hexdigest()[:16]

    def _words(self, split: str) -> tuple[Ragged, Tensor]:
        """Return the frames of the words of a split, and the classes of the words (R,)."""
        columns = self.words.split(split).columns
        frames, words = columns["frames"], columns["targets"]
        assert isinstance(frames, Ragged)
        assert isinstance(words, Tensor)
        return frames, words

    def _labels(self) -> list[str]:
        words: list[str] = self.words.facts["labels"]
        if self.states == 1:
            return words
        return [f"{word} {state + 1}" for word in words for state in range(self.states)]

    def _seconds(self, frame: int) -> float:
        features = self.words.features
        return frame * features.hop / features.rate_hz

    def _windows(self, frames: Tensor) -> Tensor:
        """Map the frames of a word (T, F) to windows (T, 1, W, F)."""
        offsets = torch.arange(-self.context, self.context + 1)
        rows = (torch.arange(len(frames)).unsqueeze(1) + offsets).clamp(0, len(frames) - 1)
        return frames[rows].unsqueeze(1)


def _seconds(item: str) -> float | None:
    """Return the time in ``FILE@SECONDS``, None if there is none."""
    path, _, time = item.rpartition("@")
    with suppress(ValueError):
        return float(time) if path and isfinite(float(time)) else None
    return None


def frames(
    path: Path,
    *,
    context: NonNegative = 5,
    states: Positive = 1,
    test_speakers: Sequence[str] = (),
    dev_speakers: Sequence[str] = (),
    test_size: Annotated[OpenFraction, NotWith("test_speakers")] = SHARE,
    dev_size: Annotated[OpenFraction, NotWith("dev_speakers")] = SHARE,
    rate_hz: Positive = 16_000,
    features: Features = {},  # noqa: B006  read only
    skip_bad: bool = False,
) -> FrameData:
    """Frames of your own recordings of words, each with its neighbors, to be classified by a model of images.

    Args:
        path: a folder, or an archive of one (.tar, .tar.gz, .zip), as `audio.folder` takes it; FSDD is one.
        context: neighbors on each side of a frame; the model sees 2 · context + 1 frames.
        states: equal parts that a word is divided into, each a class of its own; with 1, the word is the class.
        test_speakers: whose words are for test.
        dev_speakers: whose words are for dev.
        test_size: share of each word's recordings that is for test if nothing else says which are.
        dev_size: share of the rest that is for dev if nothing else says which are.
        rate_hz: samples per second that recordings are converted to.
        features: how frames are computed.
        skip_bad: leave out recordings that cannot be read or used, with a warning that counts them.
    """
    words = folder(
        path,
        test_speakers=test_speakers,
        dev_speakers=dev_speakers,
        test_size=test_size,
        dev_size=dev_size,
        rate_hz=rate_hz,
        features=features,
        skip_bad=skip_bad,
    )
    return FrameData(words, context=context, states=states)
