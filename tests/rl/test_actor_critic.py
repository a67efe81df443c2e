import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe_rl.actor_critic import ActorCritic
from dlpipe_rl.policy_network import PolicyNetwork


def tiny(kind=ActorCritic, shape=(5,), num_actions=3, action_shape=()):
    torch.manual_seed(0)
    return kind(shape, num_actions, action_shape, hidden=(7, 6))


def some_obs(*shape):
    return torch.rand(4, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(5,), (2, 9, 11), (4, 84, 84)])
def test_every_observation_gets_logits_and_one_value(shape):
    logits, values = tiny(shape=shape)(some_obs(*shape))

    assert logits.shape == (4, 3)
    assert values.shape == (4,)
    assert tiny(PolicyNetwork, shape)(some_obs(*shape)).shape == (4, 3)


@pytest.mark.parametrize("kind", [ActorCritic, PolicyNetwork])
def test_the_prediction_is_the_most_probable_action(kind):
    model = tiny(kind)
    outputs = model(some_obs(5))
    logits = outputs[0] if kind is ActorCritic else outputs

    assert model.predict(outputs).equal(logits.argmax(1))


def test_continuous_actions_have_their_own_shape():
    model = tiny(num_actions=0, action_shape=(2, 3))

    assert model.predict(model(some_obs(5))).shape == (4, 2, 3)


def test_actor_and_critic_share_layers_only_for_an_image():
    shared, apart = tiny(shape=(2, 9, 11)), tiny()

    assert shared.encode_value is None
    assert apart.encode_value[2].weight is not apart.encode[2].weight


def test_the_outputs_of_an_observation_do_not_depend_on_the_batch():
    model, obs = tiny(), some_obs(5)

    assert_close(model(obs)[0][1:3], model(obs[1:3])[0])
    assert_close(model(obs)[1][1:3], model(obs[1:3])[1])


def test_the_network_matches_its_formula():
    model, obs = tiny(PolicyNetwork), some_obs(5)
    first, second, last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]

    hidden = torch.tanh(torch.tanh(obs @ first.weight.T) @ second.weight.T)

    assert_close(model(obs), hidden @ last.weight.T)
    assert_close(first.weight.T @ first.weight, 2 * torch.eye(5))


def test_one_batch_of_actions_and_values_is_memorized():
    model = tiny()
    obs, actions, targets = some_obs(5), torch.tensor([0, 2, 1, 2]), torch.tensor([1.0, -2, 3, 0])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)

    for _ in range(200):
        logits, values = model(obs)
        loss = F.cross_entropy(logits, actions) + F.mse_loss(values, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    assert loss < 0.05


def test_weights_survive_saving_and_loading():
    model, other = tiny(), tiny()
    nn.init.zeros_(other.critic.weight)

    other.load_state_dict(load(save(model.state_dict())))

    assert other(some_obs(5))[1].equal(model(some_obs(5))[1])
