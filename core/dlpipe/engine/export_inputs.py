"""What an exported model is given: batches of the dev split, which of their columns it takes, and which sizes vary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from dlpipe.compute import seed_everything
from dlpipe.data.batches import Batches
from dlpipe.data.model_caller import ModelCaller, column_names
from dlpipe.engine.export_formats import NamedOutputs, Shape
from dlpipe.engine.inference import TrainedStage
from dlpipe.errors import InputError, errors_in
from dlpipe.protocols import Batch, SupportsExampleInputs, SupportsExport

#: Sizes of the batches that are looked at; that of the first ones is the one that a model is exported with. A batch of
#: one example is where the size is most often taken for a constant.
SIZES = (5, 1, 8)
#: Batches of each size.
NUM_BATCHES = 6


@dataclass
class Exported:
    """What is exported, and what it is compared with.

    Args:
        model: the model, or the part of it that is exported, in evaluation mode on the CPU.
        split: that the batches are from.
        batches: inputs by name.
        expected: the outputs for each batch, by name.
        inputs: the shape of each input.
        outputs: the shape of each output.
    """

    model: NamedOutputs
    split: str
    batches: list[dict[str, Tensor]]
    expected: list[dict[str, Tensor]]
    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]

    @property
    def example(self) -> dict[str, Tensor]:
        """The batch to trace the model with: sizes that vary are not 1, which could be taken for a constant."""
        return max(self.batches, key=lambda batch: min(_varying(batch, self.inputs), default=0))


def exported_of(trained: TrainedStage) -> Exported:
    """Return what a trained run exports.

    Raises:
        InputError: the split has too few examples, or the model returns no tensors.
        ComponentError: the data or the model raises anything else.
    """
    split = _split_of(trained)
    with errors_in(trained.stage.data.table, data_table=trained.stage.data.table):
        found = list(_batches(trained, split))
    with errors_in((trained.stage.model or trained.stage.trainer).table), torch.no_grad():
        model = trained.model.eval()
        pairs = [_module_and_inputs(model, batch) for batch in found]
        exported, batches = NamedOutputs(pairs[0][0].eval()), [inputs for _, inputs in pairs]
        for name in list(batches[0]):
            exported, batches = _without(exported, batches, name)
        expected = [exported(**inputs) for inputs in batches]
    counts = [len(next(iter(batch.values()))) for batch in found]
    if len(set(counts)) < 2:
        raise InputError(f"the {split} split has {counts[0]} examples; expected at least 2, to export a model with")
    sizes: dict[tuple[int, ...], str] = {tuple(counts): "batch"}
    inputs = shapes_of(batches, sizes)
    return Exported(exported, split, batches, expected, inputs, shapes_of(expected, sizes))


def shapes_of(batches: Sequence[Mapping[str, Tensor]], sizes: dict[tuple[int, ...], str]) -> dict[str, Shape]:
    """Return the shape of each tensor, with names for the sizes that differ between batches.

    Args:
        sizes: the names of the sizes that are known, by their values in the batches; others are added. What is always
            equal is one size.
    """
    shapes: dict[str, Shape] = {}
    for name, first in batches[0].items():
        shape: list[int | str] = []
        for axis in range(first.dim()):
            values = tuple(batch[name].size(axis) for batch in batches)
            if len(set(values)) > 1 and values not in sizes:
                taken = sum(size.startswith("length") for size in sizes.values())
                sizes[values] = f"length_{taken + 1}" if taken else "length"
            shape.append(values[0] if len(set(values)) == 1 else sizes[values])
        shapes[name] = tuple(shape)
    return shapes


def _split_of(trained: TrainedStage) -> str:
    splits = trained.built.data.splits
    return "dev" if "dev" in splits else splits[-1]


def _batches(trained: TrainedStage, split: str) -> Iterator[Batch]:
    """Yield batches of several sizes; sequences are in the order of the split, so that lengths in a batch differ."""
    data = trained.built.data
    if isinstance(data, SupportsExampleInputs):
        yield from (data.example_inputs(split, size) for size in SIZES)
        return
    examples = data.split(split)
    for size in SIZES:
        batches = Batches(examples, size, trained.built.compute, training=False, bucket=False)
        yield from islice(batches.epoch(0), NUM_BATCHES)


def _module_and_inputs(model: nn.Module, batch: Batch) -> tuple[nn.Module, dict[str, Tensor]]:
    if not isinstance(model, SupportsExport):
        return model, ModelCaller(model, tuple(batch)).inputs(batch)
    seed_everything(len(next(iter(batch.values()))))
    return model.exported(batch)


def _without(
    model: NamedOutputs, batches: list[dict[str, Tensor]], name: str
) -> tuple[NamedOutputs, list[dict[str, Tensor]]]:
    """Return the same without a column that makes no difference, such as the targets of a model without conditions."""
    if len(batches[0]) == 1:
        return model, batches
    without = [{key: value for key, value in batch.items() if key != name} for batch in batches]
    required, _ = column_names(model.module.forward)
    other = NamedOutputs(model.module, (*model.unused, name)) if name in required else model
    try:
        same = all(_equal(model(**batch), other(**less)) for batch, less in zip(batches, without, strict=True))
    except Exception:  # whatever a model does without a column that it needs
        return model, batches
    return (other, without) if same else (model, batches)


def _equal(outputs: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(tensor, others[name]) for name, tensor in outputs.items())


def _varying(batch: Mapping[str, Tensor], shapes: Mapping[str, Shape]) -> list[int]:
    return [
        tensor.size(axis)
        for name, tensor in batch.items()
        for axis, size in enumerate(shapes[name])
        if isinstance(size, str)
    ]
