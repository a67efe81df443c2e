"""Recorded words in folders and archives, and the Free Spoken Digit Dataset."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from posixpath import commonpath
from typing import Annotated

from dlpipe.data import Files, open_files, split_named
from dlpipe.errors import DataError
from dlpipe.fields import NotWith, OpenFraction, Positive
from dlpipe_audio.augment import Augment
from dlpipe_audio.features import Features
from dlpipe_audio.recordings import SHARE, HoldOut, Listing, Recordings, audio_names
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
    test_size: Annotated[OpenFraction, NotWith("test_speakers", "test_words")] = SHARE,
    dev_size: Annotated[OpenFraction, NotWith("dev_speakers", "dev_words")] = SHARE,
    rate_hz: Positive = 16_000,
    features: Features = {},  # noqa: B006  read only
    pairs: Pairs = "none",
    augment: Augment | None = None,
    skip_bad: bool = False,
) -> WordData:
    """Your own recordings of words, one word per file: WAV, FLAC or OGG.

    Args:
        path: a folder, or an archive of one (.tar, .tar.gz, .zip), that contains either a folder for each word, with
            files named after the speaker (`yes/anna_3.wav`), or files named WORD_SPEAKER_NUMBER (`yes_anna_3.wav`);
            either may lie in the folders `train`, `dev` and `test`. A dev or test split without a folder is held out of
            train by the options below.
        test_speakers: whose words are for test.
        dev_speakers: whose words are for dev.
        test_words: words that are for test only. With test_speakers too, test is what these speakers say of these
            words, and the other recordings of either are left out.
        dev_words: words that are for dev only; with dev_speakers too, what these speakers say of them.
        test_size: share of each word's recordings that is for test if nothing else says which are.
        dev_size: share of the rest that is for dev if nothing else says which are.
        rate_hz: samples per second that recordings are converted to.
        features: how frames are computed.
        pairs: for a model with `target = "same_word"`, "same_word" provides each word as another speaker says it, and
            "alike" one of the recordings that sound most like it, found without knowing the words.
        augment: random changes to the features of training words, such as { speed = 0.1, time_mask = 5 }.
        skip_bad: leave out what cannot be read or used, with a warning that counts it.
    """
    hold_out = HoldOut(test_speakers, dev_speakers, test_size, dev_size, test_words, dev_words)
    # A trained model may be evaluated on files with other splits.
    source = word_recordings(path, hold_out, rate_hz, lambda: not data.is_restored)
    held_out = {*test_words, *dev_words}
    data = WordData(source, features, pairs=pairs, augment=augment, skip_bad=skip_bad, held_out=held_out)
    return data


def word_recordings(path: Path, hold_out: HoldOut, rate_hz: int, has_effect: Callable[[], bool]) -> Recordings:
    """Return the words in a folder or an archive.

    Args:
        has_effect: whether what is held out must have an effect; asked when the files are listed.
    """

    def listed() -> Listing:
        listing = _listed(open_files(path, MAX_BYTES))
        if has_effect():
            hold_out.check_effect(path, listing)
        return listing

    return Recordings(listed, hold_out, rate_hz)


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
    source = digit_recordings(path, hold_out, rate_hz)
    held_out = {*test_words, *dev_words}
    return WordData(source, features, pairs=pairs, augment=augment, skip_bad=skip_bad, held_out=held_out)


def digit_recordings(path: Path, hold_out: HoldOut, rate_hz: int) -> Recordings:
    """Return the recordings of the data set; some are for test if nothing else is held out for it."""
    official = not (hold_out.test_speakers or hold_out.test_words)
    return Recordings(lambda: _digits(open_files(path, MAX_BYTES), official), hold_out, rate_hz)


def _listed(files: Files) -> Listing:
    """List words by folder or, if all files lie in one folder, by their names; folders above may name the splits."""
    names = [name for name in audio_names(files) if not PurePosixPath(name).parent.name.startswith("_")]
    below = _below_common_folder(names)
    splits = {name: split_named(path.parts[0]) if len(path.parts) > 1 else None for name, path in below.items()}
    if None in splits.values():
        splits = dict.fromkeys(names)
    else:
        below = {name: path.relative_to(path.parts[0]) for name, path in below.items()}
    if len({path.parent for path in below.values()}) > 1:
        _check_no_words_in_names(files, below)
        segments = [_by_folder(files, name, path) for name, path in below.items()]
    else:
        segments = [_by_name(files, name) for name in names]
    for segment in segments:
        if not _is_text(segment.word):
            raise DataError(
                f"{files.path / segment.name}: the word {segment.word!r} is not UTF-8; rename the folder or the file"
            )
    return Listing(files, [(segment, splits[segment.name]) for segment in segments])


def _is_text(name: str) -> bool:
    """Return whether a name can be written: one whose bytes are not UTF-8 has surrogates in Python."""
    return not any(0xD800 <= ord(letter) <= 0xDFFF for letter in name)


def _below_common_folder(names: Sequence[str]) -> dict[str, PurePosixPath]:
    """Return the path of each file below the folder that contains all of them, unless its name is that of a split."""
    paths = {name: PurePosixPath(name) for name in names}
    shared = PurePosixPath(commonpath([str(path.parent) for path in paths.values()] or ["."])).parts
    depth = next((number for number, part in enumerate(shared) if split_named(part)), len(shared))
    return {name: PurePosixPath(*path.parts[depth:]) for name, path in paths.items()}


def _check_no_words_in_names(files: Files, paths: Mapping[str, PurePosixPath]) -> None:
    """Refuse files in several folders if the names of all of them say word and speaker, too."""
    found = [NAMED.fullmatch(path.stem) for path in paths.values()]
    # In Speech Commands, yes/0a7c2a8d_nohash_0.wav, the second part is always the same.
    if None in found or len({each["speaker"] for each in found if each}) == 1:
        return
    name, path = next(iter(paths.items()))
    raise DataError(
        f"{files.path / name}: the folder says the word {path.parent.name!r}, and the name {path.stem!r} word, speaker "
        "and number; expected yes/anna_3.wav or, with all files in one folder, yes_anna_3.wav. Move or rename them, or "
        "list them in a table for audio.manifest"
    )


def _by_folder(files: Files, name: str, path: PurePosixPath) -> Segment:
    if len(path.parts) == 1:
        raise DataError(
            f"{files.path / name}: this file lies in no folder named after a word, as others do; move it to one, or "
            "remove it"
        )
    if len(path.parts) > 2:
        raise DataError(
            f"{files.path / name}: expected a folder for each word, with recordings such as yes/anna_3.wav, or such "
            "folders in train, dev and test; this file lies deeper. Move the recordings, or list them in a table for "
            "audio.manifest"
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
