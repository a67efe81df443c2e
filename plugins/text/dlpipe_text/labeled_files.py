"""``text.labeled``: classification of your own texts."""

from __future__ import annotations

import sys
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from dlpipe.data import stratified_fold, stratified_sample
from dlpipe.errors import DataError, InputError
from dlpipe.fields import NonNegative, NotWith, OnlyWith, Positive
from dlpipe_text.labeled_text import LabeledText, Text
from dlpipe_text.segmenters import Segmenter, segment_by
from dlpipe_text.text_files import Reader, find_sources
from dlpipe_text.text_units import Unit

Share = Annotated[float, Field(gt=0, lt=1)]
Folds = Annotated[int, Field(ge=2)]
SHARE = 0.1  # of the texts of each class, held out where nothing else is said


def labeled(
    *,
    path: Path | None = None,
    text: str = "text",
    label: str = "label",
    split: str | None = None,
    encoding: str = "utf-8",
    fold: Positive | None = None,
    folds: Annotated[Folds, OnlyWith("fold")] = 10,
    test_size: Annotated[Share | None, NotWith("fold")] = None,
    dev_size: Share | None = None,
    drop_copies: bool = False,
    seed: NonNegative = 0,
    unit: Unit = "word",
    segmenter: Annotated[Segmenter | None, OnlyWith(unit="word")] = None,
    lowercase: bool = True,
    ngrams: NonNegative = 0,
    char_ngrams: Annotated[NonNegative, OnlyWith(unit="word")] = 0,
    min_count: Positive = 1,
    max_length: Positive | None = None,
) -> LabeledText:
    """Texts with one label each from your own files: tables, one file per class, or one folder per class.

    Args:
        path: a .csv, .tsv or .jsonl file; a folder with one text file per class (one text per line), or one folder per
            class (one text per file); or a folder with these for train, dev and test.
        text: column of the texts in a table.
        label: column of the labels in a table.
        split: column that names the split of each row of a table (train, dev, test).
        encoding: of the files, such as "cp1252", "big5" or "gb18030".
        fold: for cross-validation: which part of the texts is the test split, from 1 to `folds`.
        folds: number of parts, with the same share of each class in all.
        test_size: share of each class that is held out as the test split if the files have none; a tenth by default.
        dev_size: share of each class of the other texts that is held out as the dev split if the files have none; a
            tenth by default.
        drop_copies: leave out of dev and test the texts that also occur in train, which a model may know by heart.
        seed: seed of the random choice of folds and of what is held out.
        unit: what the model reads one by one; each Chinese character is a word, unless there is a segmenter.
        segmenter: what splits Chinese text into words.
        lowercase: convert all texts to lower case, those that are typed for `dlpipe predict` too. Without it, a typed
            text is converted if no training text has a capital letter.
        ngrams: also count sequences of up to this many units, for text.ngram_classifier; 0 counts none.
        char_ngrams: among the n-grams, also count sequences of up to this many characters, blanks included.
        min_count: units and n-grams that occur less often in training become "other".
        max_length: number of units of a text that are used, the first ones.
    """
    if path is None:
        raise DataError("path is not given; give a table of texts, or a folder: --set data.path=PATH")
    if fold is not None and fold > folds:
        raise InputError(f"fold = {fold}: there are {folds} folds; expected a whole number from 1 to {folds}")
    reader = Reader(text, label, split, encoding)

    @cache
    def parts() -> dict[str, list[Text]]:
        texts = _split(path, _given_splits(path, reader), fold, folds, test_size, dev_size, seed)
        return _without_copies(path, texts) if drop_copies else texts

    return LabeledText(
        lambda name: parts()[name],
        ("train", "dev", "test"),
        unit=unit,
        segment=segment_by(segmenter),
        min_count=min_count,
        max_length=max_length,
        ngrams=ngrams,
        char_ngrams=char_ngrams,
        lowercase=lowercase,
    )


def _split(
    path: Path,
    given: Mapping[str, list[Text]],
    fold: int | None,
    folds: int,
    test_size: float | None,
    dev_size: float | None,
    seed: int,
) -> dict[str, list[Text]]:
    """Return train, dev and test: the splits that the files give, and parts of train for those that they do not."""
    for name, value in (("test_size", test_size), ("fold", fold), ("dev_size", dev_size)):
        own = "dev" if name == "dev_size" else "test"
        if value is not None and own in given:
            raise DataError(f"{name} = {value} has no effect: {path} has a {own} split of its own; remove {name}")
    found, texts = dict(given), given["train"]
    if "test" not in found:
        labels = [label for _, label in texts]
        if fold is not None:
            chosen = stratified_fold(labels, fold, folds, seed)
        else:
            chosen = stratified_sample(labels, test_size or SHARE, seed)
        texts, found["test"] = _divided(texts, chosen)
    if "dev" not in found:
        chosen = stratified_sample([label for _, label in texts], dev_size or SHARE, seed)
        texts, found["dev"] = _divided(texts, chosen)
    found["train"] = texts
    for name, part in found.items():
        if not part:
            raise DataError(f"{path}: no texts for the {name} split; add texts, or change the sizes of the splits")
    return found


def _given_splits(path: Path, reader: Reader) -> dict[str, list[Text]]:
    """Return the texts of the splits that the files have, at least those of train; empty texts are left out."""
    found: dict[str, list[Text]] = defaultdict(list)
    empty = []
    sources = find_sources(path)
    reader.check_columns(path, sources)
    for name, paths in sources.items():
        for row in reader.rows(paths):
            if row.text.strip():
                # All texts with a label share one string of it.
                found[row.split or name].append((row.text, sys.intern(row.label)))
            else:
                empty.append(row.where)
    if empty:
        warnings.warn(f"empty texts are left out: {len(empty)}, the first one at {empty[0]}", stacklevel=2)
    if "train" not in found:
        raise DataError(f"{path}: no texts for training, only for {', '.join(found) or 'no split'}; add some")
    return dict(found)


def _without_copies(path: Path, texts: Mapping[str, list[Text]]) -> dict[str, list[Text]]:
    """Return the splits without the texts of dev and test that also occur in train; their numbers are a warning."""
    known = {text for text, _ in texts["train"]}
    left = {name: part if name == "train" else [t for t in part if t[0] not in known] for name, part in texts.items()}
    for name, part in left.items():
        if not part:
            raise DataError(
                f"{path}: all {len(texts[name])} texts of {name} also occur in train, so drop_copies = true leaves "
                "none; use other texts, or remove drop_copies"
            )
        if dropped := len(texts[name]) - len(part):
            warnings.warn(
                f"left out of {name}: {dropped} of {len(texts[name])} texts, which are in train", stacklevel=2
            )
    return left


def _divided(texts: Sequence[Text], chosen: set[int]) -> tuple[list[Text], list[Text]]:
    """Return the texts whose numbers are not chosen, and those whose numbers are."""
    left = [text for number, text in enumerate(texts) if number not in chosen]
    return left, [text for number, text in enumerate(texts) if number in chosen]
