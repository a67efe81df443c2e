from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dlpipe.coach.examination import examine
from dlpipe.compute import Compute
from dlpipe.data.columns import Columns
from dlpipe.training.supervised import Supervised

SIZE, CLASSES = 5, 3


class Numbers:
    """As data: 12 examples of 5 numbers."""

    splits = ("train",)

    def __init__(self, scale: float = 1.0, offset: float = 0.0) -> None:
        generator = torch.Generator().manual_seed(0)
        self.facts: dict[str, object] = {}
        self.inputs = torch.randn(12, SIZE, generator=generator) * scale + offset
        self.columns = Columns({"inputs": self.inputs, "targets": torch.arange(12) % CLASSES})

    def split(self, name: str) -> Columns:
        return self.columns


class Net(nn.Module):
    """Layers, one after the other."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs):
        return self.layers(inputs)


def net(activation: nn.Module) -> Net:
    torch.manual_seed(1)
    return Net(nn.Linear(SIZE, 7), activation, nn.Linear(7, CLASSES))


def stepper(model: nn.Module, data: Numbers | None = None, **options):
    trainer = Supervised(model, data or Numbers(), Compute(torch.device("cpu")), 0, batch_size=12, **options)
    steps = trainer.steps()
    return trainer, lambda: next(steps)


def test_the_model_stays_as_it_is():
    model = Net(nn.Linear(SIZE, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, CLASSES))
    before = copy.deepcopy(model.state_dict())

    examine(model, stepper(model, optimizer={"use": "sgd", "lr": 1.0, "weight_decay": 0.5})[1], 3)

    assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_the_model_stays_as_it_is_if_a_step_fails():
    model = Net(nn.Linear(SIZE, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, CLASSES))
    before = copy.deepcopy(model.state_dict())

    def fail():
        model(Numbers().inputs)
        raise ValueError("no more data")

    with pytest.raises(ValueError, match="no more data"):
        examine(model, fail, 1)
    assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_training_goes_on_as_usual_afterwards():
    model = net(nn.ReLU())
    before = copy.deepcopy(model.state_dict())
    _, step = stepper(model, optimizer={"use": "sgd", "lr": 1.0})

    examine(model, step, 1)
    step()

    assert not torch.equal(model.layers[0].weight, before["layers.0.weight"])


def test_the_gradients_are_those_of_the_loss():
    model, data = net(nn.Tanh()), Numbers()
    same = copy.deepcopy(model)
    nn.functional.cross_entropy(same(data.inputs), torch.arange(12) % CLASSES).backward()

    found = examine(model, stepper(model, data)[1], 2).weights

    assert [each.layer for each in found] == ["layers.0", "layers.2"]
    for each, layer in zip(found, (same.layers[0], same.layers[2]), strict=True):
        assert each.gradient == pytest.approx(float(layer.weight.grad.square().mean().sqrt()), rel=1e-4)


def test_units_that_never_give_anything_are_silent():
    model = net(nn.ReLU())
    with torch.no_grad():
        model.layers[0].bias[:4] = -100.0
        model.layers[0].bias[4:] = 100.0

    (found,) = examine(model, stepper(model)[1], 1).units

    assert (found.layer, found.kind, found.count) == ("layers.1", "ReLU", 7)
    assert found.silent == pytest.approx(4 / 7)
    assert found.saturated == 0


@pytest.mark.parametrize("activation", [nn.Sigmoid(), nn.Tanh()])
def test_outputs_at_a_bound_are_saturated(activation):
    model = net(activation)
    with torch.no_grad():
        model.layers[0].bias[:4] = -100.0
        model.layers[0].weight[4:] = 0.0
        model.layers[0].bias[4:] = 0.0

    (found,) = examine(model, stepper(model)[1], 1).units

    assert found.saturated == pytest.approx(4 / 7)
    assert found.silent == 0  # a tanh at -1 gives something


def test_units_of_an_image_are_its_channels():
    class Pictures(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.relu, self.end = nn.Conv2d(1, 3, 1), nn.ReLU(), nn.Linear(3 * SIZE, CLASSES)

        def forward(self, inputs):
            return self.end(self.relu(self.conv(inputs.view(-1, 1, 1, SIZE))).flatten(1))

    model = Pictures()
    with torch.no_grad():
        model.conv.weight[:] = 1.0
        model.conv.bias[:] = torch.tensor([-100.0, 0.0, 0.0])

    (found,) = examine(model, stepper(model)[1], 1).units

    assert (found.count, found.silent) == (3, pytest.approx(1 / 3))


def test_an_activation_may_be_used_between_layers_of_several_sizes():
    class Reused(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.end = nn.Linear(SIZE, 7), nn.Linear(7, 4), nn.Linear(4, CLASSES)
            self.relu = nn.ReLU()

        def forward(self, inputs):
            return self.end(self.relu(self.second(self.relu(self.first(inputs)))))

    model = Reused()
    with torch.no_grad():
        model.first.bias[:] = 100.0
        model.second.weight[:] = 0.0
        model.second.bias[:] = torch.tensor([-1.0, 1.0, 1.0, 1.0])

    found = examine(model, stepper(model)[1], 2).units

    assert [(each.layer, each.count, each.silent) for each in found] == [("relu", 7, 0.0), ("relu", 4, 0.25)]


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "units last"])
def test_units_of_a_sequence_are_where_the_layer_before_has_them(last):
    class Sequences(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 4) if last else nn.Conv1d(1, 4, 1)
            self.relu, self.end = nn.ReLU(), nn.Linear(4, CLASSES)
            self.length = 0

        def forward(self, inputs):
            self.length = 2 + (self.length + 1) % 3  # another one in each step
            sequence = inputs[:, : self.length, None] if last else inputs[:, None, : self.length]
            return self.end(self.relu(self.layer(sequence)).mean(1 if last else 2))

    model = Sequences()
    with torch.no_grad():
        model.layer.weight[:] = 1.0
        model.layer.bias[:] = torch.tensor([-100.0, -100.0, -100.0, 0.0])

    (found,) = examine(model, stepper(model)[1], 3).units

    assert (found.count, found.silent) == (4, 0.75)


def test_an_activation_of_one_number_for_each_example_is_a_unit():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate, self.sigmoid, self.end = nn.Linear(SIZE, 1), nn.Sigmoid(), nn.Linear(SIZE, CLASSES)

        def forward(self, inputs):
            return self.end(inputs) * self.sigmoid(self.gate(inputs).squeeze(1))[:, None]

    model = Gated()
    with torch.no_grad():
        model.gate.bias[:] = 100.0

    (found,) = examine(model, stepper(model)[1], 1).units

    assert (found.count, found.saturated) == (1, 1.0)


def test_the_last_activation_is_left_out_as_its_bounds_are_those_of_the_answer():
    class Rebuilt(Net):
        def forward(self, inputs):
            return self.layers(inputs).view(-1, 1, CLASSES)

        def loss(self, outputs, targets):
            return outputs.square().mean()

    model = Rebuilt(nn.Linear(SIZE, 4), nn.Tanh(), nn.Linear(4, CLASSES), nn.Sigmoid())

    assert [each.layer for each in examine(model, stepper(model)[1], 2).units] == ["layers.1"]


def test_parameters_without_a_gradient_are_named():
    model = net(nn.ReLU())
    model.idle = nn.Linear(2, 2)
    model.frozen = nn.Parameter(torch.ones(1), requires_grad=False)
    with torch.no_grad():
        model.layers[0].bias[:] = -100.0  # no unit passes a gradient on

    found = examine(model, stepper(model)[1], 1).without_gradient

    assert found == ["layers.0.weight", "layers.0.bias", "layers.2.weight", "idle.weight", "idle.bias"]


def test_the_numbers_of_the_inputs_are_described():
    data = Numbers(scale=50, offset=100)

    found = examine(net(nn.ReLU()), lambda: None, 1)
    assert found.inputs == []
    model = net(nn.ReLU())
    found = examine(model, stepper(model, data)[1], 1)

    (inputs,) = found.inputs
    assert (inputs.name, found.steps) == ("inputs", 1)
    assert inputs.mean == pytest.approx(float(data.inputs.mean()), rel=1e-5)
    assert inputs.std == pytest.approx(float(data.inputs.std(correction=0)), rel=1e-5)
    assert (inputs.lowest, inputs.highest) == (float(data.inputs.min()), float(data.inputs.max()))


def test_the_largest_class_is_that_of_the_examples_that_were_seen():
    data = Numbers()
    data.columns = Columns({"inputs": data.inputs, "targets": torch.tensor([0] * 9 + [1, 2, 2])})
    model = net(nn.ReLU())

    assert examine(model, stepper(model, data)[1], 1).largest_class == 0.75
    data.columns = Columns({"inputs": data.inputs, "targets": torch.zeros(12, CLASSES)})
    assert examine(model, stepper(model, data, loss="mse")[1], 1).largest_class is None


def test_the_schedule_of_a_finished_run_stands_still():
    model = net(nn.ReLU())
    trainer, step = stepper(model, schedule={"use": "one_cycle", "max_lr": 0.1, "total_steps": 3})
    for _ in range(3):
        step()
    rate = trainer.log_values()["lr"]

    examine(model, step, 3)

    assert trainer.log_values()["lr"] == rate
