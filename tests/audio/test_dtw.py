from __future__ import annotations

import torch
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe_audio.dtw import aligned, dtw_distances


def reference(costs):
    """Return the cost of the best alignment, cell by cell."""
    table = torch.full(costs.shape, torch.inf)
    for i in range(len(costs)):
        for j in range(costs.shape[1]):
            before = [table[k, m] for k, m in ((i - 1, j), (i, j - 1), (i - 1, j - 1)) if k >= 0 and m >= 0]
            table[i, j] = costs[i, j] + (min(before) if before else 0)
    return table[-1, -1]


def test_the_distances_of_many_words_are_those_of_the_plain_algorithm():
    generator = torch.Generator().manual_seed(0)
    words = [torch.randn(length, 3, generator=generator) for length in [1, 2, 5, 9, 4, *range(1, 18)]]

    found = dtw_distances(words)

    unit = [F.normalize(word, dim=1) for word in words]
    expected = torch.tensor([[reference(1 - a @ b.T) / (len(a) + len(b)) for b in unit] for a in unit])
    assert_close(found, expected)


def test_padding_does_not_change_an_alignment():
    costs = torch.rand(2, 4, 7, generator=torch.Generator().manual_seed(1))
    padded = F.pad(costs, (0, 3, 0, 5), value=-9.0)
    lengths, others = torch.tensor([4, 3]), torch.tensor([7, 2])

    found = aligned(padded, lengths, others)

    assert_close(found, torch.stack([reference(costs[0]), reference(costs[1, :3, :2])]))


def test_a_stretched_word_has_no_distance_to_itself():
    word = torch.randn(6, 4, generator=torch.Generator().manual_seed(2))

    found = dtw_distances([word, word.repeat_interleave(3, dim=0)])

    assert_close(found, torch.zeros(2, 2), atol=1e-6, rtol=0)
