"""Data that is kept in memory as tensors: building a batch takes one index operation per column.

Axes: N examples, B examples of a batch, T positions of the longest sequence in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import cast

import torch
from torch import Tensor

from dlpipe.data.huge_pages import use_huge_pages
from dlpipe.data.model_caller import reserved_name
from dlpipe.data.targets import IGNORE_INDEX
from dlpipe.protocols import Batch

#: Converts a stored batch to what a model takes (bytes to numbers, augmentation, noise), on the device of the batch.
#: Called with the batch of all columns, a generator on that device whose seed follows from (seed, epoch, batch), and
#: whether the batch is for training.
Prepare = Callable[[Batch, torch.Generator, bool], Batch]


class Ragged:
    """N sequences of different lengths, concatenated.

    Args:
        values: (total, …) the concatenated sequences; int64 is kept as int32 if that is enough.
        lengths: (N,) int64; their sum is ``total``.
        padding: value that pads the shorter sequences of a batch. `IGNORE_INDEX` for a column ``targets``, so that
            losses and metrics leave the padding out; no number would do so, and `Columns` refuses ``targets`` that are
            sequences of numbers.
        table: (V, …) if given, `values` (total,) and `padding` are numbers of its rows, which a batch contains instead:
            for values that repeat, such as the letters of a word.
    """

    def __init__(self, values: Tensor, lengths: Tensor, *, padding: float = 0, table: Tensor | None = None) -> None:
        if int(lengths.sum()) != len(values):
            raise ValueError(f"lengths sum to {int(lengths.sum())}, but values has {len(values)} positions")
        self.lengths = lengths.cpu()
        # One extra position holds the padding: gathering it costs less than filling a mask afterwards.
        self.values = _compact(torch.cat([values, values.new_full((1, *values.shape[1:]), padding)]))
        self._type = values.dtype
        self.starts = torch.cumsum(lengths, 0) - lengths
        self.table = table

    def __len__(self) -> int:
        return len(self.lengths)

    def to(self, device: torch.device) -> Ragged:
        """Return the same sequences on another device; the lengths stay on the CPU."""
        moved = object.__new__(Ragged)
        moved.lengths, moved.values, moved.starts = self.lengths, self.values.to(device), self.starts.to(device)
        moved.table, moved._type = None if self.table is None else self.table.to(device), self._type
        return moved

    def indices(self, rows: Tensor, lengths: Tensor, multiple: int = 1) -> Tensor:
        """Return (B, T) indices into `values` for `rows` (B,) on its device, their lengths on the CPU.

        T is the length of the longest, rounded up to a multiple of `multiple`.
        """
        longest = -(-int(lengths.max()) // multiple) * multiple
        steps = torch.arange(longest, device=rows.device)
        indices = self.starts.index_select(0, rows).unsqueeze(1) + steps
        if int(lengths.min()) < longest:
            beyond = steps >= lengths.to(rows.device, non_blocking=True).unsqueeze(1)
            indices = indices.masked_fill_(beyond, len(self.values) - 1)
        return indices

    def gather(self, indices: Tensor) -> Tensor:
        """Return the values (B, T, …) at `indices` (B, T)."""
        flat = self.values.index_select(0, indices.view(-1))
        flat = flat.to(self._type) if self.table is None else self.table.index_select(0, flat)
        return flat.view(*indices.shape, *flat.shape[1:])

    @property
    def padding(self) -> Tensor:
        """The value (…) that pads, as batches contain it."""
        last = self.values[-1:]
        return (last.to(self._type) if self.table is None else self.table.index_select(0, last))[0]

    def concatenated(self) -> Tensor:
        """Return the values (total, …) of all sequences, as batches contain them."""
        return self.gather(torch.arange(len(self.values) - 1, device=self.values.device))

    @property
    def nbytes(self) -> int:
        """Memory of the values in bytes."""
        return self.values.nbytes + (0 if self.table is None else self.table.nbytes)


def is_length(name: str) -> bool:
    """Whether a column of a batch has the lengths of sequences, which stay on the CPU."""
    return name == "lengths" or name.endswith("_lengths")


def on_device(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Return a batch with all columns on the device, except lengths."""
    return {name: column if is_length(name) else column.to(device, non_blocking=True) for name, column in batch.items()}


def _compact(values: Tensor) -> Tensor:
    """Return whole numbers in half the memory where they fit."""
    if values.dtype != torch.int64 or not values.numel():
        return values
    least, most = values.aminmax()
    limits = torch.iinfo(torch.int32)
    return values.int() if limits.min <= least and most <= limits.max else values


def _require_ignored_padding(targets: Ragged) -> None:
    """Refuse targets whose padding would count in losses and metrics."""
    padding = targets.padding
    if padding.is_floating_point():
        raise ValueError(
            "the column 'targets' has sequences of numbers, whose padding would count as targets; expected classes: "
            "give the column another name, and the model methods loss() and count_loss_terms() that leave out what is "
            "beyond the lengths"
        )
    if bool((padding != IGNORE_INDEX).any()):
        raise ValueError(
            f"the column 'targets' is padded with {padding.tolist()}, which would count as a class; expected "
            f"Ragged(…, padding=IGNORE_INDEX), which is {IGNORE_INDEX}"
        )


