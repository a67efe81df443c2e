from __future__ import annotations

import csv
import json

import pytest
import torch
from matplotlib.figure import Figure
from torch.testing import assert_close

from dlpipe.compute import Compute
from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import run
from dlpipe.errors import InputError, NonFiniteError
from dlpipe.evaluation import Examples
from dlpipe.registry.loading import load_plugins
from dlpipe.testing import check_resume
from dlpipe_text.adding_problem import AddingProblem
from dlpipe_text.error_surface import ErrorSurface, losses
from dlpipe_text.impulse import Impulse
from dlpipe_text.one_unit import OneUnit
from dlpipe_text.sequence_regressor import SequenceRegressor

pytestmark = pytest.mark.usefixtures("without_report")

CPU = Compute(torch.device("cpu"))
DATA = Impulse(length=51, value=0.5, target=0.7)


def examples() -> Examples:
    return Examples(DATA, "test", CPU)


def run_cliff(root, folder, *assignments):
    path = root / "pipelines" / "studies" / "recurrent_cliff.toml"
    registry = load_plugins()
    return run(load_pipeline(path, registry, assignments), registry, folder).path


def test_the_surface_is_the_loss_of_the_model_with_these_weights():
    model = OneUnit(1, activation="sigmoid")
    batch = DATA.split("test").columns
    weights, biases = torch.tensor([4.0, 5.0, 6.0]), torch.tensor([-2.0, -2.5, -3.4])

    found = losses(model, batch, weights, biases)

    for loss, weight, bias in zip(found, weights.tolist(), biases.tolist(), strict=True):
        alone = OneUnit(1, activation="sigmoid", weight=weight, bias=bias)
        assert_close(loss, alone.loss(alone(batch["features"]), batch["targets"], None).detach())


def test_there_is_a_cliff():
    """Pascanu et al. 2013: the state jumps from one fixed point to the other within a hair's breadth."""
    low, high = losses(
        OneUnit(1, activation="sigmoid"),
        DATA.split("test").columns,
        torch.tensor([5.0, 5.0]),
        torch.tensor([-2.65, -2.6]),
    )

    assert low > 0.3
    assert high < 0.02


def test_the_metrics_are_output_and_derivatives():
    model = OneUnit(1, weight=1.02, bias=0.001)
    data = Impulse(length=100, target=3.0)

    metrics = ErrorSurface(weight=(0.9, 1.1), bias=(-0.1, 0.1), resolution=3).evaluate(
        model, Examples(data, "test", CPU)
    )

    w, b = (torch.tensor(float(value.detach()), dtype=torch.double, requires_grad=True) for value in model.parameters())
    output = w**99 + b * (w**99 - 1) / (w - 1)  # the closed form
    output.backward()
    assert metrics == {
        "loss": pytest.approx((output.item() - 3) ** 2),
        "output": pytest.approx(output.item()),
        "weight_gradient": pytest.approx(w.grad.item()),
        "bias_gradient": pytest.approx(b.grad.item()),
        "inside": 1.0,
    }


def test_the_files_in_the_report_are_there(tmp_path):
    surface = ErrorSurface(weight=(0.9, 1.1), bias=(-0.1, 0.1), resolution=3)
    surface.evaluate(OneUnit(1, weight=1.0, bias=0.0), Examples(Impulse(length=4), "test", CPU))

    items = surface.write(tmp_path)

    assert sorted(item.file for item in items) == sorted(path.name for path in tmp_path.iterdir())
    assert len(items) == 3


def test_the_path_is_drawn_from_its_start_with_the_bias_to_the_right_and_the_weight_upwards(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: drawn.extend(self.axes))
    model = OneUnit(1, weight=1.0, bias=0.0, path_length=2)
    model.path.copy_(torch.tensor([[0.95, 0.05], [0.97, 0.02]]))
    surface = ErrorSurface(weight=(0.9, 1.1), bias=(-0.1, 0.1), resolution=3)

    surface.evaluate(model, Examples(Impulse(length=4), "test", CPU))
    surface.write(tmp_path)

    space, above, _ = drawn
    path = [(0.05, 0.95), (0.02, 0.97), (0.0, 1.0)]
    assert (above.get_xlabel(), above.get_ylabel()) == ("bias", "weight")
    assert [pytest.approx(place) for place in above.lines[0].get_xydata()] == path
    assert [pytest.approx(place) for place in above.lines[1].get_xydata()] == path[:1]
    assert [pytest.approx(place) for place in zip(*space.lines[0].get_data_3d()[:2], strict=True)] == path


