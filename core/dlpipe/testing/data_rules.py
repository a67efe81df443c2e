"""The rules of the conformance kit for data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from dlpipe.compute import Compute, IsolatedRNG
from dlpipe.data.batches import Batches
from dlpipe.data.columns import Columns, Ragged
from dlpipe.data.worker_datasets import StreamParts
from dlpipe.engine.inference import TrainedStage
from dlpipe.engine.prediction import predict
from dlpipe.items import FailedItem
from dlpipe.protocols import SupportsItems, SupportsShards
from dlpipe.runs.plain_state import difference
from dlpipe.testing.checks import Use, is_local
from dlpipe.testing.stages import components_of, data_of

#: Examples of a torch dataset that are compared.
COMPARED = 16
#: How long a worker process may take to start and to read one example.
WORKER_SECONDS = 120


def same_split(use: Use) -> None:
    """Check that ``split(name)`` of one object returns the same examples again."""
    with data_of(use) as data:
        for name in data.splits:
            first, second = _content(data.split(name)), _content(data.split(name))
            assert not (place := difference(first, second)), (
                f"{use.place} split({name!r}) gives other examples when it is called again, at {place}; expected the "
                "same, as it is called whenever a split is needed: keep what was drawn, or draw with a generator that "
                "is seeded in split()"
            )
            _compare_shard(use, name, data.split(name))


def _compare_shard(use: Use, name: str, split: object) -> None:
    """Check that every second example of a stream is the same whether it is asked for alone or with the others."""
    if not (isinstance(split, IterableDataset) and isinstance(split, SupportsShards)):
        return
    with IsolatedRNG(0):
        each = [list(islice(StreamParts(split, n, rank=n - 1, ranks=n, start=0, seed=(0,)), COMPARED)) for n in (1, 2)]
    place = difference(each[0][1::2], each[1][: COMPARED // 2])
    assert not place, (
        f"{use.place} split({name!r}).shard(1, 2) gives other examples than every second one of shard(0, 1), at "
        f"{place}; expected the examples 1, 3, 5 … Draw an order in shard() itself, before an example "
        "is asked for"
    )


def same_data(use: Use) -> None:
    """Check that a second object with the same parameters has the same fingerprint and examples."""
    with data_of(use) as data, data_of(use) as again:
        first, second = data.fingerprint(), again.fingerprint()
        assert isinstance(first, str), f"{use.place} fingerprint() returned {type(first).__name__}; expected a string"
        assert first == second, (
            f"{use.place} fingerprint() is {first!r} and, built again with the same parameters, {second!r}; expected "
            "the same as long as the content is the same: leave out times, ids and the order of sets"
        )
        for name in data.splits:
            place = difference(_content(data.split(name)), _content(again.split(name)))
            assert not place, (
                f"{use.place} split({name!r}) has other examples when it is built again with the same parameters and "
                f"the same seed, at {place}, although fingerprint() is the same"
            )


def reaches_workers(use: Use) -> None:
    """Check that a worker process gets the facts, and what it reads examples of a torch dataset from."""
    with data_of(use) as data:
        _pickle(use, "facts", dict(data.facts))
        for name in data.splits:
            split = data.split(name)
            if isinstance(split, Columns) or not isinstance(split, Dataset):
                continue
            _pickle(use, f"split({name!r})", split)
            # Another process cannot import a local plugin, whatever is in it; processes read the training split only.
            if name == "train" and not is_local(use.config.component.distribution):
                _read_in_worker(use, split)


def _read_in_worker(use: Use, split: Dataset[Any]) -> None:
    loader = DataLoader(split, batch_size=1, num_workers=1, multiprocessing_context="spawn", timeout=WORKER_SECONDS)
    try:
        next(iter(loader))
    except Exception as error:
        raise AssertionError(
            f"{use.place} split('train') cannot be read by a worker process that was started with spawn: "
            f"{type(error).__name__}: {error}"
        ) from error


def encodes_an_item(use: Use) -> None:
    """Check that an item becomes columns such as the splits have, and that the answer to it can be shown."""
    with data_of(use) as learned:
        assert isinstance(learned, SupportsItems), f"{use.place} has no encode() and present(); expected both"
        state, split = json.loads(json.dumps(learned.state())), learned.split(learned.splits[0])
        batch = next(Batches(split, 1, Compute(torch.device("cpu")), training=False).epoch(0))
    with data_of(use) as data:
        assert isinstance(data, SupportsItems)
        data.restore(state)
        for name, tensor in data.encode(str(use.item)).items():
            _compare_column(use, name, tensor, batch)
        with components_of(use, data=data) as built:
            trained = TrainedStage(use.pipeline, use.stage, Path(), built, Path())
            for answer in predict(trained, [("item", str(use.item))]):
                if isinstance(answer, FailedItem):
                    raise answer.error


def _compare_column(use: Use, name: str, tensor: Tensor, batch: dict[str, Tensor]) -> None:
    """Compare a column of an encoded item with that of a batch of one example."""
    assert name in batch, (
        f"{use.place} encode() gives the column {name!r}, which the splits do not have; they have {', '.join(batch)}"
    )
    example = batch[name][0]
    assert tensor.dtype == example.dtype, (
        f"{use.place} encode() gives {name!r} as {tensor.dtype}; expected {example.dtype}, as in a batch of the splits"
    )
    # The axes of a sequence are as long as the item.
    wanted, found = ((each.dim() if "lengths" in batch else each.shape) for each in (example, tensor))
    assert wanted == found, (
        f"{use.place} encode() gives {name!r} with shape {tuple(tensor.shape)}; expected {tuple(example.shape)}, the "
        "shape of one example of a split, without a batch axis"
    )


def _pickle(use: Use, what: str, value: Any) -> None:
    try:
        ForkingPickler.dumps(value)
    except Exception as error:
        raise AssertionError(
            f"{use.place} {what} cannot be sent to a worker process: {type(error).__name__}: {error}. Leave out what "
            "cannot be pickled, such as functions within functions and open files"
        ) from error


def _content(split: object) -> Any:
    """Return the examples of a split that are compared; nothing for what has none, such as an environment."""
    if isinstance(split, Columns):
        return {
            name: {"values": column.concatenated(), "lengths": column.lengths} if isinstance(column, Ragged) else column
            for name, column in split.columns.items()
        }
    with IsolatedRNG(0):  # as when a run reads them: with seeded global generators
        return list(islice(_examples(split), COMPARED))


def _examples(split: object) -> Iterator[Any]:
    if isinstance(split, IterableDataset):
        yield from split
    elif isinstance(split, Iterable) or hasattr(split, "__getitem__"):
        for row in range(len(split)):  # type: ignore[arg-type]
            yield split[row]
