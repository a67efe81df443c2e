from __future__ import annotations

import os
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dlpipe.errors import DataError, InputError
from dlpipe_audio.recorded_words import folder, fsdd
from dlpipe_audio.recordings import _shared

from .conftest import audio, digits, tone


def words_of(data, split):
    return [(segment.word, segment.speaker) for segment in data.segments(split)]


def test_names_say_word_and_speaker_and_held_out_speakers_are_in_test_only(write):
    data = folder(write(digits()), test_speakers=["bob"], dev_speakers=["cem"], rate_hz=8000)

    assert data.splits == ("train", "dev", "test")
    assert {speaker for _, speaker in words_of(data, "train")} == {"ann"}
    assert {speaker for _, speaker in words_of(data, "dev")} == {"cem"}
    assert words_of(data, "test") == [("no", "bob")] * 4 + [("yes", "bob")] * 4
    assert data.facts["labels"] == ["no", "yes"]
    assert data.split("test").columns["targets"].tolist() == [0] * 4 + [1] * 4


def test_a_folder_for_each_word_names_the_words_and_what_is_no_word_is_left_out(write):
    files = {f"{word}/{who}_nohash_{take}.wav": audio(tone()) for word in "ab" for who in "xy" for take in range(5)}

    data = folder(write(files | {"_background_noise_/rain.wav": audio(tone(30.0)), "README.md": b"x"}), rate_hz=8000)

    assert set(words_of(data, "train")) == {("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")}
    assert [len(data.segments(split)) for split in data.splits] == [16, 2, 2]


@pytest.mark.parametrize("form", ["{split}/{word}/{who}_{take}.wav", "all/{split}/{word}_{who}_{take}.wav"])
def test_folders_above_the_words_name_the_splits(write, form):
    who = {"train": ("ann", "bob"), "val": ("dan",), "Test": ("cem",)}
    files = {
        form.format(split=split, word=word, who=speaker, take=take): audio(tone())
        for split, speakers in who.items()
        for word in ("no", "yes")
        for speaker in speakers
        for take in range(3)
    }

    data = folder(write(files), rate_hz=8000)

    found = {split: set(words_of(data, split)) for split in data.splits}
    assert found == {
        split: {(word, speaker) for word in ("no", "yes") for speaker in speakers}
        for split, speakers in zip(("train", "dev", "test"), who.values(), strict=True)
    }


def test_a_word_may_be_called_as_a_split_is(write):
    files = {f"{word}/{who}_{take}.wav": audio(tone()) for word in ("test", "yes") for who in "ab" for take in range(5)}

    data = folder(write(files), rate_hz=8000)

    assert data.facts["labels"] == ["test", "yes"]


@pytest.mark.parametrize("options", [{"test_speakers": ["cem"]}, {"test_size": 0.2}])
def test_an_option_of_a_split_that_a_folder_is_for_is_refused(write, options):
    files = {f"{split}/{name}": content for split in ("train", "test") for name, content in digits(takes=1).items()}

    with pytest.raises(DataError, match=rf"{next(iter(options))} = .* has no effect: .*data has a test split of its"):
        _ = folder(write(files), **options).splits


@pytest.mark.parametrize("splits", [("test",), ("train", "dev", "test")])
@pytest.mark.parametrize(
    "options", [{"test_speakers": ["bob"], "dev_speakers": ["cem"]}, {"test_size": 0.25, "dev_size": 0.2}]
)
def test_a_trained_model_is_evaluated_on_folders_with_splits_of_their_own(write, splits, options):
    trained = folder(write(digits()), **options, rate_hz=8000)
    files = {f"{split}/{name}": sound for split in splits for name, sound in digits(speakers=("eve", "dan")).items()}
    new = folder(write(files, "new"), **options, rate_hz=8000)

    new.restore(trained.state())

    assert new.splits == splits
    assert (
        words_of(new, "test") == [("no", "dan")] * 4 + [("no", "eve")] * 4 + [("yes", "dan")] * 4 + [("yes", "eve")] * 4
    )


def test_an_archive_is_read_without_being_unpacked(write, tmp_path):
    with tarfile.open(tmp_path / "words.tar", "w") as archive:
        archive.add(write(digits()), "recordings")

    packed, plain = (folder(path, rate_hz=8000) for path in (tmp_path / "words.tar", tmp_path / "data"))

    for split in plain.splits:
        assert torch.equal(packed.split(split).columns["frames"].values, plain.split(split).columns["frames"].values)


