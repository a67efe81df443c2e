"""Images in shards: a folder of tar archives, in the format of WebDataset.

An example is two members with the same key: ``n01440764_10026.jpg`` and ``n01440764_10026.cls``, a text with its class.

Source: https://github.com/webdataset/webdataset, "The WebDataset Format".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dlpipe.data import Files, open_files, split_named
from dlpipe.errors import DataError
from dlpipe.progress import tracked
from dlpipe_vision.image_table import ImageFile
from dlpipe_vision.picture import SUFFIXES

SHARD, CLASS = ".tar", "cls"
#: The first bytes of files of gzip, bzip2 and xz.
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ")
#: Most bytes of a file with a class: it is a number or a word.
MAX_CLASS = 1000


@dataclass
class Shards(Files):
    """The members of all shards of a folder; the name of a member starts with that of its shard.

    Args:
        shards: the members of each shard.
    """

    shards: Mapping[str, Files]

    @classmethod
    def open(cls, path: Path) -> Shards:
        """List the members of the shards of a folder.

        Raises:
            DataError: a shard cannot be read, is compressed, or has unsafe members.
        """
        found = shards_in(path)
        shards = {shard.name: _members(shard) for shard in tracked(found, "listing shards", len(found))}
        sizes = {f"{shard}/{name}": size for shard, files in shards.items() for name, size in files.sizes.items()}
        return cls(path, sizes, (), shards)

    def place(self, name: str) -> Path:
        """Return the shard that a member is in."""
        return self.path / name.partition("/")[0]

    def _content(self, name: str) -> bytes:
        shard, _, member = name.partition("/")
        return self.shards[shard].read(member)


def _members(shard: Path) -> Files:
    with shard.open("rb") as file:
        if file.read(6).startswith(COMPRESSED):
            raise DataError(
                f"{shard}: the shard is compressed; expected a plain tar, of which single images can be read; "
                "decompress it, for example with gunzip"
            )
    return open_files(shard, 0)


def shards_in(path: Path) -> list[Path]:
    """Return the shards in a folder, sorted by name; an archive beside folders, such as of classes, is none."""
    entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")] if path.is_dir() else []
    if any(entry.is_dir() for entry in entries):
        return []
    return sorted(entry for entry in entries if entry.suffix.lower() == SHARD)


def find_in_shards(files: Shards) -> list[ImageFile]:
    """Return the images of all shards with their classes, and with the splits that the names of the shards tell.

    Raises:
        DataError: there is no image, an image has no class or two, a key has two images, or a shard tells no split
            though others do.
    """
    splits = {shard: split_of_shard(shard) for shard in files.shards}
    if None in splits.values() and any(splits.values()):
        unknown = next(shard for shard, split in splits.items() if split is None)
        raise DataError(
            f"{files.path / unknown}: the name tells no split, unlike that of other shards; expected a name such as "
            "train-000000.tar; rename it"
        )
    images: dict[str, str] = {}
    for name in files.sizes:
        key, field = key_and_field(name)
        if f".{field}" in SUFFIXES:
            if key in images:
                raise DataError(f"{files.path / name}: {images[key]} has the same key; expected one image for each key")
            images[key] = name
    if not images:
        raise DataError(
            f"{files.path}: no image in the shards ({', '.join(sorted(SUFFIXES))}); expected KEY.jpg beside KEY.{CLASS}"
        )
    return [
        ImageFile(name, _class_of(files, key, name), splits[name.partition("/")[0]])
        for key, name in tracked(sorted(images.items()), "reading classes", len(images))
    ]


def key_and_field(name: str) -> tuple[str, str]:
    """Return the key of a member, and which field of the example it is: what follows the first dot of its last part."""
    folder, slash, last = name.rpartition("/")
    stem, _, field = last.partition(".")
    return f"{folder}{slash}{stem}", field.lower()


def split_of_shard(shard: str) -> str | None:
    """Return the split in the name of a shard, such as ``imagenet-train-000012.tar``."""
    return next(filter(None, map(split_named, re.split(r"[-_.]", shard))), None)


def _class_of(files: Shards, key: str, image: str) -> str:
    name = f"{key}.{CLASS}"
    if name not in files.sizes:
        raise DataError(f"{files.path / image} has no class; expected {name.rpartition('/')[2]} beside it")
    text = files.read(name) if files.sizes[name] <= MAX_CLASS else b""
    label = text.decode("utf-8", "replace").strip()
    if not label or "\0" in label or "\ufffd" in label or "\n" in label:
        raise DataError(f"{files.path / name}: expected a class, a number or a name in UTF-8; correct it")
    return label
