"""Images in shards: a folder of tar archives, in the format of WebDataset.

An example is two members with the same key: ``n01440764_10026.jpg`` and ``n01440764_10026.cls``, a text with its class.

Source: https://github.com/webdataset/webdataset, "The WebDataset Format".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dlpipe.data import Files, FolderFiles, TarFiles, open_tar, split_named
from dlpipe.errors import DataError
from dlpipe.progress import tracked
from dlpipe_vision.image_manifest import own_manifest
from dlpipe_vision.image_table import ImageFile
from dlpipe_vision.picture import SUFFIXES

SHARD, CLASS = ".tar", "cls"
#: Most bytes of a file with a class: it is a number or a word.
MAX_CLASS = 1000


#: A member of a shard as it is remembered: name, bytes, place in the shard, and class if it is a file with one.
Row = tuple[str, int, int, str | None]


@dataclass
class Shards(Files):
    """The members of all shards of a folder; the name of a member starts with that of its shard.

    Args:
        shards: the members of each shard.
        labels: the class in each member for one, "" if it cannot be used.
    """

    shards: Mapping[str, TarFiles]
    labels: Mapping[str, str]

    @classmethod
    def open(cls, path: Path) -> Shards:
        """List the members of the shards of a folder; a shard that has not changed is not read again.

        Raises:
            DataError: a shard cannot be read, is compressed, or has unsafe members.
        """
        found, folder = shards_in(path), FolderFiles(path, {}, ())
        manifest = own_manifest("shards", path)
        listed: dict[str, tuple[list[int], list[Row]]] = {}
        for shard in tracked(found, "listing shards", len(found)):
            state = folder.state(shard.name)
            listed[shard.name] = state, manifest.known(shard.name, state) or _listed(shard)
        manifest.keep(listed)
        shards: dict[str, TarFiles] = {}
        sizes: dict[str, int] = {}
        labels: dict[str, str] = {}
        for shard_name, (_, rows) in listed.items():
            own_sizes = {name: size for name, size, _, _ in rows}
            starts = {name: start for name, _, start, _ in rows}
            shards[shard_name] = TarFiles(path / shard_name, own_sizes, (), starts, None)
            sizes |= {f"{shard_name}/{name}": size for name, size in own_sizes.items()}
            labels |= {f"{shard_name}/{name}": label for name, _, _, label in rows if label is not None}
        return cls(path, sizes, (), shards, labels)

    def place(self, name: str) -> Path:
        """Return the shard that a member is in."""
        return self.path / name.partition("/")[0]

    def _content(self, name: str) -> bytes:
        shard, _, member = name.partition("/")
        return self.shards[shard].read(member)


def _listed(shard: Path) -> list[Row]:
    """Return the members of a shard, with the classes."""
    files = open_tar(shard)
    return [(name, size, files.starts[name], _label_in(files, name)) for name, size in files.sizes.items()]


def _label_in(files: TarFiles, name: str) -> str | None:
    """Return the class in a member, "" if there is none that can be used; None of a member for something else."""
    if key_and_field(name)[1] != CLASS:
        return None
    text = files.read(name) if files.sizes[name] <= MAX_CLASS else b""
    label = text.decode("utf-8", "replace").strip()
    return "" if any(sign in label for sign in "\0\ufffd\n") else label


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
        for key, name in sorted(images.items())
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
    if not (label := files.labels[name]):
        raise DataError(f"{files.path / name}: expected a class, a number or a name in UTF-8; correct it")
    return label