def test_the_official_test_recordings_of_fsdd_are_the_first_five(write):
    path = write(digits(words=("0", "7"), speakers=("theo", "lucas"), takes=10))

    data = fsdd(path, dev_size=0.2)

    assert len(data.segments("test")) == 2 * 2 * 5
    assert {segment.name.rpartition("_")[2] for segment in data.segments("test")} == {f"{n}.wav" for n in range(5)}
    assert {segment.phones for segment in data.segments("dev")} == {
        ("Z", "IH", "R", "OW"),
        ("S", "EH", "V", "AH", "N"),
    }
    assert data.facts["labels"] == ["seven", "zero"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"test_speakers": ["bop"]},
            r'test_speakers: "bop" says nothing; speakers are ann, bob, cem. Did you mean "bob"',
        ),
        ({"test_speakers": ["bob"], "dev_speakers": ["bob"]}, r'"bob" is in test_speakers and in dev_speakers'),
        ({"test_speakers": ["ann", "bob", "cem"]}, r"no word is left for training; hold out fewer speakers"),
        ({"test_words": ["yess"]}, r'test_words: "yess" is never said; words are no, yes. Did you mean "yes"'),
        ({"test_words": ["no"], "dev_words": ["no"]}, r'"no" is in test_words and in dev_words; remove it from one'),
        (
            {"test_words": ["no"], "test_speakers": ["bob"], "dev_speakers": ["ann"], "dev_words": ["yes"]},
            r"no word is left for training; hold out fewer speakers or words",
        ),
        (
            {"test_speakers": ["ann"], "dev_words": ["no", "yes"]},
            r"no recording is left for test: test_speakers say none of test_words, or what they say is held out for the",
        ),
    ],
)
def test_what_cannot_be_held_out_is_refused(write, options, message):
    with pytest.raises(InputError, match=message):
        _ = folder(write(digits()), **options).splits


def test_the_recordings_for_dev_are_drawn_and_not_the_first_ones():
    words = [SimpleNamespace(word=word, name=f"{word}-{number:03}.wav") for number in range(200) for word in "ab"]

    taken, left = _shared(words, 0.25)
    again, _ = _shared(reversed(words), 0.25)

    numbers = [int(each.name[2:5]) for each in taken]
    assert sorted(each.word for each in taken) == ["a"] * 50 + ["b"] * 50
    assert len(left) == 300
    assert {each.name for each in taken} == {each.name for each in again}
    assert abs(sum(numbers) / 100 - 99.5) < 4 * 200 / (12 * 100) ** 0.5
    assert numbers[:50] != numbers[50:]  # other ones of each word


def test_a_share_of_few_recordings_is_one_and_leaves_one():
    words = [SimpleNamespace(word=word, name=f"{word}-{number}.wav") for number, word in enumerate("aab")]

    assert [[each.word for each in part] for part in _shared(words, 0.1)] == [["a"], ["a", "b"]]
    assert [[each.word for each in part] for part in _shared(words, 0.9)] == [["a"], ["a", "b"]]
    assert not _shared(words, 0.0)[0]


def test_words_that_training_does_not_have_are_named_unless_they_are_held_out(write, recwarn):
    path = write(digits(("yes", "no", "hm")))
    trained = folder(path, test_words=["no"], dev_words=["hm"], rate_hz=8000)
    for split in trained.splits:
        trained.split(split)
    assert not recwarn.list

    other = folder(path, test_speakers=["bob"], rate_hz=8000)
    other.restore(trained.state())

    message = r'8 recordings of 12 of the test split have no class, since training has none of .*: \["hm", "no"\]; sco'
    with pytest.warns(UserWarning, match=message):
        other.split("test")


def test_held_out_words_are_in_one_split_only(write):
    words = ("yes", "no", "hm")
    data = folder(write(digits(words)), test_words=["no"], dev_words=["hm"], rate_hz=8000)

    found = {split: set(words_of(data, split)) for split in data.splits}

    assert found == {
        split: {(word, speaker) for speaker in ("ann", "bob", "cem")}
        for split, word in (("train", "yes"), ("dev", "hm"), ("test", "no"))
    }


