"""``text.parallel``: your own translations, or other pairs of texts.

They are in a *table* (.csv, .tsv, .jsonl) with a column for each side, or in *two files* of which the lines with the
same number belong together (``train.de`` and ``train.en``, also compressed), for each split.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from dlpipe.data import split_named, stratified_sample
from dlpipe.errors import DataError
from dlpipe.fields import NonNegative, OnlyWith, Positive
from dlpipe_text.corpus_files import OPENERS, lines_of
from dlpipe_text.iob import is_folder, listing, quoted
from dlpipe_text.labeled_files import SHARE
from dlpipe_text.parallel_text import Pair, ParallelText, is_text
from dlpipe_text.pieces import PieceUnit
from dlpipe_text.text_files import TABLES, Reader, contents

#: A split, and the name of its two files without the endings.
Names = Mapping[Literal["train", "dev", "test"], str]
#: The split of a pair, its source, its target, and where it is.
Row = tuple[str, str, str, str]


def parallel(
    *,
    path: Path | None = None,
    source: str = "source",
    target: str = "target",
    files: Names | None = None,
    split: str | None = None,
    encoding: str = "utf-8",
    test_size: Annotated[float, Field(gt=0, lt=1)] | None = None,
    dev_size: Annotated[float, Field(gt=0, lt=1)] | None = None,
    seed: NonNegative = 0,
    unit: PieceUnit = "word",
    num_subwords: Annotated[Positive, OnlyWith(unit="subword")] = 8000,
    lowercase: bool = False,
    min_count: Positive = 1,
    max_length: Positive | None = None,
) -> ParallelText:
    """Texts with translations (or answers) from your own files: a table, or two files with the same number of lines.

    Args:
        path: a .csv, .tsv or .jsonl file, or a folder with pairs of files such as train.de and train.en, also
            compressed (.gz, .bz2).
        source: column of the sources in a table, or ending of their files, such as "de".
        target: column of the targets in a table, or ending of their files, such as "en".
        files: names of the files of each split without their endings, such as { train = "train", dev = "val", test =
            "test_2016_flickr" }; by default those that are named after a split. Others are not read.
        split: column that names the split of each row of a table (train, dev, test).
        encoding: of the files, such as "cp1252", "big5" or "gb18030".
        test_size: share of the sources that is held out as the test split if the files have none; a tenth by default.
        dev_size: share of the other sources that is held out as the dev split if the files have none; a tenth by
            default.
        seed: seed of the random choice of what is held out.
        unit: what the model reads and writes one by one: words and marks (each Chinese character is a word), characters
            or subwords, which are learned from the training split.
        num_subwords: how many subwords there are at most, in each language.
        lowercase: convert all texts to lower case, those that are typed for `dlpipe predict` too.
        min_count: units that occur less often in training become "other", which a model never writes.
        max_length: number of units of a text that are used, the first ones; scores compare with whole targets.
    """
    if path is None:
        raise DataError("path is not given; give a table of pairs, or a folder of files: --set data.path=PATH")
    if source == target:
        raise DataError(f"source and target are both {quoted(source)}; expected two columns, or endings of files")

    @cache
    def splits() -> Mapping[str, list[Pair]]:
        found = _given(path, source, target, files, split, encoding)
        return _with_held_out(path, found, test_size, dev_size, seed)

    return ParallelText(
        lambda name: splits()[name],
        ("train", "dev", "test"),
        unit=unit,
        num_subwords=num_subwords,
        min_count=min_count,
        max_length=max_length,
        lowercase=lowercase,
    )


def _given(
    path: Path, source: str, target: str, files: Names | None, split: str | None, encoding: str
) -> dict[str, list[Pair]]:
    """Return the pairs of the splits that the files have; those of which a side is empty are left out."""
    if is_folder(path):
        if split is not None:
            raise DataError(f"split = {quoted(split)} has no effect: {path} is a folder of texts; remove it")
        used = _files_of(path, source, target, files)
        rows: Iterator[Row] = ((name, *row) for name, paths in used.items() for row in _lines(*paths, encoding))
        required = ["train", *used]
    else:
        if files:
            raise DataError(f"files has no effect: {path} is a table; remove it, or set split to a column")
        required, rows = ["train"], _table_rows(path, source, target, split, encoding)
    found: dict[str, list[Pair]] = defaultdict(list)
    empty = []
    for name, left, right, where in rows:
        if is_text(left) and is_text(right):
            found[name].append((left, right))
        else:
            empty.append(where)
    if empty:
        warnings.warn(f"pairs with an empty text are left out: {len(empty)}, the first at {empty[0]}", stacklevel=2)
    if without := [name for name in required if not found[name]]:
        there = ", ".join(name for name, pairs in found.items() if pairs)
        raise DataError(f"{path}: no pairs for {without[0]}, only for {there or 'no split'}; add some")
    return dict(found)


def _table_rows(path: Path, source: str, target: str, split: str | None, encoding: str) -> Iterator[Row]:
    """Yield the split, the source and the target of each row of a table, and where it is."""
    if path.suffix.lower() not in TABLES:
        raise DataError(
            f"{path}: a file of another kind; expected a table ({', '.join(TABLES)}), or the folder of two files such "
            "as train.de and train.en"
        )
    for row in Reader(source, target, split, encoding, ("source", "target")).rows([path]):
        yield row.split or "train", row.text, row.label, row.where


def _files_of(folder: Path, source: str, target: str, files: Names | None) -> dict[str, tuple[Path, Path]]:
    """Return the two files of each split."""
    sides = [_with_ending(folder, ending) for ending in (source, target)]
    both = [name for name in sides[0] if name in sides[1]]
    if not both:
        raise DataError(
            f"{folder}: no two files such as train.{source} and train.{target}, but {listing(folder)}; set source and "
            "target to the endings of the files"
        )
    alone = [side[name] for side in sides for name in side if name not in both and split_named(name)]
    if alone and not files:
        raise DataError(
            f"{folder}: {alone[0].name} is alone; expected two files, with the endings {source} and {target}. "
            "Add the other one, or remove it"
        )
    if files:
        if missing := [name for name in files.values() if name not in both]:
            raise DataError(
                f"{folder}: files names {quoted(missing[0])}, but {missing[0]}.{source} and {missing[0]}.{target} are "
                f"not both there; there are {', '.join(map(quoted, both))}"
            )
        return {split: (sides[0][name], sides[1][name]) for split, name in files.items()}
    named = {name: split_named(name) for name in both}
    found: dict[str, tuple[Path, Path]] = {}
    for name, split in named.items():
        if split is None or split in found:
            raise DataError(
                f"{folder}: which split is {quoted(name)}? There are {', '.join(map(quoted, both))}; choose with files "
                'such as { train = "train", dev = "val", test = "test_2016" }'
            )
        found[split] = sides[0][name], sides[1][name]
    return found


def _with_ending(folder: Path, ending: str) -> dict[str, Path]:
    """Return the files in a folder with an ending, perhaps compressed, by their names without it."""
    found: dict[str, Path] = {}
    for entry in contents(folder):
        name = entry.stem if entry.suffix.lower() in OPENERS else entry.name
        if name.endswith(f".{ending}"):
            stem = name.removesuffix(f".{ending}")
            if stem in found:
                raise DataError(f"{folder}: {found[stem].name} and {entry.name} are both there; remove one")
            found[stem] = entry
    return found


def _lines(source: Path, target: Path, encoding: str) -> Iterator[tuple[str, str, str]]:
    """Yield the lines of two files, and where they are."""
    number = 0
    for left, right in zip_longest(lines_of(source, encoding), lines_of(target, encoding)):
        if left is None or right is None:
            longer, shorter = (target, source) if left is None else (source, target)
            raise DataError(
                f"{shorter}: {number} lines, fewer than {longer.name}; expected as many, as lines with the same number "
                "belong together"
            )
        number = left[0]
        yield left[1], right[1], f"{source}:{number}"


def _with_held_out(
    path: Path, given: Mapping[str, list[Pair]], test_size: float | None, dev_size: float | None, seed: int
) -> dict[str, list[Pair]]:
    """Return train, dev and test: given ones, and for those that are not, the pairs of some sources of train."""
    found = dict(given)
    for name, size in (("test", test_size), ("dev", dev_size)):
        if name in found:
            if size is not None:
                raise DataError(
                    f"{name}_size = {size} has no effect: {path} has a {name} split of its own; remove {name}_size"
                )
            continue
        # All translations of one source are in one split.
        sources = list(dict.fromkeys(source for source, _ in found["train"]))
        chosen = {sources[number] for number in stratified_sample([""] * len(sources), size or SHARE, seed)}
        found[name] = [pair for pair in found["train"] if pair[0] in chosen]
        found["train"] = [pair for pair in found["train"] if pair[0] not in chosen]
        if not found[name] or not found["train"]:
            raise DataError(
                f"{path}: {len(sources)} different sources are too few to hold out a {name} split; add pairs, or give "
                f"the {name} split"
            )
    return found
