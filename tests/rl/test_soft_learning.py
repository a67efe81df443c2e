"""The updates of soft actor-critic against their formulas."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution
from torch.testing import assert_close

from dlpipe.errors import InputError
from dlpipe.training.freezing import freeze_parts
from dlpipe_rl.action_heads import SquashedGaussian
from dlpipe_rl.replay_buffer import Transitions
from dlpipe_rl.soft_actor_critic import SoftActorCritic
from dlpipe_rl.soft_learning import SoftLearning

from .conftest import CPU

SGD = {"use": "sgd", "lr": 0.1}


def seeded(number=0):
    return torch.Generator().manual_seed(number)


def network(**options):
    torch.manual_seed(0)
    return SoftActorCritic((3,), (2,), ((-2.0, 6.0), (0.0, 1.0)), **{"hidden": (8,), **options})


def learning(model, optimizer=SGD, **options):
    defaults = {"entropy_coef": 0.5, "target_entropy": None, "target_every": 1, "tau": 0.25, "max_grad_norm": None}
    return SoftLearning(model, optimizer, CPU, seeded(), **defaults | options)


def transitions(count=6):
    random = seeded(1)
    return Transitions(
        np.arange(count),
        torch.randn(count, 3, generator=random),
        2 * torch.rand(count, 2, generator=random) - 1,
        torch.randn(count, generator=random),
        torch.tensor([0.9, 0.0] * (count // 2)),
        torch.randn(count, 3, generator=random),
    )


def test_the_squashed_gaussian_matches_torch_distributions():
    head = SquashedGaussian(7, 2)
    params = torch.stack([torch.tensor([[0.3, -1.0], [0.0, 2.0]]), torch.tensor([[-0.5, 0.1], [0.4, -2.0]])], 1)

    actions, log_probs = head.sample(params, seeded())

    known = TransformedDistribution(Independent(Normal(params[:, 0], params[:, 1].exp()), 1), TanhTransform())
    assert_close(log_probs, known.log_prob(actions), rtol=1e-4, atol=1e-4)
    assert_close(head.mode(params), params[:, 0].tanh())


def test_the_density_of_actions_at_their_bounds_is_finite():
    params = torch.tensor([[[40.0], [0.0]], [[-40.0], [0.0]]], requires_grad=True)

    actions, log_probs = SquashedGaussian(7, 1).sample(params, seeded())
    log_probs.sum().backward()

    assert_close(actions[:, 0], torch.tensor([1.0, -1.0]))
    assert log_probs.isfinite().all()
    assert_close(params.grad[:, 0, 0], torch.tensor([2.0, -2.0]))  # log(1 - tanh²(u)) is 2 log 2 - 2 |u| far from 0


def test_the_standard_deviation_is_bounded():
    head = SquashedGaussian(1, 1)
    with torch.no_grad():
        head.params.weight.copy_(torch.tensor([[0.0], [1.0]]))
        head.params.bias.zero_()

    assert head(torch.tensor([[100.0], [-100.0]]))[:, 1, 0].tolist() == [2.0, -20.0]


def test_actions_are_scaled_to_the_bounds_of_the_environment():
    found = network().in_environment(torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.3, -0.5]]))

    assert_close(found, torch.tensor([[-2.0, 0.0], [6.0, 1.0], [3.2, 0.25]]))


def test_an_action_of_several_axes_has_their_shape():
    model = SoftActorCritic((3,), (2, 2), ((-1.0, 1.0),) * 4, hidden=(8,))

    assert model.predict(model(torch.zeros(5, 3))).shape == (5, 2, 2)


def test_images_are_encoded_by_each_network():
    model = SoftActorCritic((3, 12, 12), (1,), ((-1.0, 1.0),), hidden=(8,))

    params, values = model(torch.zeros(5, 3, 12, 12, dtype=torch.uint8))

    assert params.shape == (5, 2, 1)
    assert values.shape == (5,)


def test_the_value_is_that_of_the_most_probable_action_for_the_most_careful_critic():
    model, obs = network(num_critics=3), torch.randn(4, 3, generator=seeded())

    params, values = model(obs)

    each = [value(torch.cat([obs, params[:, 0].tanh()], 1))[:, 0] for value in model.critics.values]
    assert_close(values, torch.stack(each).amin(0))


def test_a_target_is_the_return_plus_the_discounted_soft_value_of_an_action_of_the_policy():
    model, batch = network(), transitions()
    updating = learning(model)
    with torch.no_grad():  # the target critics keep the first weights
        first = copy.deepcopy(model)
        for parameter in model.critics.parameters():
            parameter.add_(1)
        actions, log_probs = model.head.sample(model.policy(batch.next_obs), seeded())
        values = first.critics(batch.next_obs, actions).amin(0) - 0.5 * log_probs

    assert_close(updating.targets(batch), batch.returns + torch.tensor([0.9, 0.0] * 3) * values)


def test_critics_and_then_the_policy_descend_along_their_losses():
    model, batch = network(), transitions()
    expected, targets = copy.deepcopy(model), learning(copy.deepcopy(model)).targets(batch)
    updating, random = learning(model), seeded()
    expected.head.sample(expected.policy(batch.next_obs), random)  # those of the targets

    metrics = updating.update(batch)

    values = expected.critics(batch.obs, batch.actions)
    critic_loss = sum(0.5 * (value - targets).square().mean() for value in values)
    descend(critic_loss, expected.critics)
    actions, log_probs = expected.head.sample(expected.policy(batch.obs), random)
    policy_loss = (0.5 * log_probs - expected.critics(batch.obs, actions).amin(0)).mean()
    descend(policy_loss, expected.policy)
    assert_close(model.state_dict(), expected.state_dict())
    assert_close(metrics["critic_loss"], critic_loss.detach())
    assert_close(metrics["policy_loss"], policy_loss.detach())
    assert_close(metrics["entropy"], -log_probs.detach().mean())
    assert_close(metrics["entropy_coef"], torch.tensor(0.5))


def descend(loss, part):
    parameters = list(part.parameters())
    with torch.no_grad():
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.sub_(0.1 * gradient)


@pytest.mark.parametrize(("target", "grows"), [(-50.0, False), (50.0, True)])
def test_the_weight_of_the_entropy_grows_if_there_is_too_little_entropy(target, grows):
    updating = learning(network(), entropy_coef=1.0, target_entropy=target)

    entropy = updating.update(transitions())["entropy"]

    assert_close(updating.entropy_coef.log(), 0.1 * (target - entropy))
    assert (updating.entropy_coef > 1) == grows


def test_weight_decay_does_not_move_the_weight_of_the_entropy():
    decayed, plain = (
        learning(network(), {**SGD, "weight_decay": decay}, entropy_coef=0.1, target_entropy=0.0)
        for decay in (0.5, 0.0)
    )

    for updating in (decayed, plain):
        updating.update(transitions())

    assert_close(decayed.entropy_coef, plain.entropy_coef)


def test_a_given_weight_of_the_entropy_stays():
    updating = learning(network())

    for _ in range(3):
        updating.update(transitions())

    assert updating.entropy_coef == 0.5


def test_the_target_critics_follow_every_second_update():
    model = network()
    updating, first = learning(model, target_every=2), copy.deepcopy(model.critics)

    updating.update(transitions())
    assert_close(dict(updating._target.module.state_dict()), dict(first.state_dict()))
    updating.update(transitions())

    for target, was, now in zip(
        updating._target.module.parameters(), first.parameters(), model.critics.parameters(), strict=True
    ):
        assert_close(target, was + 0.25 * (now.detach() - was))


def test_the_gradients_of_critics_and_of_the_policy_are_limited_apart():
    model, limit = network(), 1e-3
    before = copy.deepcopy(model)

    learning(model, max_grad_norm=limit).update(transitions())

    for part in ("policy", "critics"):
        pairs = zip(getattr(model, part).parameters(), getattr(before, part).parameters(), strict=True)
        moved = math.sqrt(sum((now - was).square().sum().item() for now, was in pairs))
        assert moved == pytest.approx(0.1 * limit, rel=1e-3)


@pytest.mark.parametrize("part", ["policy", "critics"])
def test_what_is_frozen_stays_and_the_rest_learns(part):
    model = network()
    freeze_parts(model, [part])
    before = copy.deepcopy(model)

    learning(model, target_entropy=-2.0).update(transitions())

    for name in ("policy", "critics"):
        same = [
            now.equal(was)
            for now, was in zip(getattr(model, name).parameters(), getattr(before, name).parameters(), strict=True)
        ]
        assert all(same) == (name == part)


def test_discrete_and_unbounded_actions_are_refused_with_an_alternative():
    with pytest.raises(InputError, match=r"this environment has discrete ones; .* rl\.q_network with .* rl\.dqn"):
        SoftActorCritic((3,), (), ())
    with pytest.raises(InputError, match=r"these actions have none; remove the wrapper \"clip_action\".* rl\.ppo"):
        SoftActorCritic((3,), (2,), ())
