"""The same word from another mouth: what a correspondence auto-encoder reconstructs.

Known from the words of the recordings, or found by how they sound.
Sources of the second: Jansen & Van Durme 2011, "Efficient spoken term discovery using randomized algorithms" (pairs by
dynamic time warping), https://doi.org/10.1109/ASRU.2011.6163965; Kamper 2019, https://arxiv.org/abs/1811.00403.
Departs from them: words are given, and their warping distances are embedded and smoothed before neighbors are sought.

Axes: N words of a split, B words of a batch, T frames of the longest, F numbers per frame.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from dlpipe.data import Ragged
from dlpipe.errors import InputError
from dlpipe.protocols import Batch
from dlpipe_audio.dtw import dtw_distances
from dlpipe_audio.feature_cache import cached
from dlpipe_audio.segments import Segment
from dlpipe_audio.smoothing import embedded, smoothed

#: Nearest recordings that `smoothed` averages.
NEIGHBORS = 20
#: A recording has this many partners of its speaker and as many of all others.
FOUND = 10
#: The distances of all pairs must fit into memory and into minutes.
MAX_WORDS = 5000


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
        return _with_partners(batch, self._frames, self._order[place])


class SoundAlikes:
    """Draws for each word of a batch one of the recordings that sound most like it; a new one each time. Uses no words.

    Args:
        frames: of all words of the split.
        rows: (N, 2 × FOUND) what `sounding_alike` returns; the column ``partners``, which is replaced by frames in each
            batch.
    """

    def __init__(self, frames: Ragged, rows: Tensor) -> None:
        self._frames, self.rows = frames, rows

    def __call__(self, batch: Batch, generator: torch.Generator, training: bool) -> Batch:
        """Replace the rows (B, 2 × FOUND) of the column ``partners`` by frames (B, T, F); add ``partners_lengths``."""
        if "partners" not in batch:
            return batch
        choices = batch["partners"]
        chosen = torch.zeros(len(choices), 1, dtype=torch.long, device=choices.device)
        if training:
            chosen = torch.randint(choices.size(1), chosen.shape, generator=generator, device=choices.device)
        if self._frames.values.device != choices.device:
            self._frames = self._frames.to(choices.device)
        return _with_partners(batch, self._frames, choices.gather(1, chosen).squeeze(1))


def _with_partners(batch: Batch, words: Ragged, rows: Tensor) -> Batch:
    lengths = words.lengths[rows.cpu()]
    return batch | {"partners": words.gather(words.indices(rows, lengths)), "partners_lengths": lengths}


def sounding_alike(frames: Ragged, segments: Sequence[Segment]) -> Tensor:
    """Return for each recording the rows (N, 2 × FOUND) that sound most like it: of its speaker, then of the others.

    A recording that has too few others is its own partner. Of the segments only the speakers are used. Cached on disk.

    Raises:
        InputError: there are too many to compare all pairs.
    """
    if len(segments) > MAX_WORDS:
        raise InputError(
            f'pairs = "alike" compares each recording of a split with each other: {len(segments):,} are too many; '
            f'expected at most {MAX_WORDS:,}. Hold out more for dev and test, or set pairs = "none"'
        )
    content = hashlib.sha256(frames.values.numpy().tobytes() + frames.lengths.numpy().tobytes())
    speakers = [segment.speaker for segment in segments]
    ingredients = {"frames": content.hexdigest(), "speakers": speakers, "neighbors": NEIGHBORS, "found": FOUND}
    return cached(ingredients, lambda: {"rows": _alike(frames, speakers)})["rows"]


def _alike(frames: Ragged, speakers: Sequence[str]) -> Tensor:
    known = {speaker: number for number, speaker in enumerate(speakers)}
    numbers = torch.tensor([known[speaker] for speaker in speakers])
    parts = frames.values[: int(frames.lengths.sum())].split(frames.lengths.tolist())
    vectors = smoothed(embedded(dtw_distances(parts)), numbers, NEIGHBORS)
    scores = (vectors @ vectors.T).fill_diagonal_(-torch.inf)
    same = numbers.unsqueeze(1) == numbers
    return torch.cat([_nearest(scores.masked_fill(hidden, -torch.inf)) for hidden in (~same, same)], dim=1)


def _nearest(scores: Tensor) -> Tensor:
    """Return the FOUND best columns (N, FOUND) of scores (N, N); the row itself where all others are excluded."""
    found = scores.topk(min(FOUND, len(scores)), dim=1)
    itself = torch.arange(len(scores)).unsqueeze(1)
    return torch.where(found.values.isinf(), itself, found.indices)


def _blocks(keys: Sequence[object]) -> Tensor:
    """Return (N, 2), where the run of equal keys around each position begins and ends."""
    changes = [0, *(place for place in range(1, len(keys)) if keys[place] != keys[place - 1]), len(keys)]
    starts = torch.tensor(changes)
    counts = starts[1:] - starts[:-1]
    return torch.stack([starts[:-1], starts[1:]], dim=1).repeat_interleave(counts, dim=0)
