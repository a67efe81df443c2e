from __future__ import annotations

import csv
import json
import re
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn
from torch.testing import assert_close

from dlpipe.compute import Compute
from dlpipe.data import Columns
from dlpipe.errors import InputError
from dlpipe.evaluation import Examples
from dlpipe_vision.cnn import CNN
from dlpipe_vision.content_and_style import ContentAndStyle
from dlpipe_vision.style_transfer import StyleTransfer
from dlpipe_vision.stylization import Stylization

SHAPE = (3, 16, 16)
NAMES = ["style_accuracy", "style_distance", "content_distance", "edge_correlation"]
BY_KIND = ["style_accuracy_known_kinds", "style_accuracy_new_kinds"]


def network(seed: int) -> CNN:
    torch.manual_seed(seed)
    return CNN(SHAPE, 7, layers=[{"conv": 5}, {"pool": 2}, {"conv": 6}])


def transfer() -> StyleTransfer:
    layers = ["layers.0", "layers.2"]
    return StyleTransfer(SHAPE, (0.0, 1.0), network(0), content_layer="layers.2", style_layers=layers, width=4)


class Copies(StyleTransfer):
    """Returns the content or the style as it is."""

    def __init__(self, what: str) -> None:
        torch.manual_seed(0)
        super().__init__(SHAPE, (0.0, 1.0), network(0), content_layer="layers.2", style_layers=["layers.0"], width=4)
        self.what = what

    def forward(self, images, styles):
        return {"pictures": {"content": images, "style": styles}[self.what]}


class KnowsNewKinds(Copies):
    """Returns the style for new kinds only, and the content for others."""

    def forward(self, images, styles, new_kinds):
        return {"pictures": torch.where(new_kinds[:, None, None, None], styles, images)}


@pytest.fixture
def examples() -> Examples:
    data = ContentAndStyle(size=16, train_size=4, dev_size=4, test_size=12)
    return Examples(data, "test", Compute(torch.device("cpu"), evaluation_batch_size=5))


def stylization(**options) -> Stylization:
    return Stylization(SHAPE, network(1), judge_layers=["layers.0", "layers.2"], num_styles=4, **options)


def test_the_style_image_itself_has_all_style_and_no_content(examples):
    metrics = stylization().evaluate(Copies("style"), examples)

    assert metrics["style_accuracy"] == metrics["style_accuracy_new_kinds"] == 1.0
    assert metrics["style_distance"] == 0.0
    assert metrics["content_distance"] == pytest.approx(1.0)
    assert abs(metrics["edge_correlation"]) < 0.3


def test_the_content_image_itself_has_all_content_and_no_style(examples):
    metrics = stylization().evaluate(Copies("content"), examples)

    assert [metrics[name] for name in NAMES[1:]] == pytest.approx([1.0, 0.0, 1.0], abs=1e-5)
    for name in [*NAMES, *BY_KIND]:
        assert metrics[name] == metrics[f"unchanged_{name}"]


def test_known_and_new_kinds_are_told_apart(examples):
    metrics = stylization().evaluate(KnowsNewKinds("style"), examples)

    assert metrics["style_accuracy_new_kinds"] == 1.0
    assert metrics["style_accuracy_known_kinds"] == metrics["unchanged_style_accuracy_known_kinds"] < 1.0


def test_colors_of_the_style_leave_the_edges(examples):
    metrics = stylization().evaluate(transfer(), examples)

    assert metrics["color_style_distance"] < 1
    assert metrics["color_edge_correlation"] > 0.8
    assert set(metrics) == {f"{method}{name}" for method in ("", "unchanged_", "color_") for name in [*NAMES, *BY_KIND]}


def test_optimized_pixels_come_nearer_to_the_style(examples):
    metrics = stylization(optimization_steps=15).evaluate(transfer(), examples)

    assert metrics["optimized_style_distance"] < 0.7


def test_a_batch_is_as_good_as_another_and_nothing_is_changed(examples):
    model, evaluator = transfer(), stylization()
    state = torch.get_rng_state()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    first = evaluator.evaluate(model, examples)

    assert state.equal(torch.get_rng_state())
    assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    whole = Examples(examples.data, "test", Compute(torch.device("cpu")))
    assert evaluator.evaluate(model, whole) == pytest.approx(first, rel=1e-4)


def test_what_is_only_tried_takes_few_steps(examples, monkeypatch):
    taken = []
    monkeypatch.setattr(
        "dlpipe_vision.stylization.optimize_pixels",
        lambda _, images, styles, **options: taken.append(options) or images,
    )
    tried = Examples(examples.data, "test", examples.compute, limit=1)

    for some in (examples, tried):
        stylization(optimization_steps=7).evaluate(transfer(), some)

    assert [each["steps"] for each in taken] == [7, 7, 7, 1]


def test_one_pair_gives_finite_metrics(examples):
    few = Examples(examples.data, "test", examples.compute, most=1)

    metrics = stylization(optimization_steps=2).evaluate(transfer(), few)

    assert all(torch.tensor(value).isfinite() for value in metrics.values())
    assert "style_accuracy_new_kinds" not in metrics


def test_one_style_cannot_be_told_from_others(examples):
    split = examples.data.split("test")
    same = Columns(split.batch(torch.tensor([0, 0, 0])), prepare=split.prepare)
    data = SimpleNamespace(split=lambda _: same)

    with pytest.raises(InputError, match="with several styles, and the split has only one; add styles"):
        stylization().evaluate(transfer(), Examples(data, "test", examples.compute))


def test_pictures_and_a_table_are_written(examples, tmp_path):
    evaluator = stylization(optimization_steps=2)
    metrics = evaluator.evaluate(transfer(), examples)

    items = evaluator.write(tmp_path)

    assert [item.file for item in items] == ["matrix.png", "pairs.png", "methods.csv"]
    for name in ("matrix.png", "pairs.png"):
        with Image.open(tmp_path / name, formats=["PNG"]) as image:
            assert min(image.size) > 400
    with (tmp_path / "methods.csv").open(newline="") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["network", "unchanged", "color", "optimized"]
    assert float(rows["color"]["style_distance"]) == pytest.approx(metrics["color_style_distance"], abs=1e-4)
    assert json.dumps(metrics)


def test_another_model_is_refused(examples):
    with pytest.raises(
        InputError, match=re.escape("vision.stylization needs vision.style_transfer; the model is Linear")
    ):
        stylization().evaluate(nn.Linear(1, 1), examples)


def test_a_layer_that_the_judge_has_not_is_refused():
    with pytest.raises(InputError, match='judge_layers: CNN has no layer "layers.5"'):
        Stylization(SHAPE, network(1), judge_layers=["layers.5"])
