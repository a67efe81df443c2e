import pytest
from torch import nn

from dlpipe.errors import InputError
from dlpipe.training.optimizers import build_optimizer
from dlpipe.training.part_rates import apply_factors, parameter_groups
from dlpipe.training.schedule import LearningRateSchedule

RATES = {"trunk": 0.1, "trunk.1": 0.01}


def net():
    return nn.ModuleDict({"trunk": nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5)), "head": nn.Linear(5, 2)})


def rates_of(optimizer, model):
    known = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    return {name: known[id(parameter)] for name, parameter in model.named_parameters() if id(parameter) in known}


def optimizer_of(model, rates=RATES, **table):
    return build_optimizer(parameter_groups(model, rates), {"use": "sgd", "lr": 1.0, **table})


def test_the_longest_name_decides_on_the_rate_of_a_parameter():
    model = net()
    optimizer = optimizer_of(model)

    apply_factors(optimizer)

    assert rates_of(optimizer, model) == {
        "trunk.0.weight": 0.1,
        "trunk.0.bias": 0.1,
        "trunk.1.weight": 0.01,
        "trunk.1.bias": 0.01,
        "head.weight": 1.0,
        "head.bias": 1.0,
    }


@pytest.mark.parametrize(
    "schedule",
    [
        {"use": "cosine_annealing", "eta_min": 0.3},
        {"use": "one_cycle", "max_lr": 3.0},
        {"use": "step", "step_size": 2},
        {"use": "cyclic", "base_lr": 0.1, "max_lr": 2.0},
    ],
    ids=lambda table: table["use"],
)
def test_every_schedule_multiplies_the_rates_of_all_parts(schedule):
    model, alone = net(), nn.Linear(2, 3)
    optimizer, single = optimizer_of(model), build_optimizer(alone.parameters(), {"use": "sgd", "lr": 1.0})
    schedules = [LearningRateSchedule(each, schedule, total_steps=7) for each in (optimizer, single)]

    for _ in range(5):
        for group in (optimizer, single):
            group.step()
        for each in schedules:
            each.step()
        apply_factors(optimizer)

        rate = single.param_groups[0]["lr"]
        assert [group["lr"] for group in optimizer.param_groups] == [rate, rate * 0.1, rate * 0.01]


def test_a_frozen_parameter_is_in_no_group():
    model = net()
    model["trunk"][0].weight.requires_grad_(False)

    assert "trunk.0.weight" not in rates_of(optimizer_of(model), model)


@pytest.mark.parametrize("part", ["embed", "output"])
def test_a_tied_weight_has_the_rate_of_each_of_its_names_and_is_in_one_group(part):
    model = nn.ModuleDict({"embed": nn.Embedding(5, 3), "output": nn.Linear(3, 5)})
    model["output"].weight = model["embed"].weight

    rest, group = parameter_groups(model, {part: 0.1})

    assert any(parameter is model["embed"].weight for parameter in group["params"])
    assert len(rest["params"]) + len(group["params"]) == 2


def test_all_parameters_may_have_a_factor():
    model = net()
    optimizer = optimizer_of(model, {"trunk": 0.1, "head": 2.0}, use="adam")

    apply_factors(optimizer)
    model["head"](model["trunk"](nn.init.ones_(model["trunk"][0].weight.new_empty(1, 3)))).sum().backward()
    optimizer.step()

    assert set(rates_of(optimizer, model).values()) == {0.1, 2.0}


@pytest.mark.parametrize(
    ("rates", "match"),
    [
        ({"trunc": 0.1}, r'rates = "trunc": ModuleDict has no layer or parameter of this name. Did you mean "trunk"\?'),
        ({"trunk": 0.1, "trunk.0": 0.2, "trunk.1": 0.3}, r"rates.trunk = 0.1: no parameter is trained with it"),
    ],
)
def test_a_rate_without_effect_is_refused(rates, match):
    with pytest.raises(InputError, match=match):
        parameter_groups(net(), rates)
