"""torch's optimizers by name."""

import sys

import pytest
import torch
from torch import nn

from dlpipe.config.torch_names import OPTIMIZERS
from dlpipe.errors import InputError
from dlpipe.registry.targets import load_target
from dlpipe.training.optimizers import build_optimizer, load_optimizer


def parameter():
    return nn.Parameter(torch.linspace(-1, 1, 10).view(2, 5))


@pytest.mark.parametrize("name", sorted(OPTIMIZERS.keys() - {"sparse_adam"}))
def test_every_optimizer_lowers_a_quadratic(name):
    weight = parameter()
    optimizer = build_optimizer([weight], {"use": name}, closure=True)

    def loss():
        optimizer.zero_grad()
        value = weight.square().sum()
        value.backward()
        return value

    before = loss().detach()
    for _ in range(3):
        optimizer.step(loss)

    assert loss() < before


def test_lbfgs_is_refused_where_the_loss_is_computed_once():
    with pytest.raises(
        InputError, match=r"^optimizer lbfgs computes the loss several times per step, which this trainer does not sup"
    ):
        build_optimizer([parameter()], {"use": "lbfgs"})


class OnCUDA(nn.Parameter):
    """A parameter that says it is on a GPU."""

    is_cuda, is_cpu = True, False


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_on_cuda_kernels_are_fused_unless_the_table_says_otherwise(name):
    def fused(parameter, **options):
        return build_optimizer([parameter], {"use": name, **options}).defaults["fused"]

    assert fused(OnCUDA(torch.ones(2)))
    assert not fused(parameter())
    assert fused(parameter(), fused=True)
    assert not fused(OnCUDA(torch.ones(2)), fused=False)
    assert not fused(OnCUDA(torch.ones(2)), foreach=True)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS.keys() - {"sparse_adam", "lbfgs"}))
def test_on_a_cpu_the_weights_are_those_of_the_implementation_that_torch_chooses(name):
    own, of_torch = parameter(), parameter()

    built = stepped(build_optimizer([own], {"use": name, "lr": 0.1}), own)

    stepped(load_target(OPTIMIZERS[name])([of_torch], lr=0.1), of_torch)
    assert torch.equal(own, of_torch)
    assert built.defaults.get("foreach") is (None if name == "muon" else False)  # and does not choose in each step


def test_a_table_chooses_the_implementation():
    assert build_optimizer([parameter()], {"use": "sgd", "foreach": True}).defaults["foreach"]
    assert build_optimizer([parameter()], {"use": "sgd", "fused": True}).defaults["foreach"] is None
    assert build_optimizer([parameter()], {"use": "sgd", "differentiable": True}).defaults["foreach"] is None
    assert build_optimizer([OnCUDA(torch.ones(2)), parameter()], {"use": "sgd"}).defaults["foreach"] is None


def test_sparse_adam_lowers_a_quadratic_of_an_embedding():
    embed = nn.Embedding(7, 5, sparse=True)
    optimizer = build_optimizer(embed.parameters(), {"use": "sparse_adam", "lr": 0.01})
    tokens = torch.tensor([2, 5])

    before = embed(tokens).square().sum()
    before.backward()
    optimizer.step()

    assert embed(tokens).square().sum() < before


def test_an_optimizer_takes_its_parameters_from_the_table():
    optimizer = build_optimizer([parameter()], {"use": "adamw", "lr": 0.25, "betas": [0.5, 0.75], "weight_decay": 0.1})

    group = optimizer.param_groups[0]
    assert (group["lr"], tuple(group["betas"]), group["weight_decay"]) == (0.25, (0.5, 0.75), 0.1)


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"use": "adam", "lr": -1.0}, r"optimizer adam: Invalid learning rate: -1.0"),
        ({"use": "adam", "speed": 1.0}, r"optimizer adam: .*unexpected keyword argument 'speed'"),
        ({"use": "sgd", "nesterov": True}, r"optimizer sgd: Nesterov momentum requires a momentum"),
    ],
)
def test_a_value_that_torch_refuses_is_an_error_of_the_file(table, text):
    with pytest.raises(InputError, match=text):
        build_optimizer([parameter()], table)


