from __future__ import annotations

import pytest

from dlpipe.errors import DataError, InputError
from dlpipe_text.tagged_files import atis, iob


def write(path, count, start=0):
    path.write_text("".join(f"leave city{number}\tO B-from\n" for number in range(start, start + count)))
    return path


def test_without_a_dev_file_sentences_are_split_off_by_seed(tmp_path):
    write(tmp_path / "train.iob", 20)

    splits = [iob(path=tmp_path, dev_size=5, seed=seed) for seed in (1, 1, 2)]

    dev = [[words[1] for words, _ in data.sentences("dev")] for data in splits]
    train = [words[1] for words, _ in splits[0].sentences("train")]
    assert dev[0] == dev[1] != dev[2]
    assert sorted(dev[0] + train) == sorted(f"city{number}" for number in range(20))
    assert splits[0].splits == ("train", "dev")


def test_a_tenth_is_split_off_by_default(tmp_path):
    write(tmp_path / "train.iob", 20)

    assert len(iob(path=tmp_path).sentences("dev")) == 2


def test_files_given_by_name_override_the_folder(tmp_path):
    write(tmp_path / "train.iob", 20)
    write(tmp_path / "test.iob", 3)
    other = write(tmp_path / "new.iob", 4, start=50)

    data = iob(path=tmp_path, test=other)

    assert [words[1] for words, _ in data.sentences("test")] == ["city50", "city51", "city52", "city53"]


def test_candidates_for_a_split_that_is_given_by_name_are_not_ambiguous(tmp_path):
    for name in ("a.train", "b.train", "a.dev", "b.dev", "a.test"):
        write(tmp_path / f"{name}.iob", 20)

    data = iob(path=tmp_path, train=tmp_path / "c" / ".." / "b.train.iob", dev=tmp_path / "a.dev.iob")

    assert data.splits == ("train", "dev")  # a.test.iob belongs to another data set
    assert data.sentences("dev")


def test_a_folder_without_a_training_file_is_used_with_one_that_is_given_by_name(tmp_path):
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "a.test.iob", 3)

    data = iob(path=tmp_path / "data", train=write(tmp_path / "mine.iob", 20))

    assert len(data.sentences("test")) == 3


def test_splits_of_two_data_sets_are_not_mixed_beside_a_training_file_that_is_given_by_name(tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("a.train", "a.dev", "b.train", "b.test", "c.train"):
        write(tmp_path / "data" / f"{name}.iob", 3)

    with pytest.raises(DataError, match=r"data: files of 2 data sets; expected those of one. Set train, dev and test"):
        iob(path=tmp_path / "data", train=write(tmp_path / "mine.iob", 20))


@pytest.mark.parametrize(
    ("path", "given", "message"),
    [
        ("train.iob", ("train",), r"path = .*train.iob has no effect with train; remove path"),
        (".", ("train", "dev", "test"), r"path = .* has no effect with train, dev, test; remove path"),
    ],
)
def test_a_path_of_which_nothing_is_used_is_refused(tmp_path, path, given, message):
    write(tmp_path / "train.iob", 20)
    other = write(tmp_path / "other.iob", 3)

    with pytest.raises(DataError, match=message):
        iob(path=tmp_path / path, **dict.fromkeys(given, other))


def test_one_file_for_two_splits_gives_a_warning(tmp_path):
    write(tmp_path / "a.iob", 20)
    (tmp_path / "b.iob").symlink_to(tmp_path / "a.iob")

    with pytest.warns(UserWarning, match=r"train and test are the same file: .*a.iob; scores on test say nothing"):
        _ = iob(train=tmp_path / "a.iob", test=tmp_path / "b.iob").facts


def test_neither_path_nor_train_is_an_error():
    with pytest.raises(DataError, match="neither path nor train is given; give the folder: --set data.path=DIR"):
        iob()


def test_splitting_off_all_sentences_is_an_error(tmp_path):
    file = write(tmp_path / "train.iob", 5)

    with pytest.raises(
        DataError, match=r"dev_size = 5: .*train\.iob has 5 sentences, so none would be left for training"
    ):
        iob(train=file, dev_size=5).sentences("train")


def test_atis_without_path_and_download_is_an_error():
    with pytest.raises(DataError, match=r"path is not given; give the folder .*--set data.download=true"):
        atis()


def test_offline_atis_names_the_missing_file(tmp_path, monkeypatch):
    monkeypatch.setenv("DLPIPE_CACHE", str(tmp_path))

    with pytest.raises(DataError, match=r"atis.train.iob is missing and offline = true"):
        atis(download=True, offline=True)


def test_atis_has_the_published_sizes(real_data):
    data = atis(path=real_data / "atis")

    assert {split: len(data.sentences(split)) for split in data.splits} == {"train": 4478, "dev": 500, "test": 893}
    assert data.facts["num_labels"] <= 121


def test_a_share_for_the_dev_split_beside_a_dev_file_is_refused(tmp_path):
    for split in ("train", "dev"):
        (tmp_path / f"{split}.iob").write_text("to O\nrome B-city\n")

    with pytest.raises(InputError, match=r"dev_size = 5 has no effect: .*dev\.iob is the dev split; remove dev_size"):
        iob(path=tmp_path, dev_size=5)


def test_a_minimum_count_that_leaves_no_word_is_refused(tmp_path):
    (tmp_path / "train.iob").write_text("to O\nrome B-city\n\nto O\nparis B-city\n")

    with pytest.raises(InputError, match='min_count = 3: the most frequent training word occurs .* "other"; expected'):
        _ = iob(path=tmp_path, min_count=3, dev_size=1).facts
