"""Recorded words listed in a table: which part of which file says which word."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from dlpipe.data import FolderFiles, split_named
from dlpipe.errors import DataError
from dlpipe.fields import NotWith, OpenFraction, Positive
from dlpipe.messages import nearest
from dlpipe_audio.audio_files import SUFFIXES
from dlpipe_audio.augment import Augment
from dlpipe_audio.features import Features
from dlpipe_audio.recordings import SHARE, HoldOut, Listing, Recordings
from dlpipe_audio.segments import Segment
from dlpipe_audio.word_data import Pairs, WordData

#: Besides the path and what is said.
OPTIONAL = ("start", "end", "speaker", "split", "phones")
KINDS = {".csv": ",", ".tsv": "\t", ".jsonl": ""}


def manifest(
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
    """Your own recordings of words, listed in a table, so that a file may contain many words.

    Args:
        path: a table (.csv, .tsv, .jsonl) with the columns `path` (of a WAV, FLAC or OGG file below the folder of the
            table) and `word`, and optionally `start` and `end` in seconds, `speaker`, `split`, and `phones`, separated
            by blanks or a list. What `split` does not name, dev or test, is held out of train by the options below.
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

    def listed() -> Listing:
        listing = listed_in_table(path, "word", skip_bad)
        if not data.is_restored:  # a trained model may be evaluated on files with other splits
            hold_out.check_effect(path, listing)
        return listing

    source = Recordings(listed, hold_out, rate_hz)
    held_out = {*test_words, *dev_words}
    data = WordData(source, features, pairs=pairs, augment=augment, skip_bad=skip_bad, held_out=held_out)
    return data


def listed_in_table(path: Path, said: str, skip_bad: bool) -> Listing:
    """List the recordings of a table.

    Args:
        said: the column that says what is said.
        skip_bad: do not refuse a file that does not exist.
    """
    words: list[tuple[Segment, str | None]] = []
    sizes: dict[str, int] = {}
    for number, row in _rows(path, said):
        where = f"{path}:{number}"
        segment, split = _segment(where, row, said)
        file = path.parent / segment.file
        if file.is_file():
            sizes[segment.file] = file.stat().st_size
        elif not skip_bad:
            raise DataError(f"{where}: no such file: {file}; correct path, or set skip_bad = true to leave it out")
        else:
            sizes[segment.file] = 0  # counted with what else cannot be read
        words.append((segment, split))
    if not words:
        raise DataError(f"{path}: it lists no recordings; expected one {said} per line below the header")
    if twice := _repeated([segment.name for segment, _ in words]):
        raise DataError(f"{path}: {twice} is listed twice; remove one of the lines")
    return Listing(FolderFiles(path.parent, sizes, ()), words)


def _rows(path: Path, said: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield (line, row) of a table.

    Raises:
        DataError: it cannot be read, or lacks a column.
    """
    kind = path.suffix.lower()
    if kind not in KINDS:
        other = "; for a folder or an archive use audio.folder" if said == "word" else ""
        raise DataError(f"{path}: expected a table, {', '.join(KINDS)}{other}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = _json_rows(path, text, said) if kind == ".jsonl" else _table_rows(path, text, KINDS[kind], said)
        yield from rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read: {reason}; expected a table in UTF-8") from error


def _table_rows(path: Path, text: str, delimiter: str, said: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    _check_columns(f"{path}:1", rows.fieldnames or (), said)
    for row in rows:
        if None in row or None in row.values():
            raise DataError(f"{path}:{rows.line_num}: expected {len(rows.fieldnames or ())} columns as in the header")
        yield rows.line_num, row


def _json_rows(path: Path, text: str, said: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}:{number}: not JSON ({error}); expected an object with path and {said}") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: {line[:40]!r}; expected an object with path and {said}")
        _check_columns(f"{path}:{number}", tuple(row), said)
        yield number, row


def _check_columns(where: str, names: Sequence[str], said: str) -> None:
    columns = ("path", said, *OPTIONAL)
    for name in columns[:2]:
        if name not in names:
            known = ", ".join(names) or "none"
            raise DataError(f"{where}: no column {name!r}; there are {known}.{nearest(name, names)}")
    for name in names:
        if name not in columns and (near := nearest(name, columns)):
            raise DataError(f"{where}: unknown column {name!r}.{near}")


def _segment(where: str, row: Mapping[str, Any], said: str) -> tuple[Segment, str | None]:
    """Return the recording of a row, and its split if there is such a column."""
    name, word, speaker, split, phones = (
        _text(where, row, key) for key in ("path", said, "speaker", "split", "phones")
    )
    if not name or not word:
        raise DataError(f"{where}: path {name!r}, {said} {word!r}; expected both to be filled in")
    file = PurePosixPath(name.replace("\\", "/"))
    if file.is_absolute() or ".." in file.parts or "\0" in name:
        raise DataError(f"{where}: {name!r} does not lie below the folder of the table; expected a path that does")
    if file.suffix.lower() not in SUFFIXES:
        raise DataError(f"{where}: {name!r}; expected a {', '.join(SUFFIXES)} file")
    start, end = _seconds(where, "start", row.get("start")), _seconds(where, "end", row.get("end"))
    if "split" in row and split_named(split) is None:
        raise DataError(f"{where}: split {split!r}; expected train, dev or test, or another common name of one")
    shown = str(file) if start is None and end is None else f"{file} {start or 0:g}-{'' if end is None else f'{end:g}'}"
    segment = Segment(shown, word, speaker or "unknown", tuple(phones.split()), start or 0.0, end, str(file))
    return segment, split_named(split) if "split" in row else None


def _text(where: str, row: Mapping[str, Any], column: str) -> str:
    """Return a cell of a table or a value of an object; phones may also be a list."""
    value = row.get(column)
    if column == "phones" and isinstance(value, list) and all(isinstance(phone, str) for phone in value):
        return " ".join(value)
    if isinstance(value, list | dict):
        expected = "phones separated by blanks, or a list of them" if column == "phones" else "a text or a number"
        raise DataError(f"{where}: {column} {value!r}; expected {expected}")
    return "" if value is None else str(value).strip()


def _seconds(where: str, column: str, value: Any) -> float | None:
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise DataError(f"{where}: {column} {value!r}; expected a number of seconds such as 1.25, or nothing")
    return seconds


def _repeated(names: Sequence[str]) -> str | None:
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]
