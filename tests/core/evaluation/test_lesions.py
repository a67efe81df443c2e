from __future__ import annotations

import csv

import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from dlpipe.compute import Compute
from dlpipe.data.columns import Columns
from dlpipe.errors import InputError
from dlpipe.evaluation.examples import Examples
from dlpipe.evaluation.lesions import Lesions
from dlpipe.layers import SkipConnection
from dlpipe.models.mlp import MLP


class Moves(nn.Module):
    """Moves each logit to the next class."""

    def forward(self, logits):
        return logits.roll(1, dims=1)


class Doubles(nn.Module):
    """Returns each logit twice."""

    def forward(self, logits):
        return logits.repeat(1, 2)


class Blocks(nn.Module):
    """Moves the logits of three classes to the next class, twice, and doubles their number; nothing else is learned."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Moves(), Moves(), Doubles()])

    def forward(self, numbers):
        for block in self.blocks:
            numbers = block(numbers)
        return numbers[:, :3]

    def bypasses(self):
        return {
            "blocks.0": lambda logits: logits,
            "blocks.1": lambda logits: logits.roll(2, dims=1),
            "blocks.2": lambda logits: F.pad(logits, (0, 3)),
        }


#: The first four are right after two moves, the fifth one after three.
LOGITS = F.one_hot(torch.tensor([0, 1, 2, 0, 1]), 3).float()
TARGETS = torch.tensor([2, 0, 1, 2, 1])


class Given:
    def __init__(self, columns):
        self._columns = Columns(columns)

    def split(self, name):
        return self._columns


def examples(columns=None):
    columns = columns or {"numbers": LOGITS, "targets": TARGETS}
    return Examples(Given(columns), "test", Compute(torch.device("cpu"), evaluation_batch_size=3))


def table(folder):
    with (folder / "lesions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def highway():
    torch.manual_seed(0)
    return MLP(num_features=4, num_classes=3, hidden_dim=5, num_layers=4, connection="highway")


POINTS = {
    "numbers": torch.randn(11, 4, generator=torch.Generator().manual_seed(0)),
    "targets": torch.arange(11) % 3,
}


def test_each_block_is_replaced_by_its_bypass(tmp_path):
    evaluator = Lesions(3)

    metrics = evaluator.evaluate(Blocks(), examples())
    evaluator.write(tmp_path)

    # Without the first block one move is missing; the bypass of the second moves twice, three times in all.
    assert metrics == {
        "accuracy": pytest.approx(0.8),
        "without_a_block_median": pytest.approx(0.2),
        "without_a_block_min": 0.0,
    }
    assert table(tmp_path) == [
        {"block": "blocks.0", "accuracy_without": "0.0", "changes_shape": "False", "openness": ""},
        {"block": "blocks.1", "accuracy_without": "0.2", "changes_shape": "False", "openness": ""},
        {"block": "blocks.2", "accuracy_without": "0.8", "changes_shape": "True", "openness": ""},
    ]


def test_the_model_is_the_same_afterwards():
    model, evaluator = Blocks(), Lesions(3)
    before = model(LOGITS)

    assert evaluator.evaluate(model, examples()) == evaluator.evaluate(model, examples())
    assert model(LOGITS).equal(before)
    assert not any(module._forward_hooks for module in model.modules())


def test_blocks_are_left_out_of_a_compiled_model_without_compiling_it_again():
    model, compiled = Blocks(), []
    model.compile(backend=lambda graph, inputs: compiled.append(graph) or graph)

    metrics = Lesions(3).evaluate(model, examples())

    assert not compiled
    assert metrics == Lesions(3).evaluate(Blocks(), examples())


def test_a_closed_highway_layer_is_not_missed_and_an_open_one_is_as_open_as_its_gate_says(tmp_path):
    model, evaluator = highway(), Lesions(3)
    closed, opened = (model.get_submodule(name) for name in list(model.bypasses())[:2])
    nn.init.constant_(closed.gate[0].bias, -1e9)
    nn.init.zeros_(opened.gate[0].weight)
    nn.init.constant_(opened.gate[0].bias, 1.0)

    metrics = evaluator.evaluate(model, examples(POINTS))
    evaluator.write(tmp_path)
    rows = table(tmp_path)

    assert float(rows[0]["accuracy_without"]) == metrics["accuracy"]
    assert float(rows[0]["openness"]) == 0
    assert float(rows[1]["openness"]) == pytest.approx(torch.tensor(1.0).sigmoid().item())
    assert metrics["openness"] == pytest.approx(sum(float(row["openness"]) for row in rows) / 3)


def test_the_gates_are_averaged_over_all_examples():
    model, seen = highway(), []
    for layer in model.layers:
        if isinstance(layer, SkipConnection):
            layer.gate.register_forward_hook(lambda _, __, gate: seen.append(gate))

    metrics = Lesions(3).evaluate(model, examples(POINTS))
    seen.clear()
    model(numbers=POINTS["numbers"])

    assert metrics["openness"] == pytest.approx(torch.stack(seen).mean().item())


def test_the_scores_of_examples_are_those_of_the_whole_network():
    evaluator = Lesions(3)
    evaluator.evaluate(Blocks(), examples())

    scores = evaluator.example_scores()

    assert (scores.rows, scores.scores) == ([0, 1, 2, 3, 4], [1, 1, 1, 1, 0])


def test_gates_have_a_panel_of_their_own(tmp_path):
    for model, columns, height, gates in ((Blocks(), None, 360, False), (highway(), POINTS, 600, True)):
        evaluator = Lesions(3)
        evaluator.evaluate(model, examples(columns))
        (item,) = evaluator.write(tmp_path)

        assert Image.open(tmp_path / item.file).size == (768, height)
        assert ("Below: how far the gate" in item.caption) == gates


def test_a_model_without_blocks_is_refused():
    for model in (nn.Linear(3, 3), MLP(num_features=3, num_classes=3, hidden_dim=5)):
        with pytest.raises(
            InputError,
            match=f"core.lesions needs a model with blocks that can be left out; {type(model).__name__} has none. "
            'Choose a model with a connection .* such as core.mlp with connection = "residual", or leave',
        ):
            Lesions(3).evaluate(model, examples())