def test_with_words_and_speakers_held_out_neither_is_in_another_split(write):
    words = ("yes", "no", "hm")
    data = folder(write(digits(words)), test_words=["no"], test_speakers=["bob"], dev_size=0.25, rate_hz=8000)

    assert set(words_of(data, "test")) == {("no", "bob")}
    assert set(words_of(data, "train")) == {(word, who) for word in ("yes", "hm") for who in ("ann", "cem")}
    assert set(words_of(data, "dev")) <= set(words_of(data, "train"))


@pytest.mark.parametrize("option", [{"dev_speakers": ["lucas"]}, {"dev_words": ["seven"]}])
def test_official_test_recordings_are_left_out_if_they_are_held_out_for_dev(write, option):
    path = write(digits(words=("0", "7"), speakers=("theo", "lucas"), takes=10))

    with pytest.warns(
        UserWarning, match=r"10 recordings of the test split are left out, since their speaker or word is"
    ):
        found = {split: words_of(data, split) for data in [fsdd(path, **option)] for split in data.splits}

    place = int("dev_speakers" in option)
    kept = {split: {each[place] for each in words} for split, words in found.items()}
    assert kept["dev"] == {*next(iter(option.values()))}
    assert kept["train"] == kept["test"] == {"theo" if place else "zero"}
    assert len(found["test"]) == 10


@pytest.mark.filterwarnings("ignore:8 recordings of the test split are left out")
def test_a_split_of_which_all_is_left_out_is_refused_and_not_drawn_from_train(write):
    who = {"train": ("ann", "cem"), "test": ("cem",)}
    files = {f"{split}/{name}": content for split in who for name, content in digits(speakers=who[split]).items()}

    with pytest.raises(InputError, match=r"no recording is left for test: all that the files name for it are held out"):
        _ = folder(write(files), dev_speakers=["cem"], rate_hz=8000).splits


def test_held_out_words_replace_the_official_test_recordings_of_fsdd(write):
    path = write(digits(words=("0", "7"), speakers=("theo", "lucas"), takes=10))

    data = fsdd(path, test_words=["seven"])

    assert {word for word, _ in words_of(data, "test")} == {"seven"}
    assert len(data.segments("test")) == 20


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"yes/ann_0.wav": audio(tone()), "no_ann_0.wav": audio(tone())},
            r"data/no_ann_0.wav: this file lies in no folder named after a word, as others do; move it to one",
        ),
        (
            {f"{word}/{who}/0.wav": audio(tone()) for word in ("yes", "no") for who in ("ann", "bob")},
            r"data/no/ann/0.wav: expected a folder for each word, .* this file lies deeper. Move the recordings, or list",
        ),
        (
            {f"{part}/yes_{who}_0.wav": audio(tone()) for part in ("monday", "friday") for who in ("ann", "bob")},
            r"friday/yes_ann_0.wav: the folder says the word 'friday', and the name 'yes_ann_0' word, speaker and number",
        ),
        (
            {os.fsdecode(b"caf\xe9/ann_0.wav"): audio(tone()), "yes/ann_0.wav": audio(tone())},
            r"ann_0.wav: the word 'caf\\udce9' is not UTF-8; rename the folder or the file",
        ),
        ({"a.txt": b"x"}, r"data: no audio file, only .txt; expected .wav, .flac, .ogg"),
        (
            {"hello.wav": audio(tone())},
            r"data/hello.wav: expected a name such as yes_anna_3.wav \(word, speaker, number",
        ),
    ],
)
def test_folders_without_words_are_refused(write, files, message):
    with pytest.raises(DataError, match=message):
        _ = folder(write(files)).splits


def test_other_words_than_digits_are_refused_by_fsdd(write):
    with pytest.raises(DataError, match=r"'no' is not a digit; use audio.folder for other words"):
        _ = fsdd(write(digits())).splits


BAD = {
    "yes_ann_90.wav": b"",
    "yes_ann_91.wav": audio(np.zeros(2400, dtype="float32")),
    "yes_ann_92.wav": audio(tone(0.01)),
}


