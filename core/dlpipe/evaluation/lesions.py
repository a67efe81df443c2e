"""Accuracy of a network without each of its blocks.

Source: Veit et al. 2016, "Residual Networks Behave Like Ensembles of Relatively Shallow Networks", section 4.1,
https://arxiv.org/abs/1605.06431.
Axes: N examples, L blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

import torch
from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe.evaluation.classification import Answers, collect
from dlpipe.evaluation.csv_files import write_csv
from dlpipe.evaluation.example_scores import ExampleScores
from dlpipe.evaluation.examples import Examples
from dlpipe.figures import BLUE, GREY, ORANGE, drawing
from dlpipe.protocols import SupportsBypasses
from dlpipe.report_items import ReportItem


@dataclass(frozen=True)
class Lesion:
    """What one block does.

    Args:
        block: its name.
        accuracy: of the network without it.
        changes_shape: whether its outputs have another shape than its inputs, so that its shortcut is not the identity.
        openness: mean of its gate over units and examples, from 0 to 1; None if it has none.
    """

    block: str
    accuracy: float
    changes_shape: bool
    openness: float | None


class Lesions:
    """Evaluate a classifier without each of its blocks: the block is left out, and its shortcut remains.

    ``evaluate`` returns ``accuracy`` of the whole network, ``without_a_block_median`` and ``without_a_block_min``, the
    median and the smallest accuracy without a block, and for a highway network ``openness``, the mean of its gates.
    Nothing is trained, and the statistics of batch normalization stay those of the whole network. The model runs over
    the split once more than it has blocks; ``splits = ["test"]`` avoids this during training. ``write`` writes
    ``lesions.csv`` and ``lesions.png``.

    Args:
        num_classes: how many classes there are.
    """

    primary = "accuracy"
    goal: Literal["max"] = "max"

    def __init__(self, num_classes: int) -> None:
        self._num_classes = num_classes
        self._whole: Answers | None = None
        self._lesions: list[Lesion] = []

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Evaluate the model as it is, and without each block."""
        bypasses = model.bypasses() if isinstance(model, SupportsBypasses) else {}
        if not bypasses:
            raise InputError(
                f"core.lesions needs a model with blocks that can be left out; {type(model).__name__} has none. Choose "
                'a model with a connection around its layers, such as core.mlp with connection = "residual", or leave '
                "core.lesions out"
            )
        blocks = {name: model.get_submodule(name) for name in bypasses}

        def answers() -> Answers:
            # A pass of its own: what the shared one has cached is that of the whole network.
            passed = examples.predictions_on(model, examples.data.split(examples.split))
            return collect(passed, self._num_classes, model)

        # Otherwise the network is compiled again for each block that is replaced.
        with torch.compiler.set_stance("force_eager"):
            with _watched(blocks) as seen:
                self._whole = answers()
            self._lesions = []
            for name, bypass in bypasses.items():
                with _replaced(blocks[name], bypass):
                    accuracy = answers().accuracy
                opened, count, changes = examples.compute.ranks.total(seen[name]).tolist()
                self._lesions.append(Lesion(name, accuracy, changes > 0, opened / count if count else None))
        accuracies = [lesion.accuracy for lesion in self._lesions]
        metrics = {
            "accuracy": self._whole.accuracy,
            "without_a_block_median": median(accuracies),
            "without_a_block_min": min(accuracies),
        }
        if gates := [lesion.openness for lesion in self._lesions if lesion.openness is not None]:
            metrics["openness"] = sum(gates) / len(gates)
        return metrics

    def example_scores(self) -> ExampleScores:
        """Return 1 for each example that the whole network got right in the last `evaluate`, 0 for the others."""
        assert self._whole is not None
        return ExampleScores(self._whole.rows.tolist(), self._whole.right.int().tolist())

    def write(self, folder: Path) -> list[ReportItem]:
        """Write the table and draw the error without each block."""
        assert self._whole is not None
        write_csv(
            folder / "lesions.csv",
            [
                ["block", "accuracy_without", "changes_shape", "openness"],
                *([each.block, each.accuracy, each.changes_shape, each.openness] for each in self._lesions),
            ],
        )
        gated = any(each.openness is not None for each in self._lesions)
        _draw(folder / "lesions.png", self._lesions, 1 - self._whole.accuracy, gated)
        gates = " Below: how far the gate of each block is open; a closed one passes the input on." if gated else ""
        return [
            ReportItem(
                "lesions.png",
                "Error without each block",
                "Share of wrong predictions of the network without one of its blocks, counted from the input on. "
                "Without an orange one, whose outputs have another shape than its inputs, a shortcut that changes the "
                f"shape remains; without a blue one, its input. The dashed line is the error of the whole network, "
                f"{1 - self._whole.accuracy:.3f}.{gates}",
            )
        ]


@contextmanager
def _watched(blocks: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Collect of each block the sum and number of values of its gate, and how often its outputs had another shape."""
    seen = {name: torch.zeros(3, dtype=torch.float64) for name in blocks}

    def compare(name: str, inputs: Tensor, outputs: Tensor) -> None:
        seen[name][2] += inputs.shape != outputs.shape

    def add(name: str, gate: Tensor) -> None:
        seen[name][:2] += torch.tensor([float(gate.double().sum()), gate.numel()])

    with ExitStack() as hooks:
        for name, block in blocks.items():
            hooks.callback(
                block.register_forward_hook(lambda _, args, out, name=name: compare(name, args[0], out)).remove
            )
            if isinstance(gate := getattr(block, "gate", None), nn.Module):
                hooks.callback(gate.register_forward_hook(lambda _, __, out, name=name: add(name, out)).remove)
        yield seen


@contextmanager
def _replaced(block: nn.Module, bypass: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Let a block return what remains without it."""
    hook = block.register_forward_hook(lambda _, args, __: bypass(args[0]))
    try:
        yield
    finally:
        hook.remove()


def _draw(path: Path, lesions: Sequence[Lesion], whole: float, gated: bool) -> None:
    numbers = range(1, len(lesions) + 1)
    with drawing(path, 6.4, 5.0 if gated else 3.0) as figure:
        panels = figure.subplots(2 if gated else 1, 1, sharex=True, squeeze=False)[:, 0]
        colors = [ORANGE if each.changes_shape else BLUE for each in lesions]
        panels[0].bar(numbers, [1 - each.accuracy for each in lesions], color=colors)
        panels[0].axhline(whole, color=GREY, linestyle="--", linewidth=1)
        panels[0].set(ylabel="error without the block", ylim=(0, 1))
        if gated:
            panels[1].bar(numbers, [each.openness or 0.0 for each in lesions], color=BLUE)
            panels[1].set(ylabel="mean of the gate", ylim=(0, 1))
        panels[-1].set(xlabel="block", xlim=(0.4, len(lesions) + 0.6))
        panels[-1].xaxis.get_major_locator().set_params(integer=True)
