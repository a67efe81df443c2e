"""Recorded words in folders and archives, and the Free Spoken Digit Dataset."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated

from dlpipe.data import Files, open_files
from dlpipe.errors import DataError
from dlpipe.fields import NotWith, OpenFraction, Positive
from dlpipe_audio.augment import Augment
from dlpipe_audio.features import Features
from dlpipe_audio.recordings import HoldOut, Listing, Recordings, audio_names
from dlpipe_audio.segments import Segment
from dlpipe_audio.word_data import Pairs, WordData

#: Most bytes of a compressed archive once it is unpacked in memory; 18 hours of 16 kHz.
MAX_BYTES = 2_000_000_000
#: The naming of the Free Spoken Digit Dataset: word, speaker, number.
NAMED = re.compile(r"(?P<word>.+)_(?P<speaker>[^_]+)_(?P<number>\d+)")
#: The digits and their sounds, from the CMU Pronouncing Dictionary, http://www.speech.cs.cmu.edu/cgi-bin/cmudict
DIGITS = {
    "0": ("zero", "Z IH R OW"),
    "1": ("one", "W AH N"),
    "2": ("two", "T UW"),
    "3": ("three", "TH R IY"),
    "4": ("four", "F AO R"),
    "5": ("five", "F AY V"),
    "6": ("six", "S IH K S"),
    "7": ("seven", "S EH V AH N"),
    "8": ("eight", "EY T"),
    "9": ("nine", "N AY N"),
}
#: Recordings of each digit by each speaker that are for test, by the data set's own convention.
OFFICIAL_TEST = 5


def folder(
    path: Path,
    *,
    test_speakers: Sequence[str] = (),
    dev_speakers: Sequence[str] = (),
    test_words: Sequence[str] = (),
    dev_words: Sequence[str] = (),
    test_size: Annotated[OpenFraction, NotWith("test_speakers", "test_words")] = 0.1,
    dev_size: Annotated[OpenFraction, NotWith("dev_speakers", "dev_words")] = 0.1,
    rate_hz: Positive = 16_000,
    features: Features = {},  # noqa: B006  read only
    pairs: Pairs = "none",
    augment: Augment | None = None,
    skip_bad: bool = False,
) -> WordData:
    """Your own recordings of words, one word per file: WAV, FLAC or OGG.

    Args:
        path: a folder, or an archive of one (.tar, .tar.gz, .zip), that contains either a folder for each word, with
            files named after the speaker (`yes/anna_3.wav`), or files named WORD_SPEAKER_NUMBER (`yes_anna_3.wav`).
        test_speakers: whose words are for test.
        dev_speakers: whose words are for dev.
        test_words: words that are for test only. With test_speakers too, test is what these speakers say of these
            words, and the other recordings of either are left out.
        dev_words: words that are for dev only; with dev_speakers too, what these speakers say of them.
        test_size: share of each word's recordings that is for test if there are no test_speakers or test_words.
        dev_size: share of the rest that is for dev if there are no dev_speakers or dev_words.
        rate_hz: samples per second that recordings are converted to.
        features: how frames are computed.
        pairs: for a model with `target = "same_word"`, "same_word" provides each word as another speaker says it, and
            "alike" one of the recordings that sound most like it, found without knowing the words.
        augment: random changes to the features of training words, such as { speed = 0.1, time_mask = 5 }.
        skip_bad: leave out what cannot be read or used, with a warning that counts it.
    """
    hold_out = HoldOut(test_speakers, dev_speakers, test_size, dev_size, test_words, dev_words)
    source = Recordings(lambda: _listed(open_files(path, MAX_BYTES)), hold_out, rate_hz)
    held_out = {*test_words, *dev_words}
    return WordData(source, features, pairs=pairs, augment=augment, skip_bad=skip_bad, held_out=held_out)


def fsdd(
    path: Path,
    *,
    test_speakers: Sequence[str] = (),
    dev_speakers: Sequence[str] = (),
    test_words: Sequence[str] = (),
    dev_words: Sequence[str] = (),
    dev_size: Annotated[OpenFraction, NotWith("dev_speakers", "dev_words")] = 0.1,
    rate_hz: Positive = 8000,
    features: Features = {},  # noqa: B006  read only
    pairs: Pairs = "none",
    augment: Augment | None = None,
    skip_bad: bool = False,
) -> WordData:
    """English digits by six speakers (Free Spoken Digit Dataset).

    Args:
        path: the folder of the data set, its recordings, or an archive of either.
        test_speakers: whose words are for test; without them and test_words, recordings 0 to 4 of each digit by each
            speaker are.
        dev_speakers: whose words are for dev.
        test_words: words that are for test only. With test_speakers too, test is what these speakers say of these
            words, and the other recordings of either are left out.
        dev_words: words that are for dev only; with dev_speakers too, what these speakers say of them.
        dev_size: share of each digit's recordings not for test that is for dev if there are no dev_speakers or
            dev_words.
        rate_hz: samples per second that recordings are converted to.
        features: how frames are computed.
        pairs: for a model with `target = "same_word"`, "same_word" provides each word as another speaker says it, and
            "alike" one of the recordings that sound most like it, found without knowing the words.
        augment: random changes to the features of training words, such as { speed = 0.1, time_mask = 5 }.
        skip_bad: leave out what cannot be read or used, with a warning that counts it.
    """
    hold_out = HoldOut(test_speakers, dev_speakers, 0.0, dev_size, test_words, dev_words)
    official = not (test_speakers or test_words)
    source = Recordings(lambda: _digits(open_files(path, MAX_BYTES), official), hold_out, rate_hz)
    held_out = {*test_words, *dev_words}
    return WordData(source, features, pairs=pairs, augment=augment, skip_bad=skip_bad, held_out=held_out)


def _listed(files: Files) -> Listing:
    """List words by folder or, if all files lie in one folder, by their names."""
    names = [name for name in audio_names(files) if not PurePosixPath(name).parent.name.startswith("_")]
    by_folder = len({PurePosixPath(name).parent for name in names}) > 1
    segment = _by_folder if by_folder else _by_name
    return Listing(files, [(segment(files, name), None) for name in names])


def _by_folder(files: Files, name: str) -> Segment:
    # Speech Commands: yes/0a7c2a8d_nohash_0.wav; a folder that starts with "_" holds no words.
    path = PurePosixPath(name)
    if not path.parent.name:
        raise DataError(
            f"{files.path / name}: this file lies in no folder named after a word, as others do; move it to one, or "
            "remove it"
        )
    return Segment(name, path.parent.name, path.stem.partition("_")[0], file=name)


def _by_name(files: Files, name: str) -> Segment:
    found = NAMED.fullmatch(PurePosixPath(name).stem)
    if found is None:
        raise DataError(
            f"{files.path / name}: expected a name such as yes_anna_3.wav (word, speaker, number), since there are no "
            "folders named after words; rename it, or list the recordings in a table for audio.manifest"
        )
    return Segment(name, found["word"], found["speaker"], file=name)


def _digits(files: Files, official: bool) -> Listing:
    words: list[tuple[Segment, str | None]] = []
    for name in audio_names(files):
        segment = _by_name(files, name)
        if segment.word not in DIGITS:
            raise DataError(f"{files.path / name}: {segment.word!r} is not a digit; use audio.folder for other words")
        word, phones = DIGITS[segment.word]
        number = int(PurePosixPath(name).stem.rpartition("_")[2])
        split = "test" if official and number < OFFICIAL_TEST else None
        words.append((Segment(name, word, segment.speaker, tuple(phones.split()), file=name), split))
    return Listing(files, words)
