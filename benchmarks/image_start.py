"""How long a run with images that do not fit into memory takes to start: the first time, and again.

    python benchmarks/image_start.py --images 10000 --size 256
    python benchmarks/image_start.py --images 10000 --size 256 --shards 10

A start is what happens before the first step: finding the files, decoding those that are not known, statistics, the
comparison of the splits, and the fingerprint.
"""

from __future__ import annotations

import argparse
import io
import os
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from dlpipe_vision.image_files import image_folder


def main() -> None:
    """Draw the images, start several times, and print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument(
        "--shards", type=int, default=0, help="number of tar files that the images are packed into; 0 reads folders"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["DLPIPE_CACHE"] = str(folder / "cache")
        draw(folder / "images", options.images, options.size)
        if options.shards:
            pack(folder / "images", folder / "shards", options.shards)
        path = folder / ("shards" if options.shards else "images")
        time.sleep(3)  # what has only just changed is not remembered
        for number, touched in enumerate((0, 0, 0, 1 if options.shards else 10), start=1):
            for changed in sorted(file for file in path.rglob("*") if file.is_file())[:touched]:
                changed.touch()
            began, used = time.perf_counter(), time.process_time()
            data = image_folder(path=path, resident_mb=1)
            data.state(), data.copies("train", "test"), data.fingerprint()
            took, used = time.perf_counter() - began, time.process_time() - used
            print(f"start {number} ({touched} files changed): {took:.2f} s, {used:.2f} s of CPU")


def draw(folder: Path, count: int, size: int) -> None:
    """Write `count` photograph-like images in ten classes: smooth colors with some noise."""
    generator = np.random.default_rng(0)
    for number in range(count):
        path = folder / str(number % 10) / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((size, size), Image.Resampling.BICUBIC).save(path, quality=90)


def pack(images: Path, shards: Path, count: int) -> None:
    """Put images, each with its class, into `count` shards in the format of WebDataset."""
    shards.mkdir()
    files = sorted(images.rglob("*.jpg"))
    for number in range(count):
        with tarfile.open(shards / f"{number:06}.tar", "w") as shard:
            for file in files[number::count]:
                label = tarfile.TarInfo(f"{file.stem}.cls")
                label.size = len(file.parent.name)
                shard.addfile(label, io.BytesIO(file.parent.name.encode()))
                shard.add(file, file.name)


if __name__ == "__main__":
    main()