def test_muon_says_that_it_wants_matrices():
    with pytest.raises(InputError, match=r"optimizer muon: .*2D"):
        build_optimizer([nn.Parameter(torch.zeros(5))], {"use": "muon"})


def stepped(optimizer, weight, steps=3):
    """Take some steps down a quadratic."""
    for _ in range(steps):
        optimizer.zero_grad()
        weight.pow(4).sum().backward()
        optimizer.step()
    return optimizer


def test_a_loaded_state_does_not_bring_back_what_the_file_changed():
    weight = parameter()
    saved = stepped(build_optimizer([weight], {"use": "adamw", "lr": 0.25, "weight_decay": 0.5}), weight).state_dict()
    now = build_optimizer([weight], {"use": "adamw", "lr": 0.0625, "weight_decay": 0.5, "betas": [0.5, 0.75]})

    load_optimizer(now, saved)

    group = now.param_groups[0]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.0625, (0.5, 0.75), 0.5)
    assert torch.equal(now.state[weight]["exp_avg"], saved["state"][0]["exp_avg"])
    assert now.state[weight]["step"] == 3


@pytest.mark.parametrize(("saved", "resumed", "device"), [(False, True, "meta"), (True, False, "cpu")])
def test_a_resumed_run_counts_steps_where_its_implementation_reads_them(monkeypatch, saved, resumed, device):
    optimizers = sys.modules[torch.optim.Optimizer.__module__]
    monkeypatch.setattr(optimizers, "_get_fused_kernels_supported_devices", lambda: ["cpu", "meta"])
    weight, on_gpu = parameter(), nn.Parameter(torch.empty(2, 5, device="meta"))
    before = stepped(build_optimizer([weight], {"use": "adam", "fused": saved}), weight)
    now = build_optimizer([on_gpu], {"use": "adam", "fused": resumed})

    load_optimizer(now, before.state_dict())

    assert now.param_groups[0]["fused"] == resumed
    assert now.state[on_gpu]["step"].device.type == device  # the fused kernel reads it on the GPU, the host on the CPU
    assert now.state[on_gpu]["exp_avg"].device.type == "meta"


def test_what_a_schedule_or_the_optimizer_moved_since_is_restored():
    weight = parameter()
    before = build_optimizer([weight], {"use": "sgd", "lr": 0.25, "momentum": 0.5})
    before.param_groups[0] |= {"lr": 0.125, "momentum": 0.75, "distance": 3}  # Prodigy keeps such a number there
    now = build_optimizer([weight], {"use": "sgd", "lr": 0.25, "momentum": 0.5, "weight_decay": 0.1})

    load_optimizer(now, before.state_dict())

    group = now.param_groups[0]
    assert (group["lr"], group["momentum"], group["distance"], group["weight_decay"]) == (0.125, 0.75, 3, 0.1)


def test_a_second_load_sees_what_the_file_says_now():
    weight = parameter()
    tables = [{"use": "sgd", "lr": lr} for lr in (0.5, 0.25, 0.5)]
    state = build_optimizer([weight], tables[0]).state_dict()

    for table in tables[1:]:
        optimizer = build_optimizer([weight], table)
        load_optimizer(optimizer, state)
        state = optimizer.state_dict()

    assert optimizer.param_groups[0]["lr"] == 0.5


def test_frozen_parameters_are_left_out():
    layer = nn.Linear(2, 3)
    layer.weight.requires_grad_(False)

    optimizer = build_optimizer(layer.parameters(), {"use": "sgd", "lr": 0.1})

    assert [group["params"] for group in optimizer.param_groups] == [[layer.bias]]


def test_parameters_that_are_all_frozen_are_refused():
    layer = nn.Linear(2, 3).requires_grad_(False)

    with pytest.raises(
        InputError, match="there is no parameter to optimize; choose a model with parameters of which not"
    ):
        build_optimizer(layer.parameters(), {"use": "sgd", "lr": 0.1})
