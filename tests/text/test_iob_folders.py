"""Folders of labeled sentences: how the files of the splits are found."""

import re
from pathlib import Path

import pytest

from dlpipe.errors import DataError
from dlpipe_text.iob import find_splits, read_sentences


def refused(path, message):
    """Check that looking for splits raises DataError with this text, which names the path."""
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        find_splits(path)
    assert path.name in str(caught.value)


def test_a_folder_without_read_permission_is_refused(tmp_path, monkeypatch):
    def no_right(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", no_right)

    refused(tmp_path, "cannot be read ([Errno 13] Permission denied")


@pytest.fixture
def folder_with(write, tmp_path):
    """Create files with these names and return their folder."""

    def make(*names):
        for name in names:
            write("yes O\n", f"data/{name}")
        return tmp_path / "data"

    return make


def names_in(splits):
    return {split: path.name for split, path in splits.items()}


@pytest.mark.parametrize("dev", ["dev.iob", "valid.conll", "validation.tsv"])
def test_splits_are_found_by_exact_name(folder_with, dev):
    folder = folder_with("train.iob", dev, "test.txt", "README.md", "other.train.iob", "other.test.iob")

    splits = find_splits(folder)

    assert names_in(splits) == {"train": "train.iob", "dev": dev, "test": "test.txt"}
    assert splits["train"] == folder / "train.iob"


@pytest.mark.parametrize(
    "names",
    [
        ("Train.IOB", "Dev.IOB", "Test.IOB"),
        ("training.txt", "validation.txt", "testing.txt"),
        ("atis.train_set.tsv", "atis.val_set.tsv", "atis.test_set.tsv"),
    ],
)
def test_splits_are_found_by_their_common_names_in_any_case(folder_with, names):
    assert names_in(find_splits(folder_with(*names))) == dict(zip(("train", "dev", "test"), names, strict=True))


def test_splits_are_found_by_the_prefix_they_share(folder_with):
    folder = folder_with("atis.train.iob", "atis.train.w-intent.iob", "atis.test.iob", "snips.dev.iob", "test.iob")

    assert names_in(find_splits(folder)) == {"train": "atis.train.iob", "test": "atis.test.iob"}


def test_splits_are_found_as_sub_folders_of_parallel_files(folder_with):
    folder = folder_with("train/seq.in", "train/seq.out", "valid/seq.in", "valid/seq.out", "test/notes.txt")

    assert names_in(find_splits(folder)) == {"train": "train", "dev": "valid"}


def test_a_path_that_can_be_read_directly_is_the_train_split(folder_with):
    folder = folder_with("train/seq.in", "train/seq.out", "mine.iob")

    assert find_splits(folder / "train") == {"train": folder / "train"}
    assert find_splits(folder / "mine.iob") == {"train": folder / "mine.iob"}


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["train.iob", "train.txt"], "2 candidates for train: train.iob, train.txt"),
        (["train.iob", "train/seq.in", "train/seq.out"], "2 candidates for train: train, train.iob"),
        (["a.train.iob", "b.train.iob"], "2 candidates for train: a.train.iob, b.train.iob"),
        (["train.iob", "dev.iob", "valid.iob"], "2 candidates for dev: dev.iob, valid.iob"),
        (["a.train.iob", "a.test.iob", "a.test.tsv"], "2 candidates for test: a.test.iob, a.test.tsv"),
    ],
)
def test_ambiguous_splits_are_refused_with_the_candidates(folder_with, names, found):
    refused(folder_with(*names), f"{found}; expected one. Set train, dev and test")


def test_a_folder_without_train_split_is_refused(folder_with):
    folder = folder_with("test.iob", "train.csv")

    refused(folder, "no train split in this folder, which contains test.iob, train.csv; expected train")


def test_an_empty_folder_is_refused(tmp_path):
    refused(tmp_path, "no train split in this folder, which contains nothing; expected train")


def test_a_long_listing_is_truncated(folder_with):
    folder = folder_with(*(f"{number}.csv" for number in range(11)))

    refused(folder, "6.csv and 3 more; expected train")


# The real files


@pytest.fixture
def atis_folder(real_data):
    folder = real_data / "atis"
    if not folder.is_dir():
        pytest.skip(f"the ATIS files are not at {folder}")
    return folder


@pytest.mark.parametrize(
    ("name", "num_sentences", "num_words"),
    [("atis.train.iob", 4978, 56200), ("atis.test.w-intent.iob", 893, 9164), ("atis-2.dev.iob", 500, 5703)],
)
def test_atis_is_read_word_for_word_with_its_tags_unchanged(atis_folder, name, num_sentences, num_words):
    sentences = read_sentences(atis_folder / name)

    raw = [line.split("\t") for line in (atis_folder / name).read_text().splitlines()]
    assert list(sentences) == [(words.split()[1:-1], tags.split()[1:-1]) for words, tags in raw]
    assert (len(sentences), sum(len(words) for words, _ in sentences)) == (num_sentences, num_words)


def test_atis_in_parallel_files_has_the_same_tags(atis_folder):
    splits = find_splits(atis_folder / "slotgated")

    assert [len(read_sentences(splits[split])) for split in ("train", "dev", "test")] == [4478, 500, 893]
    assert [tags for _, tags in read_sentences(splits["test"])] == [
        tags for _, tags in read_sentences(atis_folder / "atis.test.iob")
    ]


def test_the_atis_folder_is_ambiguous(atis_folder):
    refused(atis_folder, "2 candidates for train: atis-2.train.iob, atis.train.iob")
