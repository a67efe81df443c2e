"""``vision.image_folder``: images in folders of classes, an archive of such, or files that a table lists.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

import csv
import math
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import torch
from torch import Tensor

from dlpipe.errors import DataError, InputError
from dlpipe.fields import NonNegativeFloat, OpenFraction, Positive
from dlpipe_vision.augment import Augment
from dlpipe_vision.file_store import Files, FolderFiles, open_files
from dlpipe_vision.labelled_images import ImageSet, ImageSplits, LabelledImages, Normalize, stratified_sample
from dlpipe_vision.picture import SUFFIXES, fitted, open_image, to_bytes

Color = Literal["auto", "grey", "rgb"]
MODES = {"auto": None, "grey": "L", "rgb": "RGB"}
#: What the folders of a split may be called.
SPLITS = {"train": "train", "dev": "dev", "val": "dev", "valid": "dev", "validation": "dev", "test": "test"}
EXPECTED = "expected train/CLASS/*.png (and test/CLASS/*.png), or CLASS/*.png"
#: Images that are decoded before the next ones are handed to the threads, and how many a thread takes at once.
BLOCK, SHARE = 2048, 64
#: Names that a message lists.
NAMED = 5


def image_folder(
    *,
    path: Path | None = None,
    size: tuple[Positive, Positive] | Positive | None = None,
    color: Color = "auto",
    unreadable: Literal["stop", "skip"] = "stop",
    test_size: OpenFraction | Positive = 0.2,
    resident_mb: Positive = 2000,
    dev_size: OpenFraction | Positive = 0.1,
    limit: Positive | None = None,
    normalize: Normalize = "standardize",
    augment: Augment | None = None,
    noise: NonNegativeFloat = 0.0,
) -> LabelledImages:
    """Your own images: a folder for each class, the same in an archive, or a table of files.

    Args:
        path: a folder with train/CLASS/*.png and, if there are some, dev/ and test/; or with CLASS/*.png; or a .tar,
            .tar.gz or .zip of either; or a .csv with the columns path, label and, if you like, split.
        size: [height, width] that all images get, or one number for both; their shape is kept, with a border.
            Needed where they differ.
        color: "grey", "rgb" or, with "auto", grey only if all images are.
        unreadable: "stop" at a file that cannot be read, or "skip" such files with a warning.
        test_size: how many images to keep for the test split, or which share of them, evenly from all classes; used
            only if the files define no splits.
        resident_mb: keep the images in memory if they take at most this many megabytes; otherwise read each one when
            it is needed.
        dev_size: how many training images to hold out as the dev split, or which share of them; used only if the files
            have no dev split.
        limit: use at most this many of the remaining training images, which are in random order.
        normalize: "standardize" (mean 0, standard deviation 1 over the training images), "unit" (0 to 1),
            "symmetric" (-1 to 1) or "none" (0 to 255).
        augment: random changes to training images, such as { rotate = 15, shift = 1 }.
        noise: standard deviation of the noise added to every pixel (0 to 1) of evaluation images.
    """
    if path is None:
        raise DataError("[data] vision.image_folder has no path; give the folder: --set data.path=DIR")
    source, most = path, resident_mb * 1_000_000
    shape = (size, size) if isinstance(size, int) else size

    def read() -> ImageSplits:
        if source.suffix.lower() == ".csv" and source.is_file():
            files, found = listed(source)
        else:
            files = open_files(source, most)
            found = in_folders(files)
        decoder = Decoder(files, (shape[0], shape[1]) if shape else None, MODES[color])
        return read_images(decoder, found, test_size=test_size, most=most, skip=unreadable == "skip")

    return LabelledImages(read, dev_size=dev_size, limit=limit, normalize=normalize, augment=augment, noise=noise)


@dataclass(frozen=True)
class Found:
    """An image file, of which class it is and, where the files know splits, for which of them."""

    name: str
    label: str
    split: str | None = None


@dataclass(frozen=True)
class Decoder:
    """Makes images of files.

    Args:
        size: (H, W) that all get; as they are, if None.
        mode: "L" or "RGB"; whichever of them an image is, if None.
    """

    files: Files
    size: tuple[int, int] | None
    mode: str | None

    def __call__(self, name: str) -> Tensor:
        """Return an image as bytes (C, H, W).

        Raises:
            InputError: the file cannot be read, or is no image.
        """
        image = open_image(self.files.path / name, self.files.read(name))
        if self.mode and image.mode != self.mode:
            image = image.convert(self.mode)
        if self.size and image.size != (self.size[1], self.size[0]):
            image = fitted(image, self.size[1], self.size[0])
        return to_bytes(image)


class Decoded(Sequence[Tensor]):
    """Images (C, H, W) that are decoded each time they are asked for."""

    def __init__(self, decoder: Decoder, names: Sequence[str]) -> None:
        self._decoder, self._names = decoder, names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, row: Any) -> Any:
        return self._decoder(self._names[row])


def in_folders(files: Files) -> list[Found]:
    """Find the images of all classes in folders named after them, sorted by name.

    Raises:
        DataError: there are no classes, a class has no image, or splits that cannot be told apart.
    """
    images = sorted(name for name in files.sizes if PurePosixPath(name).suffix.lower() in SUFFIXES)
    if not images:
        raise DataError(f"{files.path}: no image in it ({', '.join(sorted(SUFFIXES))}); {EXPECTED}")
    top = _top(images)
    below = {name: name.removeprefix(top).split("/") for name in images}
    splits = {parts[0] for parts in below.values() if parts[0] in SPLITS and len(parts) > 1}
    depth = 1 if splits else 0  # of the name of the class
    found, left = [], _not_images(files, top)
    for name, parts in below.items():
        if len(parts) > depth + 1 and (not splits or parts[0] in splits):
            found.append(Found(name, parts[depth], SPLITS[parts[0]] if splits else None))
        else:
            left.append(name)
    if not found:
        raise DataError(f"{files.path}: {len(images)} images ({_few(images)}), but no folders of classes; {EXPECTED}")
    for split, twice in Counter(SPLITS[split] for split in splits).items():
        if twice > 1:
            names = ", ".join(sorted(name for name in splits if SPLITS[name] == split))
            raise DataError(f"{files.path}: {names} are all the {split} split; keep one of them")
    _refuse_empty_classes(files, top, found, sorted(splits))
    if left:
        warnings.warn(f"{files.path}: {len(left)} files are no images of a class: {_few(sorted(left))}", stacklevel=2)
    return found


def listed(manifest: Path) -> tuple[Files, list[Found]]:
    """Read a table of images: the columns path (from the table's folder, and below it), label and maybe split.

    Raises:
        DataError: it cannot be read, or a line of it is wrong.
    """
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            if missing := {"path", "label"} - set(rows.fieldnames or ()):
                raise DataError(
                    f"{manifest}:1: no column {' and '.join(sorted(missing))}; "
                    "expected path,label and, if you like, split"
                )
            lines = [(rows.line_num, row) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{manifest} cannot be read: {error}; expected a table in UTF-8") from error
    if not lines:
        raise DataError(f"{manifest}: no images in it; expected a line for each")
    found: dict[str, Found] = {}
    sizes: dict[str, int] = {}
    for line, row in lines:
        entry = _entry(manifest, f"{manifest}:{line}", row)
        if entry.name in found:
            raise DataError(f"{manifest}:{line}: {entry.name} is listed twice; keep one of them")
        found[entry.name] = entry
        sizes[entry.name] = (manifest.parent / entry.name).stat().st_size
    return FolderFiles(manifest.parent, sizes, ()), sorted(found.values(), key=lambda entry: entry.name)


def read_images(
    decoder: Decoder, found: Sequence[Found], *, test_size: int | float, most: int, skip: bool
) -> ImageSplits:
    """Decode images and divide them into splits.

    Args:
        test_size: how many images (an int) or which share of them (a float) to keep for the test split; used only
            if the files define no splits.
        most: bytes of images to keep in memory; if they are more, they are decoded when they are needed.
        skip: leave out files that cannot be read.

    Raises:
        InputError: see `open_image`; or images are of different sizes, or classes of one split are not in another.
    """
    _refuse(decoder.files.path, found)
    found, images = _decoded(decoder, found, most, skip)
    _refuse(decoder.files.path, found)
    labels = sorted({entry.label for entry in found})
    targets = torch.tensor([labels.index(entry.label) for entry in found])
    sets = {}
    for split, rows in _rows(found, targets, test_size).items():
        names = [found[row].name for row in rows.tolist()]
        kept: Tensor | Decoded
        kept = (
            torch.stack([images[row] for row in rows.tolist()]) if isinstance(images, list) else Decoded(images, names)
        )
        sizes = [decoder.files.sizes[name] for name in names]
        sets[split] = ImageSet(kept, targets[rows], names, sizes)
    _warn(decoder.files.path, labels, sets)
    return ImageSplits(labels, sets)


def _decoded(
    decoder: Decoder, found: Sequence[Found], most: int, skip: bool
) -> tuple[list[Found], list[Tensor] | Decoder]:
    """Decode every image once, so that none can stop a run later.

    Returns:
        the files that can be read, and their images, all of one shape; or, where these take more than `most` bytes,
        what decodes them into one shape.
    """
    shapes: list[tuple[int, ...]] = []
    images: list[Tensor] = []
    readable, bad = [], []
    held = 0
    for entry, image in _attempts(decoder, found):
        if isinstance(image, InputError):
            if not skip:
                raise InputError(f'{image}; repair it, or leave out such files: data.unreadable = "skip"') from image
            bad.append(entry.name)
            continue
        readable.append(entry)
        shapes.append(tuple(image.shape))
        held += image.nbytes
        if held <= most:
            images.append(image)
        else:
            images.clear()  # go on only to see that all can be read
    if bad:
        message = f"{decoder.files.path}: {len(bad)} files cannot be read and are left out: {_few(bad)}"
        warnings.warn(message, stacklevel=2)
    _refuse_sizes(decoder.files.path, readable, shapes)
    channels = max((shape[0] for shape in shapes), default=1)
    if len(images) < len(shapes) or sum(channels * math.prod(shape[1:]) for shape in shapes) > most:
        return readable, replace(decoder, mode="L" if channels == 1 else "RGB")
    return readable, [image.expand(channels, -1, -1) for image in images]


def _attempts(decoder: Decoder, found: Sequence[Found]) -> Iterator[tuple[Found, Tensor | InputError]]:
    """Yield each file with its image, or with what is wrong with it."""

    def attempt(entry: Found) -> Tensor | InputError:
        try:
            return decoder(entry.name)
        except InputError as error:
            return error

    def attempts(entries: Sequence[Found]) -> list[tuple[Found, Tensor | InputError]]:
        return [(entry, attempt(entry)) for entry in entries]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(found), BLOCK):
            block = found[start : start + BLOCK]
            for part in pool.map(attempts, [block[at : at + SHARE] for at in range(0, len(block), SHARE)]):
                yield from part


def _rows(found: Sequence[Found], targets: Tensor, test_size: int | float) -> dict[str, Tensor]:
    """Return which files are in each split; those to learn from in a random order, always the same."""
    splits = [entry.split for entry in found]
    if None in splits:
        taken = torch.zeros(len(found), dtype=torch.bool)
        count = test_size if isinstance(test_size, int) else math.ceil(test_size * len(found))
        if count >= len(found):
            raise InputError(f"test_size = {test_size}: there are {len(found)} images; leave some for training")
        if count:
            taken[stratified_sample(targets, count)] = True
        rows = {"train": (~taken).nonzero()[:, 0], "test": taken.nonzero()[:, 0]}
    else:
        rows = {
            split: torch.tensor([row for row, other in enumerate(splits) if other == split], dtype=torch.int64)
            for split in ("train", "dev", "test")
        }
    order = torch.randperm(len(rows["train"]), generator=torch.Generator().manual_seed(0))
    rows["train"] = rows["train"][order]
    return {split: part for split, part in rows.items() if len(part)}


def _refuse(path: Path, found: Sequence[Found]) -> None:
    """Refuse files without training images, or with classes that only another split has."""
    by_split = {split: {entry.label for entry in found if entry.split == split} for split in (None, *SPLITS.values())}
    train = by_split[None] | by_split["train"]
    if not train:
        raise DataError(f"{path}: no training image that can be read; {EXPECTED}")
    for split in ("dev", "test"):
        if unknown := sorted(by_split[split] - train):
            raise DataError(
                f"{path}: the {split} split has classes that the train split lacks: {_few(unknown)}; "
                "add training images of them, or remove them"
            )


def _refuse_empty_classes(files: Files, top: str, found: Sequence[Found], splits: Sequence[str]) -> None:
    """Refuse folders of training classes (all that have no split) without an image."""
    starts = [f"{top}{split}/" for split in splits if SPLITS[split] == "train"] if splits else [top]
    known = {entry.label for entry in found}
    for folder in sorted(files.folders):
        for start in starts:
            name = folder.removeprefix(start)
            if folder.startswith(start) and name and "/" not in name and name not in known:
                raise DataError(f"{files.path / folder}: a class without an image; add some, or remove the folder")


def _refuse_sizes(path: Path, found: Sequence[Found], shapes: Sequence[tuple[int, ...]]) -> None:
    """Refuse images of different sizes; name each size with an example."""
    counts = Counter(shape[1:] for shape in shapes)
    if len(counts) < 2:
        return
    examples = {shape[1:]: entry.name for shape, entry in zip(shapes[::-1], found[::-1], strict=True)}
    told = [f"{w}×{h} ({n}, such as {examples[h, w]})" for (h, w), n in counts.most_common(NAMED)]
    height, width = counts.most_common(1)[0][0]
    raise DataError(
        f"{path}: images of {len(counts)} sizes (width×height): {', '.join(told)}{' …' * (len(counts) > NAMED)}; "
        f"have all made one size, such as data.size = [{height}, {width}] (height, width)"
    )


def _warn(path: Path, labels: Sequence[str], sets: Mapping[str, ImageSet]) -> None:
    """Warn of classes that cannot be learned or judged."""
    counts = {split: images.targets.bincount(minlength=len(labels)).tolist() for split, images in sets.items()}
    single = [label for label, count in zip(labels, counts["train"], strict=True) if count == 1]
    if single:
        warnings.warn(f"{path}: one training image only of {_few(single)}; add more", stacklevel=2)
    for split in ("dev", "test"):
        if split in counts and (absent := [labels[row] for row, count in enumerate(counts[split]) if not count]):
            warnings.warn(f"{path}: the {split} split has no image of {_few(absent)}", stacklevel=2)


def _top(images: Sequence[str]) -> str:
    """Return the folder, with "/" behind it, that an archive was packed with around everything; "" if none."""
    top = ""
    while True:
        parts = {tuple(name.removeprefix(top).split("/")[:3]) for name in images}
        first = {part[0] for part in parts}
        if len(first) > 1 or first & set(SPLITS) or any(len(part) < 3 for part in parts):
            return top
        top += f"{first.pop()}/"


def _not_images(files: Files, top: str) -> list[str]:
    """Return the other files; those that stand above all folders (a README) are nobody's mistake."""
    return [
        name
        for name in files.sizes
        if name.startswith(top) and "/" in name.removeprefix(top) and PurePosixPath(name).suffix.lower() not in SUFFIXES
    ]


def _entry(manifest: Path, where: str, row: Mapping[str, str | None]) -> Found:
    """Read a line of a table."""
    name, label = (row["path"] or "").strip(), (row["label"] or "").strip()
    split = (row.get("split") or "").strip()
    if not name or not label:
        raise DataError(f"{where}: path {name!r}, label {label!r}; expected both")
    place = PurePosixPath(name.replace("\\", "/"))
    if place.is_absolute() or ".." in place.parts or "\0" in name:
        raise DataError(f"{where}: {name!r} would lie outside of {manifest.parent}; expected a path below it")
    if not (manifest.parent / place).is_file():
        raise DataError(f"{where}: there is no file {manifest.parent / place}")
    if "split" in row and split not in SPLITS:
        raise DataError(f"{where}: split {split!r}; expected one of {', '.join(SPLITS)}")
    return Found(str(place), label, SPLITS[split] if "split" in row else None)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (" …" if len(names) > NAMED else "")
