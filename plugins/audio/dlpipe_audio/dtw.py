"""Dynamic time warping: how well two words match if time may be stretched, for many pairs at once.

Source: Sakoe & Chiba 1978, "Dynamic Programming Algorithm Optimization for Spoken Word Recognition",
https://doi.org/10.1109/TASSP.1978.1163055 (symmetric steps, without a slope constraint).
Departs from it: all steps have weight one; the cost of two frames is one minus their cosine.
Axes: N words, P pairs, T and U frames of the longest first and second words, F numbers per frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from dlpipe.progress import tracked

#: Words of a block: its 256 pairs are aligned together in a few megabytes, which fit into the cache of a core.
BLOCK = 16


def dtw_distances(frames: Sequence[Tensor]) -> Tensor:
    """Return the distances (N, N) between all words, given as frames (T, F) each.

    A distance is the cost of the best alignment divided by the sum of both lengths.
    """
    # Words of one length together, since a block is padded to its longest.
    lengths = torch.tensor([len(word) for word in frames])
    order = torch.argsort(lengths, stable=True)
    blocks = [
        (rows, pad_sequence([F.normalize(frames[row], dim=1) for row in rows.tolist()], batch_first=True))
        for rows in order.split(BLOCK)
    ]
    distances = torch.zeros(len(frames), len(frames))
    for number, (rows, first) in enumerate(tracked(blocks, "aligning all pairs of words")):
        for columns, second in blocks[number:]:
            costs = 1 - torch.einsum("atf,buf->abtu", first, second).flatten(0, 1)  # (P, T, U)
            pairs = torch.cartesian_prod(lengths[rows], lengths[columns]).view(-1, 2)
            found = aligned(costs, pairs[:, 0], pairs[:, 1]) / pairs.sum(1)
            distances[rows.unsqueeze(1), columns] = found.view(len(rows), len(columns))
            distances[columns.unsqueeze(1), rows] = found.view(len(rows), len(columns)).T
    return distances


def aligned(costs: Tensor, lengths: Tensor, other_lengths: Tensor) -> Tensor:
    """Return the cost (P,) of the best alignment of each pair.

    Args:
        costs: (P, T, U), of aligning each frame of the first with each of the second.
        lengths: (P,) of the first words; what is beyond is ignored.
        other_lengths: (P,) of the second words.
    """
    pairs, first, second = costs.shape
    diagonals = first + second - 1
    # Row i moves i to the right, so that a column holds the cells with i + j = d, which depend on earlier columns only.
    skewed = F.pad(costs, (0, first), value=torch.inf).flatten(1)[:, : first * diagonals]
    table = skewed.view(pairs, first, diagonals).permute(2, 1, 0).contiguous()  # (T + U - 1, T, P)
    for d in range(1, diagonals):
        low, high = max(0, d - second + 1), min(d, first - 1) + 1  # rows that this diagonal crosses
        before = table[d - 1]
        best = before[low:high].clone()  # from (i, j - 1)
        up = max(low, 1)
        torch.minimum(best[up - low :], before[up - 1 : high - 1], out=best[up - low :])  # from (i - 1, j)
        if d > 1:
            torch.minimum(
                best[up - low :], table[d - 2, up - 1 : high - 1], out=best[up - low :]
            )  # from (i - 1, j - 1)
        table[d, low:high] += best
    return table[lengths + other_lengths - 2, lengths - 1, torch.arange(pairs)]
