"""Named files in a folder or an archive, all read in one way; an archive is never unpacked to disk.

Whatever an archive claims of itself, no more is read of it than the limits below allow.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from dlpipe.errors import DataError

#: More members than this are no data set but an attack, or a mistake; ImageNet has 1.3 million.
MAX_MEMBERS = 2_000_000
#: Bytes of one file: 100 megapixels of three colours, unpacked, and some room.
MAX_FILE = 400_000_000
#: Compressed tar archives begin with these.
_OPENERS: Mapping[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    RuntimeError,  # zipfile's word for "encrypted", and as NotImplementedError for unknown compression
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
)


@dataclass
class Files(ABC):
    """Files by name, which is their path below a folder or in an archive, with "/" between its parts.

    Args:
        path: the folder or archive.
        sizes: bytes of each file, hidden ones left out.
        folders: the folders in it, with or without files.
    """

    path: Path
    sizes: Mapping[str, int]
    folders: Collection[str]

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            DataError: it cannot be read, or is larger than any image.
        """
        if self.sizes[name] > MAX_FILE:
            raise DataError(f"{self.path / name}: {self.sizes[name]:,} bytes; expected {MAX_FILE:,} at most")
        try:
            return self._content(name)
        except _BROKEN as error:
            raise DataError(f"{self.path / name} cannot be read: {_reason(error)}") from error

    @abstractmethod
    def _content(self, name: str) -> bytes: ...


class FolderFiles(Files):
    """Files in a folder and those below it."""

    @classmethod
    def open(cls, path: Path) -> FolderFiles:
        """List a folder."""
        found = [entry for entry in path.rglob("*") if not _hidden(entry.relative_to(path))]
        sizes = {entry.relative_to(path).as_posix(): entry.stat().st_size for entry in found if entry.is_file()}
        return cls(path, sizes, {entry.relative_to(path).as_posix() for entry in found if entry.is_dir()})

    def _content(self, name: str) -> bytes:
        return (self.path / name).read_bytes()


@dataclass
class ZipFiles(Files):
    """Members of a zip archive, read when they are needed."""

    _archive: zipfile.ZipFile | None = None
    _opened_by: int = 0

    @classmethod
    def open(cls, path: Path) -> ZipFiles:
        """List an archive."""
        listing = _Listing(path)
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                mode = member.external_attr >> 16
                odd = stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR)
                listing.add(member.filename, member.file_size, folder=member.is_dir(), odd=odd)
        return cls(path, listing.sizes, listing.folders)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_archive": None, "_opened_by": 0}

    def _content(self, name: str) -> bytes:
        # Anew in each process: a forked one shares the place in an open file, and both would move it.
        if self._archive is None or self._opened_by != os.getpid():
            self._archive, self._opened_by = zipfile.ZipFile(self.path), os.getpid()
        return self._archive.read(name)


@dataclass
class TarFiles(Files):
    """Members of a tar archive: read when they are needed or, of a compressed one, all kept in memory."""

    starts: Mapping[str, int]
    contents: Mapping[str, bytes] | None

    @classmethod
    def open(cls, path: Path, limit: int) -> TarFiles:
        """List an archive; read all of it if it is compressed, `limit` bytes at most."""
        with path.open("rb") as raw:
            opener = next((opener for mark, opener in _OPENERS.items() if _begins(raw, mark)), None)
            if opener is None:
                return cls._listed(path, _Bounded(raw, max(limit, path.stat().st_size), path), keep=False)
            with opener(raw) as stream:
                return cls._listed(path, _Bounded(stream, limit, path), keep=True)

    @classmethod
    def _listed(cls, path: Path, stream: _Bounded, *, keep: bool) -> TarFiles:
        listing = _Listing(path)
        starts: dict[str, int] = {}
        contents: dict[str, bytes] = {}
        with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r:") as archive:
            for member in archive:
                odd = not (member.isreg() or member.isdir()) or member.issparse()
                name = listing.add(member.name, member.size, folder=member.isdir(), odd=odd)
                if name is not None:
                    starts[name] = member.offset_data
                    if keep:
                        stream.seek(member.offset_data)
                        contents[name] = stream.read(member.size)
        return cls(path, listing.sizes, listing.folders, starts, contents if keep else None)

    def _content(self, name: str) -> bytes:
        if self.contents is not None:
            content = self.contents[name]
        else:
            with self.path.open("rb") as file:
                file.seek(self.starts[name])
                content = file.read(self.sizes[name])
        if len(content) != self.sizes[name]:
            raise EOFError(f"the archive ends after {len(content):,} of its {self.sizes[name]:,} bytes")
        return content


