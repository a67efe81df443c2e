"""How long a run with images that do not fit into memory takes to start: the first time, and again.

    python benchmarks/image_start.py --images 10000 --size 256

A start is what happens before the first step: finding the files, decoding those that are not known, statistics, the
comparison of the splits, and the fingerprint.
"""

from __future__ import annotations

import argparse
import os
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
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["DLPIPE_CACHE"] = str(folder / "cache")
        draw(folder / "images", options.images, options.size)
        time.sleep(3)  # what has only just changed is not remembered
        for number, touched in enumerate((0, 0, 0, 10), start=1):
            for image in sorted((folder / "images").glob("0/*.jpg"))[:touched]:
                image.touch()
            began = time.perf_counter()
            data = image_folder(path=folder / "images", resident_mb=1)
            data.state(), data.copies("train", "test"), data.fingerprint()
            print(f"start {number} ({touched} images changed): {time.perf_counter() - began:.2f} s")


def draw(folder: Path, count: int, size: int) -> None:
    """Write `count` photograph-like images in ten classes: smooth colours with some noise."""
    generator = np.random.default_rng(0)
    for number in range(count):
        path = folder / str(number % 10) / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((size, size), Image.Resampling.BICUBIC).save(path, quality=90)


if __name__ == "__main__":
    main()
