from __future__ import annotations

import gzip
import json

import pytest

from dlpipe.errors import DataError
from dlpipe_text.parallel_files import parallel

PAIRS = [(f"eins {number}", f"one {number}") for number in range(40)]


def lines(pairs, side):
    return "".join(f"{pair[side]}\n" for pair in pairs)


@pytest.fixture
def folder(write, tmp_path):
    """A folder with two files for each split, of which those of train are compressed."""
    for name, pairs in {"train": PAIRS, "val": PAIRS[:3], "test": PAIRS[3:5]}.items():
        for side, ending in enumerate(("de", "en")):
            text = lines(pairs, side)
            if name == "train":
                write(gzip.compress(text.encode()), f"{name}.{ending}.gz")
            else:
                write(text, f"{name}.{ending}")
    write("about", "README.md")
    return tmp_path


def test_lines_with_the_same_number_belong_together(folder):
    data = parallel(path=folder, source="de", target="en")

    assert data.pairs("train") == PAIRS
    assert data.pairs("dev") == PAIRS[:3]
    assert parallel(path=folder, source="en", target="de").pairs("test") == [(b, a) for a, b in PAIRS[3:5]]


def test_files_of_other_names_are_chosen(folder, write):
    for ending in ("de", "en"):
        (folder / f"test.{ending}").rename(folder / f"test_2016.{ending}")
        write("a\n", f"test_2017.{ending}")

    with pytest.raises(
        DataError,
        match=r'which split is "test_201[67]"\? There are .*; choose with files such as \{ train = "train", dev = "val"',
    ):
        parallel(path=folder, source="de", target="en").pairs("train")
    files = {"train": "train", "test": "test_2016"}
    data = parallel(path=folder, source="de", target="en", files=files)

    assert data.pairs("test") == PAIRS[3:5]
    assert len(data.pairs("dev")) == 4  # held out, since `files` does not name them
    with pytest.raises(
        DataError, match=r'files names "test_2018", but test_2018.de and test_2018.en are not both there'
    ):
        parallel(path=folder, source="de", target="en", files={"train": "train", "test": "test_2018"}).pairs("train")


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_tables_have_a_column_for_each_side(write, ending):
    if ending == "jsonl":
        text = "".join(json.dumps({"de": source, "en": target}) + "\n" for source, target in PAIRS)
    else:
        sign = {"csv": ",", "tsv": "\t"}[ending]
        text = f"de{sign}en\n" + "".join(f"{source}{sign}{target}\n" for source, target in PAIRS)
    data = parallel(path=write(text, f"pairs.{ending}"), source="de", target="en", test_size=0.2, dev_size=0.25)

    assert [len(data.pairs(split)) for split in ("train", "dev", "test")] == [24, 8, 8]
    assert sorted(pair for split in data.splits for pair in data.pairs(split)) == sorted(PAIRS)


def test_a_column_says_the_split(write):
    rows = [f"{source},{target},{'train' if number % 2 else 'valid'}" for number, (source, target) in enumerate(PAIRS)]
    data = parallel(path=write("source,target,part\n" + "\n".join(rows), "a.csv"), split="part", test_size=0.1)

    assert data.pairs("dev") == PAIRS[::2]
    assert len(data.pairs("test")) == 2


def test_all_translations_of_a_source_are_in_one_split(write):
    rows = [f"{source},{target} {number}\n" for source, target in PAIRS for number in range(3)]
    data = parallel(path=write("source,target\n" + "".join(rows), "a.csv"))

    sources = [{source for source, _ in data.pairs(split)} for split in data.splits]
    assert len(set.union(*sources)) == sum(map(len, sources)) == len(PAIRS)
    assert len(data.pairs("test")) == 3 * len(sources[2])


def test_pairs_with_an_empty_text_are_left_out_with_a_warning(folder, write):
    write("\n" + lines(PAIRS[1:3], 0), "val.de")

    with pytest.warns(UserWarning, match=r"pairs with an empty text are left out: 1, the first at .*val.de:1"):
        assert parallel(path=folder, source="de", target="en").pairs("dev") == PAIRS[1:3]


def test_a_split_with_one_file_or_without_pairs_is_refused(folder, write):
    write("", "val.en")
    write("", "val.de")
    with pytest.raises(DataError, match=r"no pairs for dev, only for (train, test|test, train); add some"):
        parallel(path=folder, source="de", target="en").pairs("train")
    (folder / "val.en").unlink()
    with pytest.raises(
        DataError,
        match=r"val.de is alone; expected two files, with the endings de and en. Add the other one, or remove it",
    ):
        parallel(path=folder, source="de", target="en").pairs("train")
    assert len(parallel(path=folder, source="de", target="en", files={"train": "train"}).pairs("test")) == 4


def test_a_file_with_fewer_lines_is_named(folder, write):
    write(lines(PAIRS[:2], 1), "val.en")

    with pytest.raises(
        DataError, match=r"val.en: 2 lines, fewer than val.de; expected as many, as lines with the same number belong"
    ):
        parallel(path=folder, source="de", target="en").pairs("train")


def test_what_is_not_there_is_said(folder, write, tmp_path):
    with pytest.raises(DataError, match=r"path is not given; give a table of pairs, or a folder of files"):
        parallel()
    with pytest.raises(DataError, match=r'source and target are both "de"; expected two columns, or endings of files'):
        parallel(path=folder, source="de", target="de")
    with pytest.raises(
        DataError, match=r"no two files such as train.source and train.target, but .*; set source and target to the"
    ):
        parallel(path=folder).pairs("train")
    with pytest.raises(DataError, match=r'split = "part" has no effect: .* is a folder of texts; remove it'):
        parallel(path=folder, source="de", target="en", split="part").pairs("train")
    with pytest.raises(
        DataError, match=r"test_size = 0.5 has no effect: .* has a test split of its own; remove test_size"
    ):
        parallel(path=folder, source="de", target="en", test_size=0.5).pairs("train")
    with pytest.raises(
        DataError, match=r"a.txt: a file of another kind; expected a table \(.csv, .tsv, .jsonl\), or the"
    ):
        parallel(path=write("a", "a.txt")).pairs("train")
    table = write("a,b\n1,2\n", "a.csv")
    with pytest.raises(
        DataError, match=r'a.csv:1: no column "source"; there are "a", "b".* Set source, target and split'
    ):
        parallel(path=table).pairs("train")
    with pytest.raises(
        DataError, match=r"files has no effect: .*a.csv is a table; remove it, or set split to a column"
    ):
        parallel(path=table, source="a", target="b", files={"train": "a"}).pairs("train")
    with pytest.raises(
        DataError, match=r"1 different sources are too few to hold out a test split; add pairs, or give"
    ):
        parallel(path=table, source="a", target="b").pairs("train")
    write("x", "train.de")
    with pytest.raises(DataError, match=r"train.de and train.de.gz are both there; remove one"):
        parallel(path=folder, source="de", target="en").pairs("train")
