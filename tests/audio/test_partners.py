from __future__ import annotations

import torch

from dlpipe.data import Columns, Ragged
from dlpipe_audio.partners import Partners
from dlpipe_audio.segments import Segment

WHO = [("no", "a"), ("yes", "b"), ("no", "b"), ("no", "a"), ("hm", "a"), ("yes", "a"), ("no", "c")]
SEGMENTS = [Segment(str(row), word, speaker) for row, (word, speaker) in enumerate(WHO)]
LENGTHS = torch.arange(1, 8)
FRAMES = Ragged(torch.arange(7.0).repeat_interleave(LENGTHS).unsqueeze(1), LENGTHS)


def drawn(training, seed=0):
    partners = Partners(FRAMES, SEGMENTS)
    split = Columns({"frames": FRAMES, "partners": partners.blocks}, prepare=partners)
    batch = partners(split.batch(torch.arange(7)), torch.Generator().manual_seed(seed), training)
    assert torch.equal(batch["partners_lengths"], LENGTHS[batch["partners"][:, 0, 0].long()])
    return batch["partners"][:, 0, 0].long().tolist()


def test_a_partner_says_the_same_word_with_another_voice():
    found = [drawn(True, seed) for seed in range(30)]

    for rows in found:
        for row, partner in enumerate(rows):
            assert WHO[row][0] == WHO[partner][0]
            assert WHO[row][1] != WHO[partner][1] or row == partner == 4
    assert {rows[0] for rows in found} == {2, 6}
    assert {rows[2] for rows in found} == {0, 3, 6}


def test_in_evaluation_the_partner_is_always_the_same():
    assert drawn(False, 0) == drawn(False, 1)


def test_a_batch_without_the_column_is_left_alone():
    batch = {"frames": torch.zeros(2, 3, 1)}

    assert Partners(FRAMES, SEGMENTS)(batch, torch.Generator(), True) is batch
