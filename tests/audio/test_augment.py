"""Augmented features stay words: padded, of the right lengths, and only in training."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from dlpipe.errors import InputError
from dlpipe_audio.augment import augmented
from dlpipe_audio.tone_words import tone_words

LENGTHS = torch.tensor([6, 40, 1])
SIZES = {"num_words": 40, "num_speakers": 10, "features": {"hop_ms": 20.0}}


def words():
    """Return frames (3, 40, 5) that count from 1 on, padded with 0."""
    frames = torch.arange(1.0, 41).view(1, 40, 1).expand(3, 40, 5)
    return frames * (torch.arange(40) < LENGTHS.unsqueeze(1)).unsqueeze(2)


def drawn(how, seed=0):
    return augmented(words(), LENGTHS, how, torch.Generator().manual_seed(seed))


def test_the_speed_changes_the_lengths_and_keeps_both_ends_and_the_order():
    found, lengths = zip(*(drawn({"speed": 0.5}, seed) for seed in range(20)), strict=True)

    assert {27 <= int(each[1]) <= 80 for each in lengths} == {True}
    assert min(int(each[1]) for each in lengths) < 35 < 50 < max(int(each[1]) for each in lengths)
    for frames, each in zip(found, lengths, strict=True):
        word = frames[1, : each[1], 0]
        assert_close(word[[0, -1]], torch.tensor([1.0, 40.0]))
        assert_close(word.diff(), torch.full((len(word) - 1,), 39 / (len(word) - 1)), atol=1e-4, rtol=0)
        assert frames.size(1) == each.max()


def test_noise_has_its_deviation_and_leaves_the_padding():
    frames, lengths = drawn({"noise": 0.1})

    assert torch.equal(lengths, LENGTHS)
    assert float((frames - words())[1].std()) == pytest.approx(0.1, rel=0.2)
    assert frames[0, 6:].eq(0).all()


def test_masks_are_spans_of_at_most_their_length_and_half_of_a_word():
    spans = set()
    for seed in range(100):
        frames, _ = drawn({"time_mask": 7}, seed)
        masked = frames[1].eq(0).all(1)
        spans.add(int(masked.sum()))
        assert masked.diff().sum() <= 2
        assert frames[0, :6].eq(0).all(1).sum() <= 3
        assert frames[2, 0].ne(0).all()
    assert spans == set(range(8))


def test_features_are_masked_in_all_frames():
    found = [drawn({"feature_mask": 2}, seed)[0][1].eq(0) for seed in range(20)]

    assert {int(masked[0].sum()) for masked in found} == {0, 1, 2}
    assert all((masked == masked[0]).all() for masked in found)


def test_only_training_words_are_augmented_and_their_partners_are_not():
    plain, changed = (tone_words(**SIZES, pairs="same_word", augment=how) for how in (None, {"noise": 1.0}))
    rows = torch.arange(4)

    def batch(data, training):
        split = data.split("train")
        return split.prepare(split.batch(rows), torch.Generator().manual_seed(0), training)

    assert torch.equal(batch(plain, False)["frames"], batch(changed, False)["frames"])
    assert not torch.equal(batch(plain, True)["frames"], batch(changed, True)["frames"])
    frames = plain.split("train").columns["frames"]
    partner = batch(changed, True)["partners"][0]
    words = [
        torch.nn.functional.pad(word, (0, 0, 0, len(partner) - len(word)))
        for word in frames.values[:-1].split(frames.lengths.tolist())
        if len(word) <= len(partner)
    ]
    assert any(torch.equal(partner, word) for word in words)


def test_a_mask_wider_than_a_frame_is_refused():
    with pytest.raises(InputError, match=r"augment.feature_mask = 20: expected at most 13, as in a frame"):
        tone_words(**SIZES, augment={"feature_mask": 20})
