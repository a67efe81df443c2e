"""A batch in parts, for a batch that does not fit into the memory of the device."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from dlpipe.protocols import Batch


def parts_of(batch: Batch, count: int, length_names: Mapping[str, str]) -> list[Batch]:
    """Split a batch into parts of (nearly) the same number of examples, at most one for each example.

    Args:
        length_names: of each column of sequences, the column with their lengths; a sequence of a part is padded to the
            longest of the part only.
    """
    size = len(next(iter(batch.values()), ()))
    count = max(1, min(count, size))
    bounds = [size * number // count for number in range(count + 1)]
    parts = []
    for start, end in pairwise(bounds):
        part = {name: column[start:end] for name, column in batch.items()}
        for name, lengths in length_names.items():
            if name in part and lengths in part:
                part[name] = part[name][:, : int(part[lengths].max())].contiguous()
        parts.append(part)
    return parts
