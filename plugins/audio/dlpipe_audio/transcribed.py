"""Your own recordings with transcripts, listed in a table."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from dlpipe.errors import DataError
from dlpipe.fields import NotWith, OnlyWith, OpenFraction, Positive
from dlpipe_audio.audio_files import MAX_SENTENCE_SECONDS
from dlpipe_audio.augment import Augment
from dlpipe_audio.features import Features
from dlpipe_audio.manifest import listed_in_table
from dlpipe_audio.recordings import SHARE, HoldOut, Listing, Recordings
from dlpipe_audio.transcripts import TranscriptData, Units


def transcribed(
    path: Path,
    *,
    units: Units = "letters",
    lowercase: Annotated[bool, OnlyWith(units=("letters", "words"))] = True,
    test_speakers: Sequence[str] = (),
    dev_speakers: Sequence[str] = (),
    test_size: Annotated[OpenFraction, NotWith("test_speakers")] = SHARE,
    dev_size: Annotated[OpenFraction, NotWith("dev_speakers")] = SHARE,
    rate_hz: Positive = 16_000,
    features: Features = {},  # noqa: B006  read only
    augment: Augment | None = None,
    skip_bad: bool = False,
) -> TranscriptData:
    """Your own recordings with what is said in them, listed in a table.

    Texts are normalized (Unicode NFC), and each series of blanks is one space.

    Args:
        path: a table (.csv, .tsv, .jsonl) with the columns `path` (of a WAV, FLAC or OGG file below the folder of the
            table) and `text`, and optionally `start` and `end` in seconds, `speaker`, `split`, and `phones`, separated
            by blanks or a list. What `split` does not name, dev or test, is held out of train by the options below.
        units: what a model is to write: letters, with the spaces between words; words; or what `phones` lists.
        lowercase: make all letters small.
        test_speakers: whose recordings are for test.
        dev_speakers: whose recordings are for dev.
        test_size: share of the files that is for test if there are no test_speakers.
        dev_size: share of the rest that is for dev if there are no dev_speakers.
        rate_hz: samples per second that recordings are converted to.
        features: how frames are computed.
        augment: random changes to the features of training recordings, such as { speed = 0.1, time_mask = 5 }.
        skip_bad: leave out what cannot be read or used, with a warning that counts it.
    """
    hold_out = HoldOut(test_speakers, dev_speakers, test_size, dev_size, by_word=False)

    def listed() -> Listing:
        found = listed_in_table(path, "text", skip_bad)
        if not data.is_restored:  # a trained model may be evaluated on files with other splits
            hold_out.check_effect(path, found)
        words = []
        for segment, split in found.words:
            if units == "phones" and not segment.phones:
                raise DataError(
                    f"{path}: {segment.name} has no phones; fill in the column phones, or choose other units"
                )
            text = " ".join(segment.word.split())
            text = unicodedata.normalize("NFC", text.lower() if lowercase else text)
            words.append((replace(segment, word=text), split))
        return Listing(found.files, words)

    data = TranscriptData(
        Recordings(listed, hold_out, rate_hz, MAX_SENTENCE_SECONDS),
        features,
        units=units,
        augment=augment,
        skip_bad=skip_bad,
    )
    return data
