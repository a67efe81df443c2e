"""How long text from files takes until the first step, and how much memory.

    python benchmarks/text_start.py --sentences 1000000
    python benchmarks/text_start.py --sentences 1000000 --labeled

A start is what happens before the first step: reading and checking the files, the vocabulary, the tensors, the
comparison of the splits, and the fingerprint.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from dlpipe.engine.memory import memory_in_use
from dlpipe_text.labeled_files import labeled
from dlpipe_text.labeled_text import LabeledText
from dlpipe_text.tagged_files import iob

DISTINCT = 20_000
TAGS = ("O", "O", "O", "B-city", "B-date")


def main() -> None:
    """Write the files, start once, and print the seconds and the bytes of each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=1_000_000)
    parser.add_argument("--labeled", action="store_true", help="texts with one label each instead of tagged words")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_split = write_labeled if options.labeled else write_tagged
        words = write_split(folder, "train", options.sentences)
        for split in ("dev", "test"):
            write_split(folder, split, max(10, options.sentences // 100))
        data = labeled(path=folder) if options.labeled else iob(path=folder)
        parts = {
            "read": lambda: data.texts("train") if isinstance(data, LabeledText) else data.sentences("train"),
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


def write_tagged(folder: Path, split: str, count: int) -> int:
    """Write sentences, one word with its tag a line, and return how many words they have."""
    total, generator = 0, np.random.default_rng(count)
    with (folder / f"{split}.iob").open("w", encoding="utf-8") as file:
        for words in sentences(count):
            tags = generator.integers(len(TAGS), size=len(words)).tolist()
            file.write("".join(f"{word} {TAGS[tag]}\n" for word, tag in zip(words, tags, strict=True)) + "\n")
            total += len(words)
    return total


def write_labeled(folder: Path, split: str, count: int) -> int:
    """Write a table of texts with labels, and return how many words they have."""
    total = 0
    with (folder / f"{split}.csv").open("w", encoding="utf-8") as file:
        file.write("text,label\n")
        for number, words in enumerate(sentences(count)):
            file.write(f"{' '.join(words)},label {number % 5}\n")
            total += len(words)
    return total


def sentences(count: int) -> Iterator[list[str]]:
    """Yield `count` sentences of 5 to 15 words; some are more frequent than others, though less than in a language."""
    generator = np.random.default_rng(count)
    vocabulary = [f"w{number % 97}x{number}" for number in range(DISTINCT)]
    for length in generator.integers(5, 16, count).tolist():
        yield [vocabulary[word] for word in (generator.random(length) ** 3 * DISTINCT).astype(int).tolist()]


if __name__ == "__main__":
    main()
