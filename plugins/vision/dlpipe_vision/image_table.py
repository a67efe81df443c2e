"""A table of image files: a .csv with the columns path, label and optionally split."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dlpipe.data import Files, FolderFiles, split_named
from dlpipe.errors import DataError
from dlpipe.messages import other_separator

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class ImageFile:
    """An image file, its class and, if the files define splits, its split."""

    name: str
    label: str
    split: str | None = None


def read_table(manifest: Path) -> tuple[Files, list[ImageFile]]:
    """Read a table of images: the columns path (relative to the table's folder), label and optionally split.

    Raises:
        DataError: it cannot be read, or a line is not valid.
    """
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            if missing := {"path", "label"} - set(rows.fieldnames or ()):
                raise DataError(
                    f"{manifest}:1: no column {' and '.join(sorted(missing))}; expected the columns path, label and "
                    f"optionally split.{other_separator(rows.fieldnames or (), 'separate the columns by commas')}"
                )
            lines = [(rows.line_num, row) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{manifest} cannot be read: {error}; expected a table in UTF-8") from error
    if not lines:
        raise DataError(f"{manifest}: it lists no images; expected one line per image")
    entries: dict[str, ImageFile] = {}
    sizes: dict[str, int] = {}
    for line, row in lines:
        entry = _parse_row(manifest, f"{manifest}:{line}", row)
        if entry.name in entries:
            raise DataError(f"{manifest}:{line}: {entry.name} is listed twice; keep one of them")
        entries[entry.name] = entry
        sizes[entry.name] = (manifest.parent / entry.name).stat().st_size
    return FolderFiles(manifest.parent, sizes, ()), sorted(entries.values(), key=lambda entry: entry.name)


def _parse_row(manifest: Path, where: str, row: Mapping[str, str | None]) -> ImageFile:
    """Parse one line of a table."""
    name, label = (row["path"] or "").strip(), (row["label"] or "").strip()
    split = (row.get("split") or "").strip()
    if not name or not label:
        raise DataError(f"{where}: path {name!r}, label {label!r}; expected both to be filled in")
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise DataError(f"{where}: {name!r} is outside of {manifest.parent}; expected a path below that folder")
    if not (manifest.parent / path).is_file():
        raise DataError(f"{where}: no such file: {manifest.parent / path}")
    if "split" in row and split_named(split) is None:
        raise DataError(f"{where}: split {split!r}; expected {', '.join(SPLITS)}, or a common name of one, such as val")
    return ImageFile(str(path), label, split_named(split) if "split" in row else None)
