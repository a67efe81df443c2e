"""``vision.image_folder``: images in class folders, in an archive of them, or listed in a table.

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
PIL_MODES = {"auto": None, "grey": "L", "rgb": "RGB"}
#: Accepted folder names of each split.
SPLITS = {"train": "train", "dev": "dev", "val": "dev", "valid": "dev", "validation": "dev", "test": "test"}
EXPECTED_LAYOUT = "expected train/CLASS/*.png (and test/CLASS/*.png), or CLASS/*.png"
#: Images decoded before the next ones are submitted to the threads, and how many a thread takes at once.
BLOCK, CHUNK = 2048, 64
#: Most names that a message lists.
MAX_NAMED = 5


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
    """Your own images: one folder per class, an archive of such folders, or a table of files.

    Args:
        path: a folder with train/CLASS/*.png and optionally dev/ and test/; or with CLASS/*.png; or a .tar, .tar.gz or
            .zip of either; or a .csv with the columns path, label and optionally split.
        size: [height, width] to which all images are resized, or one number for both; the aspect ratio is kept, with a
            border. Required if their sizes differ.
        color: "grey", "rgb" or "auto", which is grey only if all images are grey.
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
        raise DataError("path is not set; give the folder of the images: --set data.path=DIR")
    source, max_bytes = path, resident_mb * 1_000_000
    shape = (size, size) if isinstance(size, int) else size

    def read() -> ImageSplits:
        if source.suffix.lower() == ".csv" and source.is_file():
            files, entries = read_table(source)
        else:
            files = open_files(source, max_bytes)
            entries = find_in_folders(files)
        decoder = Decoder(files, (shape[0], shape[1]) if shape else None, PIL_MODES[color])
        return read_images(decoder, entries, test_size=test_size, max_bytes=max_bytes, skip=unreadable == "skip")

    return LabelledImages(read, dev_size=dev_size, limit=limit, normalize=normalize, augment=augment, noise=noise)


@dataclass(frozen=True)
class ImageFile:
    """An image file, its class and, if the files define splits, its split."""

    name: str
    label: str
    split: str | None = None


@dataclass(frozen=True)
class Decoder:
    """Decodes image files.

    Args:
        size: (H, W) of the result; unchanged if None.
        mode: "L" or "RGB"; if None, whichever the image has.
    """

    files: Files
    size: tuple[int, int] | None
    mode: str | None

    def __call__(self, name: str) -> Tensor:
        """Return an image as bytes (C, H, W).

        Raises:
            InputError: the file cannot be read, or is not an image.
        """
        image = open_image(self.files.path / name, self.files.read(name))
        if self.mode and image.mode != self.mode:
            image = image.convert(self.mode)
        if self.size and image.size != (self.size[1], self.size[0]):
            image = fitted(image, self.size[1], self.size[0])
        return to_bytes(image)


class LazyImages(Sequence[Tensor]):
    """Images (C, H, W) that are decoded each time they are accessed."""

    def __init__(self, decoder: Decoder, names: Sequence[str]) -> None:
        self._decoder, self._names = decoder, names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, row: Any) -> Any:
        return self._decoder(self._names[row])


def find_in_folders(files: Files) -> list[ImageFile]:
    """Find the images of all classes in folders named after the classes, sorted by name.

    Raises:
        DataError: there are no classes, a class has no image, or two folders stand for the same split.
    """
    images = sorted(name for name in files.sizes if PurePosixPath(name).suffix.lower() in SUFFIXES)
    if not images:
        raise DataError(f"{files.path}: no image in it ({', '.join(sorted(SUFFIXES))}); {EXPECTED_LAYOUT}")
    root = _common_folder(images)
    below = {name: name.removeprefix(root).split("/") for name in images}
    splits = {parts[0] for parts in below.values() if parts[0] in SPLITS and len(parts) > 1}
    depth = 1 if splits else 0  # position of the class in the path
    entries, ignored = [], _not_images(files, root)
    for name, parts in below.items():
        if len(parts) > depth + 1 and (not splits or parts[0] in splits):
            entries.append(ImageFile(name, parts[depth], SPLITS[parts[0]] if splits else None))
        else:
            ignored.append(name)
    if not entries:
        raise DataError(
            f"{files.path}: {len(images)} images ({_abbreviated(images)}), but no class folders; {EXPECTED_LAYOUT}"
        )
    for split, twice in Counter(SPLITS[split] for split in splits).items():
        if twice > 1:
            names = ", ".join(sorted(name for name in splits if SPLITS[name] == split))
            raise DataError(f"{files.path}: {names} are all the {split} split; keep one of them")
    _check_no_empty_class(files, root, entries, sorted(splits))
    if ignored:
        warnings.warn(
            f"{files.path}: {len(ignored)} files are not images of a class: {_abbreviated(sorted(ignored))}",
            stacklevel=2,
        )
    return entries


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
                    f"{manifest}:1: no column {' and '.join(sorted(missing))}; "
                    "expected the columns path, label and optionally split"
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


def read_images(
    decoder: Decoder, entries: Sequence[ImageFile], *, test_size: int | float, max_bytes: int, skip: bool
) -> ImageSplits:
    """Decode images and divide them into splits.

    Args:
        test_size: how many images (an int) or which share of them (a float) to keep for the test split; used only
            if the files define no splits.
        max_bytes: most bytes of images to keep in memory; if they take more, they are decoded when they are needed.
        skip: skip files that cannot be read.

    Raises:
        InputError: see `open_image`; or images have different sizes, or classes are missing from the train split.
    """
    _check_classes(decoder.files.path, entries)
    entries, images = _decode_all(decoder, entries, max_bytes, skip)
    _check_classes(decoder.files.path, entries)
    labels = sorted({entry.label for entry in entries})
    targets = torch.tensor([labels.index(entry.label) for entry in entries])
    sets = {}
    for split, rows in _split_rows(entries, targets, test_size).items():
        names = [entries[row].name for row in rows.tolist()]
        kept: Tensor | LazyImages
        kept = (
            torch.stack([images[row] for row in rows.tolist()])
            if isinstance(images, list)
            else LazyImages(images, names)
        )
        path = decoder.files.path
        places = [path / name if path.is_dir() else path for name in names]
        sets[split] = ImageSet(kept, targets[rows], names, places)
    _warn_about_classes(decoder.files.path, labels, sets)
    return ImageSplits(labels, sets)


def _decode_all(
    decoder: Decoder, entries: Sequence[ImageFile], max_bytes: int, skip: bool
) -> tuple[list[ImageFile], list[Tensor] | Decoder]:
    """Decode every image once, so that a damaged file does not stop a run later.

    Returns:
        the readable files, and their images, all of one shape; or, if these take more than `max_bytes`, a decoder
        that gives images of one shape.
    """
    shapes: list[tuple[int, ...]] = []
    images: list[Tensor] = []
    readable, unreadable = [], []
    num_bytes = 0
    for entry, image in _decode_each(decoder, entries):
        if isinstance(image, InputError):
            if not skip:
                raise InputError(f'{image}; repair it, or skip such files: data.unreadable = "skip"') from image
            unreadable.append(entry.name)
            continue
        readable.append(entry)
        shapes.append(tuple(image.shape))
        num_bytes += image.nbytes
        if num_bytes <= max_bytes:
            images.append(image)
        else:
            images.clear()  # continue only to check that all files can be read
    if unreadable:
        message = (
            f"{decoder.files.path}: {len(unreadable)} files cannot be read and are skipped: {_abbreviated(unreadable)}"
        )
        warnings.warn(message, stacklevel=2)
    _check_sizes(decoder.files.path, readable, shapes)
    channels = max((shape[0] for shape in shapes), default=1)
    if len(images) < len(shapes) or sum(channels * math.prod(shape[1:]) for shape in shapes) > max_bytes:
        return readable, replace(decoder, mode="L" if channels == 1 else "RGB")
    return readable, [image.expand(channels, -1, -1) for image in images]


def _decode_each(decoder: Decoder, entries: Sequence[ImageFile]) -> Iterator[tuple[ImageFile, Tensor | InputError]]:
    """Yield each file with its image, or with the error."""

    def attempt(entry: ImageFile) -> Tensor | InputError:
        try:
            return decoder(entry.name)
        except InputError as error:
            return error

    def attempts(entries: Sequence[ImageFile]) -> list[tuple[ImageFile, Tensor | InputError]]:
        return [(entry, attempt(entry)) for entry in entries]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(entries), BLOCK):
            block = entries[start : start + BLOCK]
            for part in pool.map(attempts, [block[at : at + CHUNK] for at in range(0, len(block), CHUNK)]):
                yield from part


def _split_rows(entries: Sequence[ImageFile], targets: Tensor, test_size: int | float) -> dict[str, Tensor]:
    """Return the rows of each split; the training images are in a random order that is always the same."""
    splits = [entry.split for entry in entries]
    if None in splits:
        is_test = torch.zeros(len(entries), dtype=torch.bool)
        count = test_size if isinstance(test_size, int) else math.ceil(test_size * len(entries))
        if count >= len(entries):
            raise InputError(f"test_size = {test_size}: there are {len(entries)} images; leave some for training")
        if count:
            is_test[stratified_sample(targets, count)] = True
        rows = {"train": (~is_test).nonzero()[:, 0], "test": is_test.nonzero()[:, 0]}
    else:
        rows = {
            split: torch.tensor([row for row, other in enumerate(splits) if other == split], dtype=torch.int64)
            for split in ("train", "dev", "test")
        }
    order = torch.randperm(len(rows["train"]), generator=torch.Generator().manual_seed(0))
    rows["train"] = rows["train"][order]
    return {split: part for split, part in rows.items() if len(part)}


def _check_classes(path: Path, entries: Sequence[ImageFile]) -> None:
    """Refuse files without training images, or with classes that the train split lacks."""
    by_split = {split: {entry.label for entry in entries if entry.split == split} for split in (None, *SPLITS.values())}
    train = by_split[None] | by_split["train"]
    if not train:
        raise DataError(f"{path}: no training image that can be read; {EXPECTED_LAYOUT}")
    for split in ("dev", "test"):
        if unknown := sorted(by_split[split] - train):
            raise DataError(
                f"{path}: the {split} split has classes that the train split lacks: {_abbreviated(unknown)}; "
                "add training images of these classes, or remove them"
            )


def _check_no_empty_class(files: Files, root: str, entries: Sequence[ImageFile], splits: Sequence[str]) -> None:
    """Refuse class folders of the train split, or of data without splits, that contain no image."""
    starts = [f"{root}{split}/" for split in splits if SPLITS[split] == "train"] if splits else [root]
    classes = {entry.label for entry in entries}
    for folder in sorted(files.folders):
        for start in starts:
            name = folder.removeprefix(start)
            if folder.startswith(start) and name and "/" not in name and name not in classes:
                raise DataError(f"{files.path / folder}: this class has no images; add some, or remove the folder")


def _check_sizes(path: Path, entries: Sequence[ImageFile], shapes: Sequence[tuple[int, ...]]) -> None:
    """Refuse images of different sizes, with an example of each size."""
    counts = Counter(shape[1:] for shape in shapes)
    if len(counts) < 2:
        return
    examples = {shape[1:]: entry.name for shape, entry in zip(shapes[::-1], entries[::-1], strict=True)}
    sizes = [f"{w}×{h} ({n}, such as {examples[h, w]})" for (h, w), n in counts.most_common(MAX_NAMED)]
    height, width = counts.most_common(1)[0][0]
    raise DataError(
        f"{path}: images of {len(counts)} sizes (width×height): {', '.join(sizes)}{' …' * (len(counts) > MAX_NAMED)}; "
        f"resize all images, for example data.size = [{height}, {width}] (height, width)"
    )


def _warn_about_classes(path: Path, labels: Sequence[str], sets: Mapping[str, ImageSet]) -> None:
    """Warn about classes that cannot be learned or evaluated."""
    counts = {split: images.targets.bincount(minlength=len(labels)).tolist() for split, images in sets.items()}
    single = [label for label, count in zip(labels, counts["train"], strict=True) if count == 1]
    if single:
        warnings.warn(f"{path}: only one training image of {_abbreviated(single)}; add more", stacklevel=2)
    for split in ("dev", "test"):
        if split in counts and (absent := [labels[row] for row, count in enumerate(counts[split]) if not count]):
            warnings.warn(f"{path}: the {split} split has no image of {_abbreviated(absent)}", stacklevel=2)


def _common_folder(images: Sequence[str]) -> str:
    """Return the folder that contains everything in an archive, followed by "/"; "" if there is none."""
    root = ""
    while True:
        parts = {tuple(name.removeprefix(root).split("/")[:3]) for name in images}
        first = {part[0] for part in parts}
        if len(first) > 1 or first & set(SPLITS) or any(len(part) < 3 for part in parts):
            return root
        root += f"{first.pop()}/"


def _not_images(files: Files, root: str) -> list[str]:
    """Return files that are not images, except those in the top folder, such as a README."""
    return [
        name
        for name in files.sizes
        if name.startswith(root)
        and "/" in name.removeprefix(root)
        and PurePosixPath(name).suffix.lower() not in SUFFIXES
    ]


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
    if "split" in row and split not in SPLITS:
        raise DataError(f"{where}: split {split!r}; expected one of {', '.join(SPLITS)}")
    return ImageFile(str(path), label, SPLITS[split] if "split" in row else None)


def _abbreviated(names: Sequence[str]) -> str:
    return ", ".join(names[:MAX_NAMED]) + (" …" if len(names) > MAX_NAMED else "")
