import copy

import pytest
import torch
from torch import nn

from dlpipe.errors import InputError
from dlpipe.training.freezing import freeze_parts


def net():
    torch.manual_seed(0)
    return nn.ModuleDict(
        {
            "trunk": nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)),
            "head": nn.Linear(4, 2),
        }
    )


def trained_names(model):
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def test_a_frozen_layer_gets_no_gradient():
    model = net()

    freeze_parts(model, ["trunk"])

    assert trained_names(model) == ["head.weight", "head.bias"]


def test_a_pattern_freezes_all_layers_that_it_matches():
    model = net()

    freeze_parts(model, ["trunk.*", "*.bias"])

    assert trained_names(model) == ["head.weight"]


def test_a_tied_weight_is_frozen_by_each_of_its_names():
    models = [nn.ModuleDict({"embed": nn.Embedding(5, 3), "output": nn.Linear(3, 5, bias=False)}) for _ in range(2)]
    for model, part in zip(models, ["embed", "output"], strict=True):
        model["output"].weight = model["embed"].weight
        model["head"] = nn.Linear(3, 2)

        freeze_parts(model, [part])

        assert trained_names(model) == ["head.weight", "head.bias"]


def test_a_layer_with_two_names_is_frozen_by_each_of_them():
    layer = nn.Dropout(0.5)
    model = nn.ModuleDict({"first": layer, "second": layer, "head": nn.Linear(3, 2)})

    freeze_parts(model, ["second"])

    assert not model.train()["first"].training


def test_a_frozen_layer_stays_in_evaluation_mode():
    model = net()
    freeze_parts(model, ["trunk"])
    mean = model["trunk"][1].running_mean.clone()

    model.train()
    outputs = [model["trunk"](torch.ones(2, 3)) for _ in range(2)]

    assert model["head"].training
    assert outputs[0].equal(outputs[1])
    assert model["trunk"][1].running_mean.equal(mean)


@pytest.mark.parametrize("part", ["encoder", "encoder.0"])
def test_a_frozen_recurrent_layer_passes_gradients_on_without_dropout(part):
    model = nn.ModuleDict({"embed": nn.Embedding(5, 3), "encoder": nn.Sequential(nn.GRU(3, 4, 2, dropout=0.5))})
    layer = model["encoder"][0]
    freeze_parts(model, [part])

    model.train()
    outputs = [model["encoder"](model["embed"](torch.tensor([1, 2])))[0] for _ in range(2)]
    outputs[0].sum().backward()

    assert layer.training  # in which cuDNN can compute the gradients
    assert outputs[0].equal(outputs[1])
    assert model["embed"].weight.grad is not None
    assert layer.weight_ih_l0.grad is None
    assert model.eval()["encoder"](model["embed"](torch.tensor([1, 2])))[0].equal(outputs[0])


def test_a_frozen_parameter_leaves_the_mode_of_its_layer_as_it_is():
    model = net()

    freeze_parts(model, ["trunk.1.weight"])

    assert model.train()["trunk"][1].training


def test_a_copy_of_a_frozen_layer_is_frozen_by_itself():
    model = net()
    freeze_parts(model, ["trunk"])

    copied = copy.deepcopy(model)
    copied.train()

    assert not copied["trunk"].training
    assert copied["trunk"].train() is copied["trunk"]


def test_a_model_without_gradients_has_nothing_to_freeze():
    model = net().requires_grad_(False)

    with pytest.raises(
        InputError, match="freeze: no parameter of ModuleDict is trained by gradients, so that none can"
    ):
        freeze_parts(model, ["trunk"])


@pytest.mark.parametrize(
    ("parts", "match"),
    [
        (["trunc"], r'freeze = "trunc": ModuleDict has no layer or parameter of this name. Did you mean "trunk"\?'),
        (["zzz"], r"It has trunk, trunk.0, .*`dlpipe show RUN --layers` lists all names"),
        (["trunk", "head"], r'freeze = \["trunk", "head"\]: no parameter of ModuleDict is left to train; freeze less'),
    ],
)
def test_what_cannot_be_frozen_is_refused(parts, match):
    with pytest.raises(InputError, match=match):
        freeze_parts(net(), parts)
