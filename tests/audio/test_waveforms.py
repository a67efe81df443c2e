"""Waveforms as data."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from dlpipe.errors import DataError, InputError
from dlpipe_audio.mu_law import to_levels, to_wave
from dlpipe_audio.tone_takes import ToneTakes, syllables
from dlpipe_audio.waveforms import tone_waveforms, waveforms

from .conftest import audio, digits, tone

SMALL = {"num_words": 2, "num_speakers": 3, "takes": 10}


def test_a_row_has_the_levels_of_a_recording_and_who_says_what():
    data = tone_waveforms(**SMALL)
    split = data.split("test")

    batch = split.batch(torch.tensor([4]))

    segment = data.segments("test")[4]
    assert (segment.word, segment.speaker, segment.name) == ("xe", "1", "xe_1_9")
    assert torch.equal(batch["samples"][0].long(), to_levels(data.waveform("test", 4)))
    assert data.facts == {"num_levels": 256, "words": ["si", "xe"], "speakers": ["0", "1", "2"], "rate_hz": 8000}
    assert (int(batch["words"]), int(batch["speakers"]), int(batch["starts"])) == (1, 1, 0)
    assert int(batch["durations"]) == int(batch["lengths"]) == batch["samples"].size(1)


def test_eight_of_ten_takes_are_for_training_and_no_take_is_in_two_splits():
    data = tone_waveforms(**SMALL)
    names = {split: data.names(split) for split in data.splits}

    assert {split: len(found) for split, found in names.items()} == {"train": 48, "dev": 6, "test": 6}
    assert len(set().union(*names.values())) == 60
    assert not data.copies("test", "train")[0].any()
    assert data.copies("test", "test")[0].all()


def test_training_sees_random_parts_of_longer_recordings():
    data = tone_waveforms(**SMALL, crop_seconds=0.2)
    split = data.split("train")
    rows = torch.arange(12)
    whole = split.batch(rows)

    batch = split.prepare(whole, torch.Generator().manual_seed(3), True)

    assert batch["samples"].size(1) == 1600
    for row in range(12):
        start, length = int(batch["starts"][row]), int(batch["lengths"][row])
        assert length == min(1600, int(whole["lengths"][row]))
        assert 0 <= start <= int(whole["lengths"][row]) - length
        assert torch.equal(batch["samples"][row, :length], whole["samples"][row, start : start + length])
        assert batch["durations"][row] == whole["lengths"][row]
    assert len(set(batch["starts"].tolist())) > 6
    assert split.prepare(whole, torch.Generator(), False) is whole


def test_the_first_and_the_last_part_of_a_recording_are_seen():
    data = tone_waveforms(num_words=1, num_speakers=1, takes=10, crop_seconds=0.2)
    split = data.split("train")
    batch = split.batch(torch.zeros(4000).long())
    shorter = {**batch, "lengths": batch["lengths"] * 0 + 1603, "samples": batch["samples"][:, :1603]}

    starts = split.prepare(shorter, torch.Generator().manual_seed(0), True)["starts"]

    assert starts.bincount().tolist() == pytest.approx([1000] * 4, abs=100)


def test_syllables_that_follow_each_other_differ_in_both_phones():
    known = syllables()

    assert len(set(known)) == 60
    assert all(one[0] != other[0] and one[1] != other[1] for one, other in pairwise(known[:10]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_words": 61}, "num_words = 61: expected at most 60, a consonant and a vowel each"),
        ({"takes": 9}, "takes = 9: expected at least 10, of which one is for dev and one for test"),
    ],
)
def test_numbers_that_are_impossible_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        tone_waveforms(**options)


def test_the_fingerprint_follows_from_the_numbers():
    same, other = (tone_waveforms(**{**SMALL, "takes": takes}).fingerprint() for takes in (10, 11))

    assert tone_waveforms(**SMALL).fingerprint() == same != other
    assert ToneTakes(2, 3, 10).digest() != ToneTakes(1, 3, 10).digest()


def test_recordings_of_words_are_read_from_a_folder(write):
    data = waveforms(write(digits(takes=12)), rate_hz=4000)

    assert data.facts["words"] == ["no", "yes"]
    assert data.facts["speakers"] == ["ann", "bob", "cem"]
    assert [len(data.split(split)) for split in ("train", "dev", "test")] == [60, 6, 6]
    for split in ("dev", "test"):  # one take of each word by each speaker
        assert len({(segment.word, segment.speaker) for segment in data.segments(split)}) == 6
    assert data.split("dev").columns["samples"].lengths.tolist() == [
        800 + 40 * int(name.removesuffix(".wav").split("_")[2]) for name in data.names("dev")
    ]


def test_a_speaker_whom_training_lacks_is_refused(write):
    files = {f"train/{name}": content for name, content in digits(takes=2).items()}
    data = waveforms(write({**files, "test/yes_dan_0.wav": audio(tone())}), dev_size=0.5)

    with pytest.raises(
        DataError, match="the test split has speakers that training does not have: .*dan.*; expected the same speakers"
    ):
        data.split("test")


def test_a_trained_model_keeps_its_words(write):
    data = waveforms(write(digits(takes=12)))
    other = waveforms(write(digits(words=("yes",), takes=12), "other"))

    other.restore(data.state())

    assert other.facts["words"] == ["no", "yes"]
    assert other.split("test").columns["words"].unique().tolist() == [1]


def test_an_option_of_splits_that_has_no_effect_is_refused(write):
    files = {f"{split}/{name}": content for split in ("train", "test") for name, content in digits(takes=2).items()}

    with pytest.raises(DataError, match=r"test_size = 0.3 has no effect: .* has a test split of its own"):
        waveforms(write(files), test_size=0.3).split("train")


def test_a_speaker_with_one_recording_of_a_word_is_for_training(write):
    data = waveforms(write({**digits(takes=10), "yes_dan_0.wav": audio(tone())}))

    assert {segment.speaker for segment in data.segments("train")} == {"ann", "bob", "cem", "dan"}
    assert "dan" not in {segment.speaker for segment in (*data.segments("dev"), *data.segments("test"))}


def test_a_loud_recording_is_clipped_with_a_warning_and_does_not_wrap_around(write):
    square = np.where(np.arange(9000) % 60 < 30, 1.0, -1.0)  # resampling exceeds the range
    data = waveforms(
        write({f"train/yes_ann_{take}.wav": audio(square, rate=44_100) for take in range(3)}), dev_size=0.5
    )

    with pytest.warns(UserWarning, match="1 of 1 recordings of the train split are clipped: more than 1 % of their"):
        levels = data.split("train").batch(torch.tensor([0]))["samples"][0]

    wave = data.waveform("train", 0)
    assert wave.abs().max() > 1.05
    assert (to_wave(levels.long()) - wave).abs().max() < wave.abs().max() - 1 + 0.03


def test_a_part_of_less_than_a_sample_is_refused():
    with pytest.raises(InputError, match="crop_seconds = 1e-09: less than one sample; expected at least 0.000125"):
        tone_waveforms(crop_seconds=1e-9)


def test_what_cannot_be_read_is_left_out_if_that_is_asked_for(write):
    path = write({**digits(takes=12), "yes_ann_99.wav": b"no sound"})

    with pytest.raises(DataError, match=r"yes_ann_99\.wav"):
        [waveforms(path).split(split) for split in ("train", "dev", "test")]
    data = waveforms(path, skip_bad=True)
    with pytest.warns(UserWarning, match=r"1 of \d+ recordings of the \w+ split cannot be used and are left out"):
        found = sum(len(data.split(split)) for split in data.splits)

    assert found == 72
    assert sum(len(data.names(split)) for split in data.splits) == 72


def test_a_split_without_a_usable_recording_is_refused(write):
    files = {f"train/{name}": content for name, content in digits(takes=2).items()}
    data = waveforms(write({**files, "test/yes_ann_9.wav": b"no sound"}), skip_bad=True)

    with pytest.raises(DataError, match="none of the 1 recordings of the test split can be used"):
        data.split("test")
