"""``text.vector_file``: word vectors that others have learned, in the formats of word2vec and GloVe.

*word2vec text*: a line with the number of words and the size of a vector, then a word and its numbers in each line.
*word2vec binary*: the same first line, then a word, a blank and its numbers as 32-bit floats. *GloVe*: as word2vec text
without the first line. Which one a file has is detected from its content.
Axes: V words, E numbers of a vector.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, Strict

from dlpipe.data import Columns, file_digests
from dlpipe.errors import DataError
from dlpipe.progress import tracked
from dlpipe_text.corpus_files import blocks_of
from dlpipe_text.iob import quoted, why_unreadable
from dlpipe_text.word_data import Vocabulary, WordData

Vector = NDArray[np.float32]
#: Longer first lines have no vector.
MAX_LINE = 2**20
MAX_SIZE = 10_000


class VectorFile(WordData):
    """Word vectors from a file; text.load_vectors takes them over into text.word_vectors.

    Args:
        path: of the file, also compressed (.gz, .bz2).
        max_words: use only this many words, the first ones of the file, which are the most frequent ones as a rule.
    """

    def __init__(
        self, *, path: Path | None = None, max_words: Annotated[int, Strict(), Field(ge=2)] | None = None
    ) -> None:
        super().__init__()
        if path is None:
            raise DataError("path is not given; give a file of word vectors: --set data.path=PATH")
        self._path, self._max_words = path, max_words
        self._vectors: Vector | None = None

    def learned(self) -> Vocabulary:
        """Read the file."""
        found: dict[str, Vector] = {}
        again = 0
        for word, vector in vectors_in(self._path):
            if self._max_words is not None and len(found) == self._max_words:
                break
            again += word in found
            found.setdefault(word, vector)
        if len(found) < 2:
            raise DataError(f"{self._path}: {len(found)} words; expected at least two. Use another file")
        if again:
            warnings.warn(f"{self._path}: {again} words occur more than once; the first vector counts", stacklevel=2)
        self._vectors = np.stack(list(found.values()))
        return Vocabulary(list(found), [0] * len(found), 0, 0)

    def rarest(self) -> str:
        """Return which words are in the vocabulary."""
        return f"those of {self._path.name}"

    def split(self, name: str) -> Columns:
        """Return for "train" words (V,) and vectors (V, E), for "test" words (V, 1) and signs (V, 1)."""
        if name == "test":
            return self.every_word()
        if self._vectors is None:
            self._vocabulary = self.learned()
        assert self._vectors is not None
        return Columns({"words": torch.arange(len(self._vectors)), "vectors": torch.from_numpy(self._vectors)})

    def fingerprint(self) -> str:
        """Return a digest of the file."""
        try:
            return file_digests([self._path])[self._path][:16]
        except OSError as error:
            raise DataError(f"{self._path}: {why_unreadable(self._path, error)}") from error


def vectors_in(path: Path) -> Iterator[tuple[str, Vector]]:
    """Yield each word of a file with its vector (E,).

    Raises:
        DataError: it cannot be read, or is in none of the formats.
    """
    source = _Bytes(path)
    first = source.line()
    header = first.split()
    if len(header) != 2 or not all(part.isdigit() for part in header):
        yield from _text(path, first, source, 1, None)
        return
    count, size = map(int, header)
    if not 0 < size <= MAX_SIZE:
        raise DataError(f"{path}:1: vectors of {size} numbers; expected 1 to {MAX_SIZE:,}. Use another file")
    # What follows the first word is text or binary; binary numbers are hardly ever all digits and blanks.
    binary = not _is_text(source.peek(), size)
    records = _binary(path, source, count, size) if binary else _text(path, source.line(), source, 2, size)
    found = 0
    for found, record in enumerate(tracked(records, "reading word vectors", count), start=1):  # noqa: B007  used below
        yield record
    if found != count:
        raise DataError(
            f"{path}: {found:,} words; the first line promises {count:,}, so the file is cut off or damaged. Copy it "
            "again"
        )


def _text(path: Path, line: bytes, source: _Bytes, number: int, size: int | None) -> Iterator[tuple[str, Vector]]:
    while line:
        fields = line.rstrip(b" \r\n").split(b" ")
        # The word of a few vectors of GloVe contains blanks, so the numbers are counted from the end.
        size = len(fields) - 1 if size is None else size
        where = f"{path}:{number}"
        try:
            word = b" ".join(fields[: len(fields) - size]).decode()
            vector = np.array(fields[-size:], dtype=np.float32)
        except ValueError as error:
            raise DataError(
                f"{where}: {quoted(line[:60].decode(errors='replace'))} is not a word with {size} numbers ({error}); "
                "expected a file of word2vec or GloVe. Use another file, or convert this one"
            ) from error
        if size < 2 or not word or not np.isfinite(vector).all():
            raise DataError(
                f"{where}: {len(fields) - 1} numbers; expected a word with {max(size, 2)} finite numbers, separated by "
                "blanks. Use another file, or convert this one"
            )
        yield word, vector
        line, number = source.line(), number + 1


def _binary(path: Path, source: _Bytes, count: int, size: int) -> Iterator[tuple[str, Vector]]:
    for number in range(1, count + 1):
        word = source.until(b" ").lstrip(b"\n")
        numbers = source.take(4 * size)
        if len(numbers) < 4 * size:
            return  # the caller says how many words are missing
        vector = np.frombuffer(numbers, dtype="<f4")
        try:
            text = word.removesuffix(b" ").decode()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}: word {number:,} is {word[:60]!r}, not UTF-8 ({error.reason}); the file is damaged or of "
                "another kind. Use another file"
            ) from error
        if not np.isfinite(vector).all():
            raise DataError(f"{path}: the vector of word {number:,}, {quoted(text)}, is not finite. Use another file")
        yield text, vector


def _is_text(start: bytes, size: int) -> bool:
    """Return whether the next line of a file is a word with `size` numbers."""
    fields = start.split(b"\n")[0].rstrip(b" \r").split(b" ")
    try:
        np.array(fields[1:], dtype=np.float32)
    except ValueError:
        return False
    return len(fields) > 1


class _Bytes:
    """The unpacked bytes of a file, piece by piece."""

    def __init__(self, path: Path) -> None:
        self._path, self._blocks = path, blocks_of(path)
        self._buffer, self._place = b"", 0

    def line(self) -> bytes:
        """Return the next line with its end; empty at the end of the file."""
        return self.until(b"\n")

    def until(self, mark: bytes) -> bytes:
        """Return the bytes up to and including a mark, or the rest."""
        start = self._place
        while (found := self._buffer.find(mark, start)) < 0:
            start = len(self._buffer) - self._place
            if start > MAX_LINE:
                raise DataError(
                    f"{self._path}: no end of a line or a word in {MAX_LINE:,} bytes; expected a file of word2vec or "
                    "GloVe. Use another file"
                )
            if not self._fill():
                return self.take(start)
        return self.take(found + 1 - self._place)

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer at the end of the file."""
        while len(self._buffer) - self._place < size and self._fill():
            pass
        taken = self._buffer[self._place : self._place + size]
        self._place += len(taken)
        return taken

    def peek(self) -> bytes:
        """Return some of the next bytes, which stay."""
        while len(self._buffer) - self._place < MAX_LINE and self._fill():
            pass
        return self._buffer[self._place :]

    def _fill(self) -> bool:
        """Read another block, and return whether there was one."""
        block = next(self._blocks, b"")
        self._buffer, self._place = self._buffer[self._place :] + block, 0
        return bool(block)