def open_files(path: Path, limit: int) -> Files:
    """List the files of a folder, or of a tar (compressed or not) or zip archive.

    Args:
        limit: bytes to which a compressed tar may unpack, as those are kept in memory.

    Raises:
        DataError: there is nothing, it is neither, or an archive holds what no data set needs.
    """
    if not path.exists():
        raise DataError(f"{path}: there is no such folder or archive")
    try:
        if path.is_dir():
            return FolderFiles.open(path)
        return ZipFiles.open(path) if zipfile.is_zipfile(path) else TarFiles.open(path, limit)
    except _BROKEN as error:
        raise DataError(
            f"{path} cannot be read: {_reason(error)}; expected a folder, or a whole archive (.tar, .tar.gz, .zip)"
        ) from error


class _Listing:
    """The members of an archive, as far as they may be in it."""

    def __init__(self, path: Path) -> None:
        self._path, self._count = path, 0
        self.sizes: dict[str, int] = {}
        self.folders: set[str] = set()

    def add(self, name: str, size: int, *, folder: bool, odd: bool) -> str | None:
        """Note a member and return its name, None for a folder or a hidden file.

        Args:
            odd: it is neither a file nor a folder.
        """
        self._count += 1
        place = PurePosixPath(name)
        if self._count > MAX_MEMBERS:
            raise DataError(f"{self._path}: more than {MAX_MEMBERS:,} members; expected a data set of images")
        if place.is_absolute() or ".." in place.parts or "\0" in name or "\\" in name:
            raise DataError(f"{self._path}: its member {name!r} would lie outside of it; pack it anew")
        if odd:
            raise DataError(f"{self._path}: its member {name!r} is a link or device; pack it anew with files only")
        if _hidden(place):
            return None
        if str(place.parent) not in self.folders:
            self.folders.update(str(parent) for parent in place.parents if parent.parts)
        if folder:
            self.folders.add(str(place))
            return None
        self.sizes[str(place)] = size
        return str(place)


class _Bounded:
    """A stream that is not read beyond `most` bytes."""

    def __init__(self, stream: IO[bytes], most: int, path: Path) -> None:
        self._stream, self._most, self._path = stream, most, path
        self.tell = stream.tell

    def read(self, size: int) -> bytes:
        """Read `size` bytes, fewer only at the end."""
        self._check(self.tell() + size)
        return self._stream.read(size)

    def seek(self, place: int) -> int:
        """Go to a place."""
        self._check(place)
        return self._stream.seek(place)

    def _check(self, place: int) -> None:
        if place > self._most:
            raise DataError(
                f"{self._path}: unpacks to more than {self._most:,} bytes, which resident_mb allows; "
                "if you trust it, unpack it into a folder or set data.resident_mb"
            )


def _begins(file: IO[bytes], mark: bytes) -> bool:
    file.seek(0)
    found = file.read(len(mark))
    file.seek(0)
    return found == mark


def _hidden(place: PurePosixPath | Path) -> bool:
    """Tell whether a file is one that programs leave behind, not people."""
    return any(part.startswith(".") or part == "__MACOSX" for part in place.parts)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
