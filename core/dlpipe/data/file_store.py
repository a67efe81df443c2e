"""Files in a folder or an archive, with one interface; an archive is never unpacked to disk.

Whatever an archive claims to contain, no more is read from it than the limits below allow.
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
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from dlpipe.errors import DataError
from dlpipe.runs.file_manifest import file_state

#: An archive with more members than this is an attack or a mistake; ImageNet has 1.3 million.
MAX_MEMBERS = 2_000_000
#: Most bytes of one file: 100 megapixels of three colors, uncompressed, and a margin.
MAX_FILE = 400_000_000
#: Bytes read at a time behind the last member of a tar archive.
CHUNK = 1 << 16
#: The first bytes of compressed tar archives.
_OPENERS: Mapping[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
_READ_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    RuntimeError,  # raised by zipfile for encryption and, as NotImplementedError, for unknown compression
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
)


@dataclass
class Files(ABC):
    """Files by name: their path below a folder or in an archive, with "/" as separator.

    Args:
        path: the folder or archive.
        sizes: bytes of each file, without hidden files.
        folders: all folders in it, empty ones too.
    """

    path: Path
    sizes: Mapping[str, int]
    folders: Collection[str]

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            DataError: it cannot be read, or is too large.
        """
        if self.sizes[name] > MAX_FILE:
            raise DataError(
                f"{self.path / name}: {self.sizes[name]:,} bytes; expected at most {MAX_FILE:,}; remove the file"
            )
        try:
            return self._content(name)
        except _READ_ERRORS as error:
            raise DataError(f"{self.path / name} cannot be read: {_reason(error)}") from error

    def place(self, name: str) -> Path:
        """Return the file on the disk that contains a file: the file itself, or the archive that it is in."""
        return self.path / name if self.path.is_dir() else self.path

    def state(self, name: str) -> list[int]:
        """Return what changes with the content of a file, see `file_state`; that of the archive if it is in one.

        Raises:
            DataError: it has disappeared.
        """
        try:
            return file_state(self.place(name))
        except OSError as error:
            raise DataError(f"{self.path / name} cannot be read: {_reason(error)}") from error

    @abstractmethod
    def _content(self, name: str) -> bytes: ...


class FolderFiles(Files):
    """Files in a folder and its subfolders."""

    @classmethod
    def open(cls, path: Path) -> FolderFiles:
        """List the files of a folder; symbolic links are followed.

        Raises:
            DataError: a link leads to nothing or back to a folder above it; there is a pipe or device, or there are
                too many files.
        """
        sizes: dict[str, int] = {}
        folders: set[str] = set()

        pending: list[tuple[Path, tuple[Path, ...]]] = [(path, (path.resolve(),))]  # with the folders above
        while pending:
            folder, above = pending.pop()
            for entry in folder.iterdir():
                name = entry.relative_to(path)
                if _is_hidden(name):
                    continue
                if entry.is_dir():
                    if (real := entry.resolve()) in above:
                        raise DataError(f"{entry}: this link leads back to {real}, which contains it; remove the link")
                    folders.add(name.as_posix())
                    pending.append((entry, (*above, real)))
                elif entry.is_file():
                    sizes[name.as_posix()] = entry.stat().st_size
                else:
                    what = (
                        f"a link to {entry.readlink()}, which is missing" if entry.is_symlink() else "a pipe or device"
                    )
                    raise DataError(f"{entry}: {what}; expected files and folders; remove it")
            if len(sizes) + len(folders) > MAX_MEMBERS:  # links to links may multiply without end
                raise DataError(
                    f"{path}: more than {MAX_MEMBERS:,} files and folders, counting linked ones each time; remove links"
                )
        return cls(path, sizes, folders)

    def _content(self, name: str) -> bytes:
        return (self.path / name).read_bytes()


@dataclass
class ZipFiles(Files):
    """Members of a zip archive, read when they are needed."""

    _archive: zipfile.ZipFile | None = None
    _opened_by: int = 0

    @classmethod
    def open(cls, path: Path) -> ZipFiles:
        """List the members of an archive."""
        listing = _Listing(path)
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                mode = member.external_attr >> 16
                special = stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR)
                listing.add(member.filename, member.file_size, folder=member.is_dir(), special=special)
        return cls(path, listing.sizes, listing.folders)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_archive": None, "_opened_by": 0}

    def _content(self, name: str) -> bytes:
        # Opened again in each process: a forked one would share the position in the open file.
        if self._archive is None or self._opened_by != os.getpid():
            self._archive, self._opened_by = zipfile.ZipFile(self.path), os.getpid()
        return self._archive.read(name)


@dataclass
class TarFiles(Files):
    """Members of a tar archive: read when they are needed or, if it is compressed, all kept in memory."""

    starts: Mapping[str, int]
    contents: Mapping[str, bytes] | None

    @classmethod
    def open(cls, path: Path, limit: int, option: str = "") -> TarFiles:
        """List the members of an archive; if it is compressed, read all of it; see `open_files`."""
        with path.open("rb") as raw:
            opener = next((opener for magic, opener in _OPENERS.items() if _starts_with(raw, magic)), None)
            if opener is None:
                return cls._listed(path, _Bounded(raw, max(limit, path.stat().st_size), path, option), keep=False)
            with opener(raw) as stream:
                return cls._listed(path, _Bounded(stream, limit, path, option), keep=True)

    @classmethod
    def _listed(cls, path: Path, stream: _Bounded, *, keep: bool) -> TarFiles:
        listing = _Listing(path)
        starts: dict[str, int] = {}
        contents: dict[str, bytes] = {}
        with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r:") as archive:
            for member in archive:
                special = not (member.isreg() or member.isdir()) or member.issparse()
                name = listing.add(member.name, member.size, folder=member.isdir(), special=special)
                if name is not None:
                    starts[name] = member.offset_data
                    if keep:
                        stream.seek(member.offset_data)
                        contents[name] = stream.read(member.size)
            _check_end(path, stream, archive.offset)
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