def test_a_file_that_cannot_be_used_is_named(write):
    data = folder(
        write(digits() | {"yes_ann_92.wav": BAD["yes_ann_92.wav"]}), rate_hz=8000, test_size=0.0, dev_size=0.0
    )

    with pytest.raises(DataError, match=r"yes_ann_92.wav: 10 ms; expected at least 16.1 ms for a frame of this length"):
        data.split("train")


def test_files_that_cannot_be_used_are_left_out_and_counted_where_the_user_asks_for_it(write):
    path = write(digits() | BAD)
    for _ in ("computed", "from the cache"):
        data = folder(path, rate_hz=8000, test_size=0.0, dev_size=0.0, skip_bad=True)

        with pytest.warns(UserWarning, match=r"3 of 27 words of the train split cannot be used and are left out"):
            split = data.split("train")

        assert len(split) == len(data.segments("train")) == 24
        assert not {segment.name for segment in data.segments("train")} & set(BAD)


def test_clipped_recordings_are_counted_also_when_they_come_from_the_cache(write):
    path = write(digits() | {"yes_ann_9.wav": audio(np.clip(9 * tone(), -1, 1))})
    for _ in ("computed", "from the cache"):
        with pytest.warns(UserWarning, match=r"1 of 25 recordings of the train split are clipped"):
            folder(path, rate_hz=8000, test_size=0.0, dev_size=0.0).split("train")


def test_features_are_computed_once_and_again_when_a_file_changes(write, monkeypatch):
    path = write(digits())
    before = folder(path, rate_hz=8000, test_size=0.0, dev_size=0.0)
    first = before.split("train").columns["frames"].values
    monkeypatch.setattr("dlpipe_audio.recordings.read_word", None)
    again = folder(path, rate_hz=8000, test_size=0.0, dev_size=0.0)
    assert torch.equal(again.split("train").columns["frames"].values, first)
    fingerprint = before.fingerprint()
    assert again.fingerprint() == fingerprint
    monkeypatch.undo()

    write({"yes_ann_0.wav": audio(tone(0.4))})
    changed = folder(path, rate_hz=8000, test_size=0.0, dev_size=0.0)

    assert changed.split("train").columns["frames"].values.shape != first.shape
    assert changed.fingerprint() != fingerprint


def test_a_damaged_cache_is_no_error(write, monkeypatch, tmp_path):
    path = write(digits())
    monkeypatch.setenv("DLPIPE_CACHE", str(tmp_path / "cache"))
    first = folder(path, rate_hz=8000).split("test").columns["frames"].values
    for file in (tmp_path / "cache" / "features").iterdir():
        file.write_bytes(b"damaged")

    assert torch.equal(folder(path, rate_hz=8000).split("test").columns["frames"].values, first)


def test_the_content_of_a_file_is_encoded_as_the_file_is(write, tmp_path):
    data, content = folder(write(digits()), rate_hz=8000), audio(tone())
    (tmp_path / "own.wav").write_bytes(content)

    assert torch.equal(
        data.encode_content("nowhere.wav", content)["frames"], data.encode(str(tmp_path / "own.wav"))["frames"]
    )
    with pytest.raises(InputError, match=r"nowhere.wav: an empty file; expected audio"):
        data.encode_content("nowhere.wav", b"")


def test_an_item_that_cannot_be_read_is_an_input_error(write):
    data = folder(write(digits()), rate_hz=8000)

    with pytest.raises(
        InputError, match=r"nowhere.wav cannot be read: No such file or directory; expected an audio file"
    ):
        data.encode("nowhere.wav")


def test_an_item_shorter_than_a_frame_is_an_input_error(write):
    data, content = folder(write(digits()), rate_hz=8000), audio(tone(0.0075))
    short = write({"short.wav": content}, "items") / "short.wav"

    for encode in (lambda: data.encode(str(short)), lambda: data.encode_content("short.wav", content)):
        with pytest.raises(InputError, match=r"short.wav: 7.5 ms; expected at least 16.1 ms") as raised:
            encode()
        assert not isinstance(raised.value, DataError)


def test_the_same_recording_in_two_splits_is_found(write):
    files = digits()
    copied = files | {"yes_dan_0.wav": files["yes_ann_0.wav"]}

    exact, _ = folder(write(copied), test_speakers=["dan"], dev_size=0.0, rate_hz=8000).copies("test", "train")

    assert exact.tolist() == [True]
