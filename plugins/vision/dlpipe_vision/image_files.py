"""``vision.image_folder``: images in class folders, in an archive of them, in shards, or listed in a table.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

import math
import os
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import torch
from torch import Tensor

from dlpipe.data import Files, open_files, split_named
from dlpipe.errors import DataError, InputError
from dlpipe.fields import NonNegativeFloat, OpenFraction, Positive
from dlpipe.messages import counted
from dlpipe.progress import tracked
from dlpipe_vision.augment import Augment
from dlpipe_vision.image_manifest import ImageFacts, ImageManifest, num_bytes
from dlpipe_vision.image_sets import ImageSet, ImageSplits
from dlpipe_vision.image_shards import Shards, find_in_shards, shards_in
from dlpipe_vision.image_table import SPLITS, ImageFile, read_table
from dlpipe_vision.label_sampling import stratified_sample
from dlpipe_vision.labeled_images import LabeledImages, Normalize
from dlpipe_vision.picture import SUFFIXES, fitted, in_mode, open_image, to_tensor

Color = Literal["auto", "grey", "rgb"]
PIL_MODES = {"auto": None, "grey": "L", "rgb": "RGB"}
EXPECTED_LAYOUT = "expected train/CLASS/*.png (and test/CLASS/*.png), or CLASS/*.png"
#: Images decoded before the next ones are submitted to the threads, and how many a thread takes at once.
BLOCK, CHUNK = 2048, 64
#: Most names that a message lists.
MAX_NAMED = 5
#: Which share of the images, and of the remaining training images, is held out by default.
TEST_SIZE, DEV_SIZE = 0.2, 0.1


def image_folder(
    *,
    path: Path | None = None,
    size: tuple[Positive, Positive] | Positive | None = None,
    color: Color = "auto",
    unreadable: Literal["stop", "skip"] = "stop",
    test_size: OpenFraction | Positive | None = None,
    resident_mb: Positive = 2000,
    dev_size: OpenFraction | Positive | None = None,
    limit: Positive | None = None,
    normalize: Normalize = "standardize",
    augment: Augment | None = None,
    noise: NonNegativeFloat = 0.0,
) -> LabeledImages:
    """Your own images: one folder per class, an archive of such folders, shards, or a table of files.

    Args:
        path: a folder with train/CLASS/*.png and optionally dev/ and test/; or with CLASS/*.png; or a .tar, .tar.gz or
            .zip of either; or with shards in the format of WebDataset, such as train-000000.tar; or a .csv with the
            columns path, label and optionally split.
        size: [height, width] to which all images are resized, or one number for both; the aspect ratio is kept, with a
            border. Required if their sizes differ.
        color: "grey", "rgb" or "auto", which is grey only if all images are grey.
        unreadable: "stop" at a file that cannot be read, or "skip" such files with a warning.
        test_size: how many images to keep for the test split, or which share of them, evenly from all classes; a
            fifth by default. Only for files that define no splits.
        resident_mb: keep the images in memory if they take at most this many megabytes; otherwise read each one when
            it is needed.
        dev_size: how many training images to hold out as the dev split, or which share of them; a tenth by default.
            Only for files without a dev split.
        limit: use at most this many of the remaining training images, which are in random order.
        normalize: "standardize" (mean 0, standard deviation 1 over the training images, or over at most 2,000 of them,
            evenly spread, if not all are kept in memory), "unit" (0 to 1), "symmetric" (-1 to 1), "none" (0 to 255) or
            statistics of pixels from 0 to 1 by channel: { mean = […], std = […] }.
        augment: random changes to training images, such as { rotate = 15, shift = 1 }.
        noise: standard deviation of the noise added to every pixel (0 to 1) of evaluation images.
    """
    if path is None:
        raise DataError("path is not set; give the folder of the images: --set data.path=DIR")
    source, max_bytes = path, resident_mb * 1_000_000
    shape = (size, size) if isinstance(size, int) else size

    def read() -> ImageSplits:
        files, entries = find_images(source, max_bytes)
        if not data.is_restored:  # a trained model may be evaluated on files with other splits
            _refuse_without_effect(source, {entry.split for entry in entries}, test_size, dev_size)
        decoder = Decoder(files, (shape[0], shape[1]) if shape else None, PIL_MODES[color])
        held_out = TEST_SIZE if test_size is None else test_size
        return read_images(decoder, entries, test_size=held_out, max_bytes=max_bytes, skip=unreadable == "skip")

    held_out = DEV_SIZE if dev_size is None else dev_size
    data = LabeledImages(read, dev_size=held_out, limit=limit, normalize=normalize, augment=augment, noise=noise)
    return data


def find_images(path: Path, max_bytes: int) -> tuple[Files, list[ImageFile]]:
    """Find the images of a table, of shards, of an archive or of folders, with their classes and splits.

    Args:
        max_bytes: most bytes of an unpacked compressed tar, which is kept in memory.
    """
    if path.suffix.lower() == ".csv" and path.is_file():
        return read_table(path)
    if shards_in(path):
        shards = Shards.open(path)
        return shards, find_in_shards(shards)
    files = open_files(path, max_bytes, option="resident_mb")
    return files, find_in_folders(files)


def _refuse_without_effect(
    path: Path, splits: Collection[str | None], test_size: float | None, dev_size: float | None
) -> None:
    """Refuse a size of a split that the files define themselves."""
    if test_size and None not in splits:
        raise InputError(f"test_size = {test_size} has no effect: {path} defines the splits; remove test_size")
    if dev_size and "dev" in splits:
        raise InputError(f"dev_size = {dev_size} has no effect: {path} has a dev split; remove dev_size")


@dataclass(frozen=True)
class Decoder:
    """Decodes image files.

    Args:
        size: (H, W) of the result; unchanged if None.
        mode: "L" or "RGB"; if None, whichever the image has.
        floats: return floating point, as some images have more than 8 bits.
    """

    files: Files
    size: tuple[int, int] | None
    mode: str | None
    floats: bool = False

    def __call__(self, name: str) -> Tensor:
        """Return an image (C, H, W) as bytes, or as floating point from 0 to 255 if it has more than 8 bits.

        Raises:
            InputError: the file cannot be read, or is not an image.
        """
        image = in_mode(open_image(self.files.path / name, self.files.read(name)), self.mode)
        if self.size and image.size != (self.size[1], self.size[0]):
            image = fitted(image, self.size[1], self.size[0])
        pixels = to_tensor(image, self.mode)
        return pixels.float() if self.floats else pixels


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
    splits = _split_folders(below.values())
    depth = 1 if splits else 0  # position of the class in the path
    entries, ignored = [], _not_images(files, root)
    for name, parts in below.items():
        if len(parts) > depth + 1 and (not splits or parts[0] in splits):
            entries.append(ImageFile(name, parts[depth], splits.get(parts[0])))
        else:
            ignored.append(name)
    if not entries:
        raise DataError(
            f"{files.path}: {len(images)} images ({_abbreviated(images)}), but no class folders; {EXPECTED_LAYOUT}"
        )
    for split, twice in Counter(splits.values()).items():
        if twice > 1:
            names = ", ".join(sorted(name for name in splits if splits[name] == split))
            raise DataError(f"{files.path}: {names} are all the {split} split; keep one of them")
    _check_no_empty_class(files, root, entries, splits)
    if ignored:
        warnings.warn(
            f"{files.path}: left out {counted(len(ignored), 'file')}, no image of a class: "
            f"{_abbreviated(sorted(ignored))}",
            stacklevel=2,
        )
    return entries


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
    path = decoder.files.path
    _check_classes(path, entries)
    manifest = ImageManifest(decoder.files, (decoder.size, decoder.mode))
    facts, images = _decode_all(decoder, entries, manifest, max_bytes, skip)
    entries = [entry for entry in entries if entry.name in facts]
    _check_sizes(path, [(entry.name, facts[entry.name]) for entry in entries])
    _check_classes(path, entries)
    channels = max(each.channels for each in facts.values())
    floats = any(each.floats for each in facts.values())
    resident = len(images) == len(facts) and num_bytes(facts.values()) <= max_bytes
    lazy = replace(decoder, mode="L" if channels == 1 else "RGB", floats=floats)
    labels = in_order({entry.label for entry in entries})
    targets = torch.tensor([labels.index(entry.label) for entry in entries])
    sets = {}
    for split, rows in _split_rows(entries, targets, test_size).items():
        names = [entries[row].name for row in rows.tolist()]
        kept: Tensor | LazyImages = LazyImages(lazy, names)
        if resident:
            same = [images[name].float() if floats else images[name] for name in names]
            kept = torch.stack([image.expand(channels, -1, -1) for image in same])
        places = [decoder.files.place(name) for name in names]
        sets[split] = ImageSet(kept, targets[rows], names, places, [facts[name].key for name in names])
    if "train" in sets:
        _warn_about_single_images(path, labels, sets["train"])
    if resident:
        return ImageSplits(labels, sets, source=str(path))
    return ImageSplits(labels, sets, partial(manifest.statistics, how=(lazy.mode, floats)), str(path))


def _decode_all(
    decoder: Decoder, entries: Sequence[ImageFile], manifest: ImageManifest, max_bytes: int, skip: bool
) -> tuple[dict[str, ImageFacts], dict[str, Tensor]]:
    """Decode every image once, so that a damaged file does not stop a run later.

    Images that an earlier start has decoded are not decoded again, unless all of them are to be kept in memory.

    Returns:
        by name, what is known of each readable file, and its image; no images if they take more than `max_bytes`.
    """
    facts = manifest.known([entry.name for entry in entries])
    if num_bytes(facts.values()) <= max_bytes:
        facts = {}
    fits = not facts
    images: dict[str, Tensor] = {}
    unreadable, size = [], 0
    unknown = [entry for entry in entries if entry.name not in facts]
    for entry, image in tracked(_decode_each(decoder, unknown), "reading images", len(unknown)):
        if isinstance(image, InputError):
            if not skip:
                raise InputError(f'{image}; repair it, or skip such files: data.unreadable = "skip"') from image
            unreadable.append(entry.name)
            continue
        facts[entry.name], images[entry.name] = ImageFacts.of(image), image
        size += image.nbytes
        fits = fits and size <= max_bytes
        if not fits:
            images.clear()  # continue only to check that all files can be read
    if unreadable:
        skipped = f"skipped {counted(len(unreadable), 'file')} that cannot be read"
        warnings.warn(f"{decoder.files.path}: {skipped}: {_abbreviated(unreadable)}", stacklevel=2)
    manifest.keep(facts)
    return facts, images


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
            for split in SPLITS
        }
    order = torch.randperm(len(rows["train"]), generator=torch.Generator().manual_seed(0))
    rows["train"] = rows["train"][order]
    return {split: part for split, part in rows.items() if len(part)}


def in_order(labels: Collection[str]) -> list[str]:
    """Return classes in the order of their names, numbers in the order of their values."""
    numbers = all(label.isascii() and label.isdecimal() for label in labels)
    return sorted(labels, key=lambda label: (int(label) if numbers else 0, label))


def _check_classes(path: Path, entries: Sequence[ImageFile]) -> None:
    """Refuse files without images, or with classes that the train split lacks, if there is one."""
    if not entries:
        raise DataError(f"{path}: no image that can be read; {EXPECTED_LAYOUT}")
    by_split = {split: {entry.label for entry in entries if entry.split == split} for split in (None, *SPLITS)}
    train = by_split[None] | by_split["train"]
    for split in ("dev", "test"):
        if train and (unknown := sorted(by_split[split] - train)):
            raise DataError(
                f"{path}: the {split} split has classes that the train split lacks: {_abbreviated(unknown)}; "
                "add training images of these classes, or remove them"
            )


def _check_no_empty_class(files: Files, root: str, entries: Sequence[ImageFile], splits: Mapping[str, str]) -> None:
    """Refuse class folders of the train split, or of data without splits, that contain no image."""
    starts = [f"{root}{name}/" for name, split in splits.items() if split == "train"] if splits else [root]
    classes = {entry.label for entry in entries}
    for folder in sorted(files.folders):
        for start in starts:
            name = folder.removeprefix(start)
            if folder.startswith(start) and name and "/" not in name and name not in classes:
                raise DataError(f"{files.path / folder}: this class has no images; add some, or remove the folder")


def _check_sizes(path: Path, images: Sequence[tuple[str, ImageFacts]]) -> None:
    """Refuse images of different sizes, with an example of each size."""
    counts = Counter((facts.height, facts.width) for _, facts in images)
    if len(counts) < 2:
        return
    examples = {(facts.height, facts.width): name for name, facts in reversed(images)}
    sizes = [f"{w}×{h} ({n}, such as {examples[h, w]})" for (h, w), n in counts.most_common(MAX_NAMED)]
    height, width = counts.most_common(1)[0][0]
    raise DataError(
        f"{path}: images of {len(counts)} sizes (width×height): {', '.join(sizes)}{' …' * (len(counts) > MAX_NAMED)}; "
        f"resize all images, for example data.size = [{height}, {width}] (height, width)"
    )


def _warn_about_single_images(path: Path, labels: Sequence[str], train: ImageSet) -> None:
    """Warn about classes with one training image."""
    counts = train.targets.bincount(minlength=len(labels)).tolist()
    if single := [label for label, count in zip(labels, counts, strict=True) if count == 1]:
        warnings.warn(f"{path}: only one training image of {_abbreviated(single)}; add more", stacklevel=2)


def _split_folders(paths: Iterable[Sequence[str]]) -> dict[str, str]:
    """Return which of the top folders are splits, by name.

    Classes may be called "valid" and "invalid": such a name alone, without folders of classes below, is a class.
    """
    depths: dict[str, int] = {}
    for parts in paths:
        depths[parts[0]] = max(len(parts), depths.get(parts[0], 0))
    folders = [name for name, depth in depths.items() if depth > 1]
    splits = {name: split for name in folders if (split := split_named(name)) is not None}
    are_classes = len(splits) < len(folders) and "train" not in splits.values() and all(depths[n] < 3 for n in splits)
    return {} if are_classes else splits


def _common_folder(images: Sequence[str]) -> str:
    """Return the folder that contains everything in an archive, followed by "/"; "" if there is none."""
    root = ""
    while True:
        parts = {tuple(name.removeprefix(root).split("/")[:3]) for name in images}
        first = {part[0] for part in parts}
        if len(first) > 1 or any(map(split_named, first)) or any(len(part) < 3 for part in parts):
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


def _abbreviated(names: Sequence[str]) -> str:
    return ", ".join(names[:MAX_NAMED]) + (" …" if len(names) > MAX_NAMED else "")