@pytest.mark.parametrize(("path_length", "steps"), [(4, ["0", "1", "2"]), (2, ["0", "1", ""])])
def test_the_end_of_a_path_has_no_step_where_the_training_may_have_been_longer(tmp_path, path_length, steps):
    model = OneUnit(1, path_length=path_length)
    model.path[:2] = torch.tensor([[0.95, 0.05], [0.97, 0.02]])
    surface = ErrorSurface(weight=(0.9, 1.1), bias=(-0.1, 0.1), resolution=3)

    surface.evaluate(model, Examples(Impulse(length=4), "test", CPU))
    surface.write(tmp_path)

    assert [row["step"] for row in csv.DictReader((tmp_path / "path.csv").open())] == steps


def test_the_gradient_of_a_bias_that_is_not_learned_is_there_too():
    metrics = ErrorSurface().evaluate(OneUnit(1, learn_bias=False), examples())

    assert metrics["bias_gradient"] == 50


@pytest.mark.parametrize(("weight", "bias"), [(2.9, -2.0), (7.1, -2.0), (5.0, -3.6), (5.0, -0.9)])
def test_outside_of_the_figure(weight, bias):
    metrics = ErrorSurface(resolution=2).evaluate(OneUnit(1, weight=weight, bias=bias), examples())

    assert metrics["inside"] == 0.0


def test_the_files_have_the_path_of_the_training(root, tmp_path):
    path = run_cliff(root, tmp_path, "trainer.steps=7", "evaluators.surface.resolution=5") / "figures" / "surface"

    heading, *rows = csv.reader((path / "path.csv").open())
    steps = [[float(cell) for cell in row] for row in rows]
    assert heading == ["step", "weight", "bias", "loss"]
    assert [row[0] for row in steps] == list(range(8))
    # Each step goes down the gradient of the loss at the place before.
    w, b = (torch.tensor(value, requires_grad=True) for value in steps[3][1:3])
    model = OneUnit(1, activation="sigmoid")
    batch = DATA.split("train").columns
    outputs = torch.func.functional_call(model, {"weight": w, "bias": b}, (batch["features"],))
    torch.nn.functional.mse_loss(outputs, batch["targets"]).backward()
    assert_close(torch.tensor(steps[4][1:3]), torch.tensor(steps[3][1:3]) - 0.2 * torch.stack([w.grad, b.grad]))
    assert len([*csv.reader((path / "surface.csv").open())]) == 6
    assert (path / "surface.png").stat().st_size > 20_000


def test_clipping_keeps_runs_on_the_surface(root, tmp_path):
    def inside(*clipping):
        for seed in (2, 3, 4):
            small = ("evaluators.surface.resolution=2", f"seed={seed}", *clipping)
            folder = run_cliff(root, tmp_path / "-".join(clipping or ["off"]), *small)
            yield json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["test/surface/inside"]

    assert sum(inside("trainer.max_grad_norm=0.5")) == 3
    assert sum(inside()) == 0


def test_a_linear_unit_diverges_to_infinity_unless_gradients_are_clipped(root, tmp_path):
    linear = [
        "data.length=300",
        "model={use='text.one_unit', activation='linear', weight=1.05, bias=0.0, init_std=0.0}",
        "trainer.steps=10",
        "trainer.optimizer.lr=1e-3",
        "evaluators.surface.resolution=2",
    ]

    with pytest.raises(NonFiniteError, match=r"max_grad_norm = 1\.0"):
        run_cliff(root, tmp_path, *linear)
    folder = run_cliff(root, tmp_path / "clipped", *linear, "trainer.max_grad_norm=10.0")

    assert json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["test/surface/output"] < 10


def test_a_resumed_run_draws_the_same_path(root, tmp_path):
    check_resume(
        root / "pipelines" / "studies" / "recurrent_cliff.toml",
        tmp_path,
        assignments=["trainer.steps=6", "trainer.checkpoint_every=2", "evaluators.surface.resolution=2"],
    )


def test_another_model_is_refused():
    model = SequenceRegressor(2)

    with pytest.raises(InputError, match=r"the model is SequenceRegressor, expected text\.one_unit"):
        ErrorSurface().evaluate(model, Examples(AddingProblem(length=5, num_dev=3), "dev", CPU))


def test_an_empty_range_is_refused():
    with pytest.raises(InputError, match=r"bias = \[2, 1\]: expected a range, the smaller number first"):
        ErrorSurface(bias=(2.0, 1.0))
