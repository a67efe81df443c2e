"""Strings of spoken digits, put together from recordings of single ones.

A string has the voice of one speaker; pauses and loudness differ from digit to digit, and a digit may be repeated.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor

from dlpipe.compute import derived_seed
from dlpipe.errors import InputError
from dlpipe.fields import NotWith, OpenFraction, Positive
from dlpipe_audio.audio_files import MAX_SENTENCE_SECONDS, SUFFIXES
from dlpipe_audio.augment import Augment
from dlpipe_audio.features import Features
from dlpipe_audio.recorded_words import digit_recordings
from dlpipe_audio.recordings import HoldOut, Recordings, read_item
from dlpipe_audio.segments import Segment
from dlpipe_audio.transcripts import TranscriptData

#: Longest pause between two digits, in seconds, and the range in which their loudness varies, in dB.
PAUSE, LOUDNESS = 0.3, 6.0
#: Root mean square of the noise in pauses, whose logarithm would be far below that of any recording without it.
NOISE = 1e-3


def digit_strings(
    path: Path,
    *,
    num_train: Positive = 2000,
    num_dev: Positive = 300,
    num_test: Positive = 500,
    min_digits: Positive = 3,
    max_digits: Positive = 7,
    test_speakers: Sequence[str] = (),
    dev_speakers: Sequence[str] = (),
    dev_size: Annotated[OpenFraction, NotWith("dev_speakers")] = 0.1,
    rate_hz: Positive = 8000,
    features: Features = {},  # noqa: B006  read only
    augment: Augment | None = None,
    skip_bad: bool = False,
) -> TranscriptData:
    """Strings of English digits, to be written digit by digit, from the recordings of the Free Spoken Digit Dataset.

    Args:
        path: the folder of the data set, its recordings, or an archive of either.
        num_train: strings for training.
        num_dev: strings for choosing the best checkpoint.
        num_test: strings for the final evaluation.
        min_digits: of a string.
        max_digits: of a string.
        test_speakers: whose recordings are for test; without them, recordings 0 to 4 of each digit by each speaker are.
        dev_speakers: whose recordings are for dev.
        dev_size: share of each digit's recordings not for test that is for dev if there are no dev_speakers.
        rate_hz: samples per second that recordings are converted to.
        features: how frames are computed.
        augment: random changes to the features of training strings, such as { speed = 0.1, time_mask = 5 }.
        skip_bad: leave out what cannot be read or used, with a warning that counts it.
    """
    if min_digits > max_digits:
        raise InputError(f"min_digits = {min_digits}, max_digits = {max_digits}: expected a range, such as 3 and 7")
    recordings = digit_recordings(path, HoldOut(test_speakers, dev_speakers, 0.0, dev_size), rate_hz)
    counts = {"train": num_train, "dev": num_dev, "test": num_test}
    source = DigitStrings(recordings, counts, (min_digits, max_digits))
    return TranscriptData(source, features, units="words", augment=augment, skip_bad=skip_bad)


class DigitStrings:
    """The source of `digit_strings`.

    Args:
        recordings: of single digits.
        counts: strings of each split.
        lengths: least and most digits of a string.
    """

    def __init__(self, recordings: Recordings, counts: dict[str, int], lengths: tuple[int, int]) -> None:
        self._recordings, self._counts, self._lengths = recordings, counts, lengths
        self._parts: dict[str, list[Segment]] = {}
        self.rate_hz = recordings.rate_hz
        self._wave = cache(recordings.waveform)

    @property
    def splits(self) -> Sequence[str]:
        """Names of the splits that have recordings."""
        return self._recordings.splits

    @property
    def clipped(self) -> Collection[str]:
        """Names of the strings with a recording that is clipped."""
        clipped = self._recordings.clipped
        return {name for name, parts in self._parts.items() if any(part.name in clipped for part in parts)}

    def segments(self, split: str) -> list[Segment]:
        """Draw the strings of a split."""
        by_speaker: dict[str, list[Segment]] = defaultdict(list)
        for segment in self._recordings.segments(split):
            by_speaker[segment.speaker].append(segment)
        generator = torch.Generator().manual_seed(derived_seed("digit strings", split))
        least, most = self._lengths
        found = []
        for number in range(self._counts[split]):
            speaker = sorted(by_speaker)[number % len(by_speaker)]
            spoken = by_speaker[speaker]
            count = least + int(torch.randint(most - least + 1, (1,), generator=generator))
            parts = [spoken[place] for place in torch.randint(len(spoken), (count,), generator=generator).tolist()]
            name = f"{split}_{number}_{speaker}"
            self._parts[name] = parts
            found.append(Segment(name, " ".join(part.word for part in parts), speaker))
        return found

    def waveform(self, segment: Segment) -> Tensor:
        """Put a string together."""
        generator = torch.Generator().manual_seed(derived_seed("digit string", segment.name))
        pieces = []
        for part in self._parts[segment.name]:
            pause, loudness = torch.rand(2, generator=generator).tolist()
            pieces.append(torch.zeros(round(pause * PAUSE * self.rate_hz)))
            pieces.append(self._wave(part) * 10 ** ((loudness - 0.5) * LOUDNESS / 20))
        wave = torch.cat(pieces)
        return wave + NOISE * torch.randn(len(wave), generator=generator)

    def item(self, item: str) -> Tensor:
        """Put together the string with a name such as ``test_3_theo``, or read a file."""
        if Path(item).suffix.lower() in SUFFIXES:
            return read_item(item, self.rate_hz, MAX_SENTENCE_SECONDS)
        for split in self.splits:
            for segment in self.segments(split):
                if segment.name == item:
                    return self.waveform(segment)
        raise InputError(
            f"{item!r} is not a string of this data; expected one such as {self.segments('train')[0].name}, or an "
            f"audio file ({', '.join(SUFFIXES)})"
        )

    def digest(self) -> str:
        """Return a digest of the recordings and of what is drawn of them."""
        drawn = repr((self._recordings.digest(), self._counts, self._lengths))
        return hashlib.sha256(drawn.encode()).hexdigest()
