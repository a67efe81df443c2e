"""How long tagged sentences from files take until the first step, and how much memory.

    python benchmarks/text_start.py --sentences 1000000

A start is what happens before the first step: reading and checking the files, the vocabulary, the tensors, the
comparison of the splits, and the fingerprint.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from dlpipe.engine.memory import memory_in_use
from dlpipe_text.tagged_files import iob

DISTINCT = 20_000
TAGS = ("O", "O", "O", "B-city", "B-date")


def main() -> None:
    """Write the files, start once, and print the seconds and the bytes of each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = write(folder / "train.iob", options.sentences)
        for split in ("dev", "test"):
            write(folder / f"{split}.iob", max(10, options.sentences // 100))
        data = iob(path=folder)
        parts = {
            "read": lambda: data.sentences("train"),
            "vocabulary": data.state,
            "tensors": lambda: list(map(data.split, data.splits)),
            "comparison of the splits": lambda: [data.copies(split, "train") for split in ("dev", "test")],
            "fingerprint": data.fingerprint,
        }
        resident = memory_in_use(torch.device("cpu"))
        first, began = resident(), time.process_time()
        for part, do in parts.items():
            memory, seconds = resident(), time.process_time()
            do()
            seconds, memory = time.process_time() - seconds, resident() - memory
            print(f"{part}: {seconds:.1f} s of CPU, {memory / words:.1f} bytes a word more")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - first
        print(
            f"{options.sentences:,} sentences, {words:,} words of which {DISTINCT:,} are distinct: "
            f"{time.process_time() - began:.1f} s of CPU, {(resident() - first) / words:.1f} bytes a word, "
            f"at most {peak / words:.1f}"
        )


def write(path: Path, count: int) -> int:
    """Write `count` sentences of 5 to 15 words, one word a line, and return how many words they have."""
    generator = np.random.default_rng(count)
    vocabulary = [f"w{number % 97}x{number}" for number in range(DISTINCT)]
    total = 0
    with path.open("w", encoding="utf-8") as file:
        for length in generator.integers(5, 16, count).tolist():
            # Frequent words are more frequent than rare ones, though not as much as in a language.
            words = (generator.random(length) ** 3 * DISTINCT).astype(int).tolist()
            tags = generator.integers(len(TAGS), size=length).tolist()
            rows = [f"{vocabulary[word]} {TAGS[tag]}\n" for word, tag in zip(words, tags, strict=True)]
            file.write("".join(rows) + "\n")
            total += length
    return total


if __name__ == "__main__":
    main()
