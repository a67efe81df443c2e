"""``text.corpus``: your own texts without labels, one document per line.

Lines end at a line feed only: other characters that end a line for str.splitlines(), such as U+0085, belong to the
text.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Annotated, BinaryIO, cast

from dlpipe.data import decode_text, file_digests, refuse_nul, undecodable
from dlpipe.errors import DataError
from dlpipe.fields import NonNegative, OnlyWith, Positive, PositiveFloat
from dlpipe_text.corpus import Corpus, Unit
from dlpipe_text.iob import check_file, entries_of, is_folder, why_unreadable
from dlpipe_text.segmenters import Segmenter, segment_by
from dlpipe_text.text_files import NOT_DATA

BLOCK = 2**20
OPENERS: dict[str, Callable[[Path], object]] = {".gz": gzip.open, ".bz2": bz2.open}


def corpus(
    *,
    path: Path | None = None,
    encoding: str = "utf-8",
    unit: Unit = "word",
    punctuation: Annotated[bool, OnlyWith(unit="word")] = False,
    segmenter: Annotated[Segmenter | None, OnlyWith(unit="word")] = None,
    lowercase: bool = True,
    min_count: Positive = 5,
    phrases: NonNegative = 0,
    phrase_threshold: Annotated[PositiveFloat, OnlyWith("phrases")] = 10.0,
) -> Corpus:
    """Your own texts without labels: one document per line; the files are read again in every pass, a part at a time.

    Args:
        path: a text file, also compressed (.gz, .bz2), or a folder of such files.
        encoding: of the files, such as "cp1252", "big5" or "gb18030".
        unit: how a document is split: into words (each Chinese character is one, unless there is a segmenter),
            characters, or what stands between blanks, for text that has been split before.
        punctuation: keep marks as words of their own.
        segmenter: what splits Chinese text into words.
        lowercase: convert everything to lower case.
        min_count: words that occur less often are left out, as if the documents did not have them.
        phrases: rounds of joining words that occur together more often than by chance; two rounds join up to four.
        phrase_threshold: score from which two words are joined; the larger, the fewer.
    """
    if path is None:
        raise DataError("path is not given; give a file or a folder of texts: --set data.path=PATH")
    decode_text(b"", str(path), encoding)  # refuses an encoding that there is not
    files = cache(lambda: text_files(path))

    def documents() -> Iterator[str]:
        for file in files():
            for _, line in lines_of(file, encoding):
                yield line

    def fingerprint() -> str:
        try:
            digests = file_digests(files())
        except OSError as error:
            raise DataError(f"{path}: {why_unreadable(path, error)}") from error
        return " ".join(digests[file][:16] for file in files())

    return Corpus(
        documents,
        fingerprint,
        unit=unit,
        punctuation=punctuation,
        segment=segment_by(segmenter),
        lowercase=lowercase,
        min_count=min_count,
        phrases=phrases,
        phrase_threshold=phrase_threshold,
    )


def text_files(path: Path) -> list[Path]:
    """Return a file, or those in a folder and its subfolders, sorted; hidden files and READMEs are left out."""
    if not is_folder(path):
        return [_checked(path)]
    found = []
    for entry in entries_of(path):
        if entry.name.startswith(".") or entry.stem.lower() in NOT_DATA:
            continue
        if entry.is_symlink() and is_folder(entry):
            raise DataError(f"{entry}: a link to a folder; expected files and folders. Give the folder itself as path")
        found += text_files(entry)
    if not found:
        raise DataError(f"{path}: no files in it; expected text, one document per line. Correct the path")
    return found


def lines_of(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """Yield the number (from 1) and the text of each line of a file, without its end; a part is in memory at a time.

    Raises:
        DataError: the file cannot be read or unpacked, is not in this encoding, or contains a NUL.
        InputError: there is no such encoding.
    """
    number, pieces = 1, list[str]()
    for text in _decoded(path, encoding):
        refuse_nul(text, str(path), number)
        first, *others = text.split("\n")
        pieces.append(first)
        for part in others:
            yield number, "".join(pieces).removesuffix("\r")
            number, pieces = number + 1, [part]
    if last := "".join(pieces):
        yield number, last.removesuffix("\r")


def _decoded(path: Path, encoding: str) -> Iterator[str]:
    """Yield the text of a file in parts, without its byte-order mark."""
    decode_text(b"", str(path), encoding)
    decoder = codecs.getincrementaldecoder(encoding)()
    place, line = 0, 1  # of the next byte
    start = True
    for block in blocks_of(path):
        waiting = len(decoder.getstate()[0])  # the first bytes of a character that the last block has cut
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeError as error:
            raise undecodable(error, str(path), encoding, line=line, byte=place - waiting) from error
        place += len(block)
        line += text.count("\n")
        if text:
            yield text.removeprefix("\ufeff") if start else text
            start = False


def blocks_of(path: Path) -> Iterator[bytes]:
    """Yield the unpacked bytes of a file in parts, at last an empty one."""
    try:
        opened = OPENERS.get(path.suffix.lower(), lambda each: each.open("rb"))(path)
        with closing(cast(BinaryIO, opened)) as file:
            while block := file.read(BLOCK):
                yield block
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: cannot be unpacked ({error}); the file is damaged or cut off. Copy it again"
        ) from error
    except OSError as error:
        if isinstance(error, FileNotFoundError) or error.errno is not None:
            raise DataError(f"{path}: {why_unreadable(path, error)}") from error
        # bz2 has no error of its own.
        raise DataError(
            f"{path}: cannot be unpacked ({error}); the file is damaged or cut off. Copy it again"
        ) from error
    yield b""


def _checked(path: Path) -> Path:
    """Return a path that is a regular file with something in it; a pipe would block."""
    try:
        check_file(path)
    except OSError as error:
        raise DataError(f"{path}: {why_unreadable(path, error)}") from error
    return path
