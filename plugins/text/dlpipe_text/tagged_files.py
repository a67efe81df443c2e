"""``text.iob`` and ``text.atis``: slot filling on labeled sentences from files."""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Annotated

import numpy as np

from dlpipe.data import Download, fetch
from dlpipe.errors import DataError, InputError
from dlpipe.fields import NonNegative, NotWith, Positive
from dlpipe_text.iob import find_splits, read_sentences
from dlpipe_text.packed_sentences import PackedSentences
from dlpipe_text.tagged_text import TaggedText

_JOINT_SLU = "https://raw.githubusercontent.com/yvchen/JointSLU/fad79658f343e98c1737fcfe563e76069b62f064/data"
ATIS = {
    "train": Download(
        f"{_JOINT_SLU}/atis.train.iob",
        sha256="c6206da7418792a2668a0bb8b79b7302519c56b25613cce532e1f6263a937dbc",
        size=845_666,
    ),
    "test": Download(
        f"{_JOINT_SLU}/atis.test.iob",
        sha256="408f441f87b3472df42c51f5d9e4431fa2dde62409174e28277e389f4bd58821",
        size=144_077,
    ),
}


def iob(
    *,
    path: Path | None = None,
    train: Path | None = None,
    dev: Path | None = None,
    test: Path | None = None,
    dev_size: Annotated[Positive | None, NotWith("dev")] = None,
    seed: NonNegative = 0,
    min_count: Positive = 1,
    lowercase: bool = False,
) -> TaggedText:
    """Labeled sentences from your own files, one token or one sentence per line.

    Args:
        path: the training file, or a folder with train.iob, dev.iob and test.iob (or .conll, .txt, .tsv), or with
            folders of seq.in and seq.out.
        train: the training file; overrides the one in `path`.
        dev: the dev file; overrides the one in `path`. Without one, sentences are split off the training file.
        test: the test file; overrides the one in `path`.
        dev_size: number of sentences to split off if there is no dev file; a tenth by default.
        seed: seed of this random split.
        min_count: words that occur less often in training become "other".
        lowercase: convert all words to lower case, those of the files and those of typed sentences. Without it, typed
            sentences are converted only if no training word has a capital letter.
    """
    named = {split: file for split, file in (("train", train), ("dev", dev), ("test", test)) if file is not None}
    if path is None and "train" not in named:
        raise DataError("neither path nor train is given; give the folder: --set data.path=DIR")
    files = (find_splits(path, **named) if path is not None else {}) | named
    return _from_files(files, dev_size, seed, min_count, lowercase)


def atis(
    *,
    path: Path | None = None,
    download: bool = False,
    dev_size: Positive = 500,
    seed: NonNegative = 0,
    min_count: Positive = 1,
    offline: bool = False,
) -> TaggedText:
    """Air-travel requests (ATIS), 4978 for training and 893 for testing, 127 tags.

    Args:
        path: a folder with atis.train.iob and atis.test.iob.
        download: download both files to the cache if `path` is not set (1 MB, verified by sha256).
        dev_size: number of sentences to split off the training file.
        seed: seed of this random split.
        min_count: words that occur less often in training become "other".
        offline: never access the network.
    """
    if path is None and not download:
        raise DataError(
            "path is not given; give the folder with atis.train.iob and atis.test.iob "
            "(--set data.path=DIR) or download them (--set data.download=true)"
        )
    if path is not None:
        files = {split: path / f"atis.{split}.iob" for split in ATIS}
    else:
        files = {split: fetch(source, offline=offline) for split, source in ATIS.items()}
    return _from_files(files, dev_size, seed, min_count, lowercase=False)


def _from_files(
    files: Mapping[str, Path], dev_size: int | None, seed: int, min_count: int, lowercase: bool
) -> TaggedText:
    if dev_size and "dev" in files:
        raise InputError(f"dev_size = {dev_size} has no effect: {files['dev']} is the dev split; remove dev_size")

    def read(split: str) -> PackedSentences:
        if split == "train":
            _warn_of_one_file_twice(files)
        if "dev" in files or split == "test":
            return read_sentences(files[split])
        sentences = read_sentences(files["train"])
        size = dev_size or max(1, len(sentences) // 10)
        if size >= len(sentences):
            raise DataError(
                f"dev_size = {size}: {files['train']} has {len(sentences)} sentences, so none would be left for "
                "training; set a smaller dev_size, or give a dev file"
            )
        is_dev = np.zeros(len(sentences), bool)
        is_dev[random.Random(seed).sample(range(len(sentences)), len(sentences))[:size]] = True
        return sentences.selected(is_dev if split == "dev" else ~is_dev)

    splits = [split for split in ("train", "dev", "test") if split in files or split == "dev"]
    return TaggedText(read, splits, min_count=min_count, lowercase=lowercase)


def _warn_of_one_file_twice(files: Mapping[str, Path]) -> None:
    for (first, file), (second, other) in combinations(files.items(), 2):
        if file.resolve() == other.resolve():
            warnings.warn(
                f"{first} and {second} are the same file: {file}; scores on {second} say nothing about new sentences",
                stacklevel=2,
            )