def _check_end(path: Path, stream: _Bounded, position: int) -> None:
    """Refuse a tar archive without an end mark (a block of zeros), or with anything but zeros after it.

    tarfile silently takes the end of the file, and any block that is no header, for the end of the archive.
    """
    stream.seek(position)
    length = 0
    while block := stream.read(CHUNK):
        if block.count(0) < len(block):
            raise DataError(
                f"{path}: byte {position + length:,} and those after it are not part of the archive; it is damaged, or "
                "several archives were joined; get it again, or repack it"
            )
        length += len(block)
    if length < tarfile.BLOCKSIZE:
        raise DataError(
            f"{path}: the archive ends at byte {position + length:,} without its end mark, so it was cut off; "
            "get it again"
        )


def open_files(path: Path, limit: int, *, option: str = "") -> Files:
    """List the files of a folder, or of a tar (compressed or not) or zip archive.

    Args:
        limit: most bytes of an unpacked compressed tar, which is kept in memory.
        option: of the data, that sets this limit; empty if none does.

    Raises:
        DataError: it does not exist, is neither a folder nor an archive, or the archive has unsafe members.
    """
    if not path.exists():
        raise DataError(f"{path}: no such folder or archive")
    with _readable(path, "a folder, or a complete archive (.tar, .tar.gz, .zip)"):
        if path.is_dir():
            return FolderFiles.open(path)
        return ZipFiles.open(path) if zipfile.is_zipfile(path) else TarFiles.open(path, limit, option)


def open_tar(path: Path) -> TarFiles:
    """List the members of a tar that is not compressed, so that none of them is kept in memory.

    Raises:
        DataError: it cannot be read, is compressed, or has unsafe members.
    """
    with _readable(path, "a complete .tar"):
        with path.open("rb") as file:
            if any(_starts_with(file, magic) for magic in _OPENERS):
                raise DataError(
                    f"{path} is compressed; expected a plain tar, of which single files can be read; decompress it, "
                    "for example with gunzip"
                )
        return TarFiles.open(path, 0)


@contextmanager
def _readable(path: Path, expected: str) -> Iterator[None]:
    """Say which folder or archive it is that cannot be read, and what was expected."""
    try:
        yield
    except _READ_ERRORS as error:
        raise DataError(f"{path} cannot be read: {_reason(error)}; expected {expected}") from error


class _Listing:
    """The members of an archive; unsafe ones are refused."""

    def __init__(self, path: Path) -> None:
        self._path, self._count = path, 0
        self.sizes: dict[str, int] = {}
        self.folders: set[str] = set()

    def add(self, name: str, size: int, *, folder: bool, special: bool) -> str | None:
        """Add a member and return its name, or None for a folder or a hidden file.

        Args:
            special: the member is neither a file nor a folder.
        """
        self._count += 1
        path = PurePosixPath(name)
        if self._count > MAX_MEMBERS:
            raise DataError(
                f"{self._path}: more than {MAX_MEMBERS:,} members; expected a data set of at most that many files"
            )
        if path.is_absolute() or ".." in path.parts or "\0" in name or "\\" in name:
            raise DataError(f"{self._path}: member {name!r} would be outside the archive; repack it")
        if special:
            raise DataError(f"{self._path}: member {name!r} is a link or device; repack it with files only")
        if _is_hidden(path):
            return None
        if str(path.parent) not in self.folders:
            self.folders.update(str(parent) for parent in path.parents if parent.parts)
        if folder:
            self.folders.add(str(path))
            return None
        self.sizes[str(path)] = size
        return str(path)


class _Bounded:
    """A stream that is not read beyond `limit` bytes."""

    def __init__(self, stream: IO[bytes], limit: int, path: Path, option: str) -> None:
        self._stream, self._limit, self._path, self._option = stream, limit, path, option
        self.tell = stream.tell

    def read(self, size: int) -> bytes:
        """Read `size` bytes, or fewer at the end."""
        content = self._stream.read(min(size, self._limit + 1 - self.tell()))
        self._check(self.tell())
        return content

    def seek(self, position: int) -> int:
        """Move to a position."""
        self._check(position)
        return self._stream.seek(position)

    def _check(self, position: int) -> None:
        if position > self._limit:
            allowed = f"that {self._option} allows" if self._option else "that are kept in memory"
            raise DataError(
                f"{self._path}: unpacks to more than the {self._limit:,} bytes {allowed}; if you trust it, unpack it "
                "into a folder" + (f" or increase data.{self._option}" if self._option else "")
            )


def _starts_with(file: IO[bytes], magic: bytes) -> bool:
    file.seek(0)
    start = file.read(len(magic))
    file.seek(0)
    return start == magic


def _is_hidden(path: PurePosixPath | Path) -> bool:
    """Return whether a file is hidden, or was created by the operating system."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
