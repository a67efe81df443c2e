"""The same word from another mouth: what a correspondence auto-encoder reconstructs.

Axes: N words of a split, B words of a batch, T frames of the longest, F numbers per frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dlpipe.data import Ragged
from dlpipe.protocols import Batch
from dlpipe_audio.segments import Segment


class Partners:
    """Draws for each word of a batch the same word as another speaker says it; a new one each time.

    A word that nobody else says is its own partner. Rows are sorted by word and speaker: those with the same word are
    a block, and those of the same speaker a block within it, which is skipped.

    Args:
        frames: of all words of the split.
        segments: the words.
    """

    def __init__(self, frames: Ragged, segments: Sequence[Segment]) -> None:
        self._frames = frames
        keys = [(segment.word, segment.speaker) for segment in segments]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        self._order = torch.tensor(order)
        words = _blocks([keys[row][0] for row in order])
        speakers = _blocks([keys[row] for row in order])
        place = torch.empty(len(order), dtype=torch.long)
        place[self._order] = torch.arange(len(order))
        self.blocks = torch.cat([words[place], speakers[place]], dim=1)

    #: (N, 4): where the block of the word begins and ends, and that of its speaker. The column ``partners``, which is
    #: replaced by frames in each batch.
    blocks: Tensor

    def __call__(self, batch: Batch, generator: torch.Generator, training: bool) -> Batch:
        """Replace the blocks (B, 4) of the column ``partners`` by frames (B, T, F); add ``partners_lengths`` (B,)."""
        if "partners" not in batch:
            return batch
        blocks = batch["partners"]
        start, end, own_start, own_end = blocks.unbind(1)
        others = (end - start) - (own_end - own_start)
        share = torch.rand(len(blocks), generator=generator, device=blocks.device) if training else 0.0
        place = start + (share * others).long()
        place = place + (own_end - own_start) * (place >= own_start)
        place = torch.where(others > 0, place, own_start)
        if self._frames.values.device != blocks.device:
            self._frames, self._order = self._frames.to(blocks.device), self._order.to(blocks.device)
        rows = self._order[place]
        lengths = self._frames.lengths[rows.cpu()]
        frames = self._frames.gather(self._frames.indices(rows, lengths))
        return batch | {"partners": frames, "partners_lengths": lengths}


def _blocks(keys: Sequence[object]) -> Tensor:
    """Return (N, 2), where the run of equal keys around each position begins and ends."""
    changes = [0, *(place for place in range(1, len(keys)) if keys[place] != keys[place - 1]), len(keys)]
    starts = torch.tensor(changes)
    counts = starts[1:] - starts[:-1]
    return torch.stack([starts[:-1], starts[1:]], dim=1).repeat_interleave(counts, dim=0)
