import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe_rl.noisy import NoisyLinear
from dlpipe_rl.q_network import QNetwork


def tiny(shape=(5,), **options):
    torch.manual_seed(0)
    return QNetwork(shape, 3, **{"hidden": (7, 6), **options})


def some_obs(*shape):
    return torch.rand(4, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("options", [{}, {"dueling": True}, {"noisy": True}, {"dueling": True, "noisy": True}])
@pytest.mark.parametrize("shape", [(5,), (2, 9, 11), (4, 84, 84)])
def test_every_observation_gets_one_value_per_action(shape, options):
    model = tiny(shape, **options)

    values = model(some_obs(*shape))

    assert values.shape == (4, 3)
    assert model.value(values).equal(values.max(1).values)


def test_atari_images_use_the_layers_of_the_paper():
    layers = [
        layer for layer in tiny((4, 84, 84), hidden=(512,)).modules() if isinstance(layer, (nn.Conv2d, nn.Linear))
    ]

    assert [tuple(layer.weight.shape) for layer in layers] == [
        (32, 4, 8, 8),
        (64, 32, 4, 4),
        (64, 64, 3, 3),
        (512, 3136),
        (3, 512),
    ]
    assert [layer.stride for layer in layers[:3]] == [(4, 4), (2, 2), (1, 1)]


def test_bytes_are_scaled_to_0_to_1():
    model = tiny((2, 9, 11))
    bytes_ = (some_obs(2, 9, 11) * 255).to(torch.uint8)

    assert_close(model(bytes_), model(bytes_.float() / 255))


def test_the_values_of_an_observation_do_not_depend_on_the_batch():
    model = tiny(dueling=True)
    obs = some_obs(5)

    assert_close(model(obs)[1:3], model(obs[1:3]))


def test_the_network_matches_its_formula():
    model = tiny()
    first, second, last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    obs = some_obs(5)

    hidden = (obs @ first.weight.T + first.bias).clamp(min=0)
    hidden = (hidden @ second.weight.T + second.bias).clamp(min=0)

    assert_close(model(obs), hidden @ last.weight.T + last.bias)


def test_dueling_advantages_have_a_mean_of_zero():
    model = tiny(dueling=True)
    obs = some_obs(5)

    assert_close(model(obs).mean(1, keepdim=True), model.layers[-1].state_value(model.layers[:-1](obs)))


def test_noise_is_renewed_in_every_pass_and_absent_in_evaluation_mode():
    model = tiny(noisy=True)
    obs = some_obs(5)

    assert not model(obs).equal(model(obs))
    model.eval()
    assert model(obs).equal(model(obs))


def test_a_noisy_layer_is_linear_with_noise_in_proportion_to_sigma():
    torch.manual_seed(0)
    layer = NoisyLinear(40, 30)
    features = some_obs(40)

    torch.manual_seed(1)
    noisy = layer(features)
    with torch.no_grad():
        layer.weight_sigma.mul_(2)
        layer.bias_sigma.mul_(2)
    torch.manual_seed(1)
    noisier = layer(features)

    quiet = F.linear(features, layer.weight, layer.bias)
    assert_close(noisier - quiet, 2 * (noisy - quiet))
    assert_close(layer.weight_sigma, torch.full((30, 40), 2 * 0.5 / 40**0.5))


def test_one_batch_of_values_is_memorized():
    model = tiny(hidden=(30,))
    obs, targets = some_obs(5), torch.tensor([[1.0, 2, 3], [3, 1, 2], [0, 0, 1], [2, 0, 2]])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)

    for _ in range(300):
        loss = F.mse_loss(model(obs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    assert loss < 0.01


def test_weights_survive_saving_and_loading():
    model, other = tiny(noisy=True, dueling=True).eval(), tiny(noisy=True, dueling=True).eval()
    nn.init.zeros_(other.layers[-1].advantages.weight)

    other.load_state_dict(load(save(model.state_dict())))

    assert other(some_obs(5)).equal(model(some_obs(5)))
