"""What a user should know of the splits before training: examples per class, missing classes, and copies in two splits.

Axes: N examples of a split.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from dlpipe.data.class_targets import class_targets
from dlpipe.data.columns import Columns, Ragged
from dlpipe.data.targets import NO_INPUTS
from dlpipe.protocols import Data, SupportsCopies
from dlpipe.splits import SPLITS

#: With more classes than this, only the smallest and the largest are named.
MAX_CLASSES = 20
#: Most classes that a list of missing ones names.
MAX_NAMED = 5
#: Columns that take more bytes than this are not searched for copies: it would take longer than some seconds.
MAX_BYTES = 4_000_000_000
#: What it means if a class is missing in another split, and in the training split.
WITHOUT = (
    "its scores do not cover such a class",
    "the model cannot learn such a class: add examples, hold out fewer, or raise the limit",
)


def split_report(data: Data) -> tuple[list[str], list[str]]:
    """Return a line for each split, how many targets each class has, and what is suspicious of the splits.

    Suspicious are a single class, missing classes (unless an example has several targets, as a sentence), and examples
    that are in two splits.
    """
    parts = {name: data.split(name) for name in data.splits}
    notes, warnings = [], []
    for name, part in parts.items():
        if (found := class_targets(data.facts, part)) is None:
            continue
        labels, counts = [_visible(label) for label in found.labels], found.counts.tolist()
        notes.append(f"{name} by class: {_counted(labels, counts)}")
        present = [label for label, count in zip(labels, counts, strict=True) if count]
        missing = [label for label, count in zip(labels, counts, strict=True) if not count]
        if name == "train" and len(present) == 1:
            warnings.append(f'all targets of train are "{present[0]}"; there is nothing to learn with one class')
        elif missing and not found.several:
            warnings.append(f"{name} has no example of {_listed(missing)}; {WITHOUT[name == 'train']}")
    copies = data.copies if isinstance(data, SupportsCopies) else _copies_in_memory(parts)
    pairs = combinations([name for name in SPLITS if name in parts], 2)
    return notes, warnings + [
        text for first, second in pairs if (text := _copied(copies(second, first), second, first))
    ]


def _row_keys(columns: Columns) -> list[Hashable]:
    """Return a key for each example: equal if all inputs are."""
    inputs = [column for name, column in columns.columns.items() if name not in NO_INPUTS]
    return list(zip(*map(_column_keys, inputs), strict=True))


def in_both(keys: Sequence[Hashable], others: Collection[Hashable]) -> Tensor:
    """Return which of `keys` are among `others`: (N,) bool."""
    known = set(others)
    return torch.tensor([key in known for key in keys], dtype=torch.bool)


def _copies_in_memory(parts: Mapping[str, Any]) -> Callable[[str, str], tuple[Tensor, Tensor]]:
    """Return a function as `SupportsCopies.copies` that compares columns byte by byte, and finds none elsewhere."""
    keys = {
        name: _row_keys(part) if isinstance(part, Columns) and part.nbytes <= MAX_BYTES else []
        for name, part in parts.items()
    }

    def copies(split: str, other: str) -> tuple[Tensor, Tensor]:
        exact = in_both(keys[split], keys[other])
        return exact, exact

    return copies


def _copied(copies: tuple[Tensor, Tensor], split: str, other: str) -> str | None:
    """Return a sentence about the examples of `split` that also occur in `other`, or None if there are none."""
    exact, near = copies
    num_exact, num_more = int(exact.sum()), int((near & ~exact).sum())
    if not num_exact:
        return f"{num_more} of {len(exact)} examples of {split} are nearly the same as in {other}" if num_more else None
    if num_exact == len(exact):
        return f"all {num_exact} examples of {split} also occur in {other}: is the same file used for both?"
    more = f", {num_more} more nearly so" if num_more else ""
    return f"{num_exact} of {len(exact)} examples of {split} also occur in {other} (exact copies){more}"


def _column_keys(column: Tensor | Ragged) -> list[int]:
    if isinstance(column, Ragged):
        parts: Sequence[Tensor] = column.concatenated().cpu().split(column.lengths.tolist())
        return [hash(_bytes(part)) for part in parts]
    rows = column.cpu().reshape(len(column), -1).contiguous()
    return [hash(row.tobytes()) for row in rows.view(torch.uint8).numpy()]


def _bytes(values: Tensor) -> bytes:
    return bytes(values.contiguous().flatten().view(torch.uint8).numpy())


def _visible(label: str) -> str:
    """Return a label, in quotes if it has a blank at an end, as the letter between two words."""
    return label if label and label == label.strip() else f'"{label}"'


def _counted(labels: Sequence[str], counts: Sequence[int]) -> str:
    if len(labels) <= MAX_CLASSES:
        return ", ".join(f"{label} ({count:,})" for label, count in zip(labels, counts, strict=True))
    present = sorted((count, label) for label, count in zip(labels, counts, strict=True) if count)
    missing = [label for label, count in zip(labels, counts, strict=True) if not count]
    if not present:
        return f"none of {len(labels)} classes"
    (fewest, rare), (most, common) = present[0], present[-1]
    without = f"; without {_listed(missing)}" if missing else ""
    return f"{len(present)} of {len(labels)} classes, from {rare} ({fewest:,}) to {common} ({most:,}){without}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