class Columns:
    """A split as columns of N examples each.

    Sequences of equal lengths share their index computation. A batch contains every requested
    column and, for sequences, ``lengths`` (B,) of the first ragged column. Another ragged column
    ``name`` with different lengths adds ``name_lengths``. Lengths always stay on the CPU, so that
    reading them never waits for a GPU.

    Args:
        columns: tensors (N, …) or `Ragged` sequences by name, which must not be one that dlpipe uses: ``rows``,
            ``step``, ``seed``, ``label_smoothing``, ``class_weights``, or a name of lengths. ``targets`` that are
            sequences are classes, padded with `IGNORE_INDEX`.
        prepare: function that `Batches` applies to each batch on its device; None applies nothing.
    """

    def __init__(self, columns: Mapping[str, Tensor | Ragged], *, prepare: Prepare | None = None) -> None:
        for name, column in columns.items():
            if not isinstance(column, (Tensor, Ragged)):
                raise ValueError(f"column {name!r} is of type {type(column).__name__}; expected a tensor or Ragged")
        sizes = {name: len(column) for name, column in columns.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"columns have different numbers of examples: {sizes}")
        self.columns, self.prepare = dict(columns), prepare
        self._length_names: dict[str, str] = {}
        ragged = {name: column for name, column in columns.items() if isinstance(column, Ragged)}
        for name, column in ragged.items():
            first = next(other for other in ragged if torch.equal(ragged[other].lengths, column.lengths))
            self._length_names[name] = "lengths" if first == next(iter(ragged)) else f"{first}_lengths"
        if taken := set(columns) & set(self._length_names.values()):
            raise ValueError(f"the name of column {min(taken)!r} is reserved for the lengths of sequences; rename it")
        if problem := reserved_name(columns):
            raise ValueError(problem)
        if "targets" in ragged:
            _require_ignored_padding(ragged["targets"])

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def lengths(self) -> Tensor | None:
        """Lengths (N,) of the first ragged column, by which batches are bucketed."""
        return next((column.lengths for column in self.columns.values() if isinstance(column, Ragged)), None)

    @property
    def length_names(self) -> Mapping[str, str]:
        """The name in a batch of the lengths of each ragged column."""
        return self._length_names

    @property
    def nbytes(self) -> int:
        """Memory of the columns in bytes."""
        return sum(column.nbytes for column in self.columns.values())

    @property
    def device(self) -> torch.device:
        """The device of the columns."""
        first = next(iter(self.columns.values()))
        return first.values.device if isinstance(first, Ragged) else first.device

    def use_huge_pages(self) -> None:
        """Move large columns on the CPU into huge pages, where the system supports that."""
        for column in self.columns.values():
            use_huge_pages(column.values if isinstance(column, Ragged) else column)

    def to(self, device: torch.device) -> Columns:
        """Return the columns on a device."""
        return self if device == self.device else self._with({name: c.to(device) for name, c in self.columns.items()})

    def select(self, names: Collection[str]) -> Columns:
        """Return the named columns that exist, or all columns if none of them exists.

        Lengths keep their names and can be selected by them; a sequence that is not in `names` is kept if
        its lengths are.
        """
        chosen = {name: column for name, column in self.columns.items() if name in names}
        available = {self._length_names.get(name) for name in chosen}
        for name, key in self._length_names.items():
            if key in names and key not in available:
                chosen[name] = self.columns[name]
                available.add(key)
        return self._with(chosen or self.columns)

    def _with(self, columns: dict[str, Tensor | Ragged]) -> Columns:
        """Return new columns, with the names of their lengths unchanged."""
        result = Columns(columns, prepare=self.prepare)
        result._length_names = {name: key for name, key in self._length_names.items() if name in columns}
        return result

    def batch(self, rows: Tensor, device_rows: Tensor | None = None, *, multiple: int = 1) -> Batch:
        """Return the examples `rows` (B,), int64 on the CPU.

        Args:
            device_rows: the same rows on the device of the columns, if the caller already has them there.
            multiple: pad sequences to a multiple of this length.
        """
        on_device = rows if device_rows is None else device_rows
        if not self._length_names:
            return {name: column.index_select(0, on_device) for name, column in self.columns.items()}  # type: ignore[union-attr]
        batch: Batch = {}
        shared: dict[str, Tensor] = {}
        for name, column in self.columns.items():
            if isinstance(column, Ragged):
                key = self._length_names[name]
                if key not in shared:
                    batch[key] = column.lengths.index_select(0, rows)
                    shared[key] = column.indices(on_device, batch[key], multiple)
                batch[name] = column.gather(shared[key])
            else:
                batch[name] = column.index_select(0, on_device)
        return batch

    def padded(self, batch: Batch, multiple: int) -> Batch:
        """Return a batch whose sequences, which `prepare` may have made longer or shorter, are padded to a multiple.

        A column that only `prepare` makes stays as it is, since what would pad it is not known.

        Args:
            multiple: of which the sequences have a length in the result; their ``lengths`` stay as they are.
        """
        found = dict(batch)
        for name, key in self._length_names.items():
            padding, values = cast(Ragged, self.columns[name]).padding, batch.get(name)
            if values is None or key not in batch or values.dim() != 2 + padding.dim():
                continue
            if values.shape[2:] != padding.shape or values.size(1) < int(batch[key].max()):
                continue  # it is no longer such a sequence
            if missing := -values.size(1) % multiple:
                beyond = padding.to(values).expand(len(values), missing, *padding.shape)
                found[name] = torch.cat([values, beyond], dim=1)
        return found


def columns_of(examples: list[Batch], paddings: Mapping[str, float]) -> Columns:
    """Combine single examples into columns; sequences become `Ragged`.

    Args:
        examples: dicts of tensors with the same keys.
        paddings: padding value by name, for the columns that are sequences; other columns are stacked.
    """
    columns: dict[str, Tensor | Ragged] = {}
    for name in examples[0]:
        values = [example[name] for example in examples]
        if name in paddings:
            lengths = torch.tensor([len(value) for value in values])
            columns[name] = Ragged(torch.cat(values), lengths, padding=paddings[name])
        else:
            columns[name] = torch.stack(values)
    return Columns(columns)
