from __future__ import annotations

import itertools

import pytest
import torch

from dlpipe.errors import InputError
from dlpipe_audio.tone_words import made_up_words, tone_words

SMALL = {"num_words": 40, "num_speakers": 10}


def test_no_word_and_no_speaker_is_in_two_splits():
    data = tone_words(**SMALL)
    splits = [data.segments(split) for split in ("train", "dev", "test")]

    for attribute in ("word", "speaker"):
        values = [{getattr(segment, attribute) for segment in split} for split in splits]
        assert not values[0] & values[1]
        assert not values[0] & values[2]
        assert not values[1] & values[2]
        assert all(len(each) > 1 for each in values)


def test_a_word_sounds_the_same_each_time_it_is_asked_for_and_different_from_another_mouth():
    data = tone_words(**SMALL)

    first, again, other = (data.source.item(name) for name in ("sanoki_12_0", "sanoki_12_0", "sanoki_13_0"))

    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.allclose(first, other)
    assert 0.4 < first.abs().max() <= 0.5


def test_words_are_spelled_by_their_phones_and_some_differ_in_one():
    words = made_up_words(40)

    assert " ".join(words[::8]) == "nisrno luzula fomukr zimosa nosa"
    assert len(set(words)) == 40
    pairs = [(a, b) for a, b in itertools.pairwise(words) if len(a) == len(b)]
    assert any(sum(a != b for a, b in zip(first, second, strict=True)) == 1 for first, second in pairs)


@pytest.mark.parametrize("item", ["sano", "sano_1", "sano_x_0", "SANO_1_0", "_1_0"])
def test_an_item_that_is_no_utterance_is_refused(item):
    with pytest.raises(
        InputError, match=r"is not an utterance of this data; expected WORD_SPEAKER_TAKE such as sanoki_12"
    ):
        tone_words(**SMALL).encode(item)


def test_words_that_are_no_classes_are_no_answers():
    with pytest.raises(InputError, match=r"this data has no classes, so its items cannot be classified"):
        tone_words(**SMALL).present("sanoki_12_0", torch.tensor([0.5, 0.25]), None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_words": 39}, "num_words = 39: expected at least 40"),
        ({"num_speakers": 9}, "num_speakers = 9: expected at least 10"),
    ],
)
def test_too_few_words_or_speakers_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        tone_words(**options)
