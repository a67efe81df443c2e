import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dlpipe.training.freezing import freeze_parts
from dlpipe_rl.noisy import NoisyLinear
from dlpipe_rl.q_learning import QLearning
from dlpipe_rl.replay_buffer import Transitions

from .conftest import CPU


class Table(nn.Module):
    """A value for each of 3 places and 2 actions."""

    def __init__(self, values):
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values))

    def forward(self, obs):
        return self.values[obs.squeeze(1).long()]


def transitions():
    """Place 0, action 1, reward 2, to place 1; and place 1, action 0, reward 3, to place 2, where the episode ended."""
    return Transitions(
        np.arange(2),
        torch.tensor([[0.0], [1.0]]),
        torch.tensor([[1], [0]]),
        torch.tensor([2.0, 3.0]),
        torch.tensor([0.5, 0.0]),
        torch.tensor([[1.0], [2.0]]),
    )


def learning(values=((0.0, 0.0), (4.0, 6.0), (100.0, 100.0)), lr=0.1, **options):
    model = Table([list(row) for row in values])
    defaults = {"double": False, "loss": "mse", "target_every": 2, "tau": 1.0, "max_grad_norm": None}
    return model, QLearning(model, torch.optim.SGD(model.parameters(), lr=lr), CPU, **defaults | options)


def test_a_target_is_the_return_plus_the_discounted_best_next_value():
    _, updating = learning()

    assert_close(updating.targets(transitions()), torch.tensor([2 + 0.5 * 6, 3.0]))


def test_double_takes_the_value_of_the_action_that_the_online_network_prefers():
    model, updating = learning(double=True)
    with torch.no_grad():
        model.values[1] = torch.tensor([9.0, 1.0])  # the target network still has 4 and 6

    assert_close(updating.targets(transitions()), torch.tensor([2 + 0.5 * 4, 3.0]))


def test_an_update_changes_only_the_values_of_the_actions_taken():
    model, updating = learning()

    loss, errors = updating.update_weighted(transitions(), torch.ones(2))

    assert_close(loss, torch.tensor(((5 - 0) ** 2 + (3 - 4) ** 2) / 2))
    assert_close(errors, torch.tensor([5.0, 1.0]))
    assert_close(model.values.detach(), torch.tensor([[0, 0.1 * 5], [4 - 0.1 * 1, 6], [100, 100]]))


def test_huber_is_quadratic_below_1_and_linear_above():
    loss = learning(loss="huber")[1].update(transitions())

    assert_close(loss, torch.tensor(((5 - 0.5) + 0.5) / 2))


def test_transitions_are_weighted_in_the_loss():
    loss, _ = learning()[1].update_weighted(transitions(), torch.tensor([0.0, 1.0]))

    assert_close(loss, torch.tensor(1 / 2))


def test_the_target_network_is_a_copy_after_every_second_update():
    model, updating = learning()

    updating.update(transitions())
    assert not updating._target.values.equal(model.values)
    updating.update(transitions())
    assert updating._target.values.equal(model.values)


def test_the_target_network_can_be_updated_slowly():
    model, updating = learning(target_every=1, tau=0.25)
    first = model.values.detach().clone()

    updating.update(transitions())

    assert_close(updating._target.values, first + 0.25 * (model.values.detach() - first))


def test_the_gradient_norm_is_clipped():
    model, updating = learning(max_grad_norm=1e-3, lr=1.0)
    before = model.values.detach().clone()

    updating.update(transitions())

    assert_close((model.values.detach() - before).norm(), torch.tensor(1e-3), rtol=1e-3, atol=0)


@pytest.mark.parametrize("truncated", [False, True])
def test_two_states_have_the_values_calculated_by_hand(truncated):
    """Place 0 leads to place 1 for 1, and place 1 back to itself for 2, until the episode ends there.

    With γ = 0.5: if the episode terminates, place 1 is worth 2 and place 0 1 + 0.5 · 2 = 2. If it is truncated,
    place 1 is worth 2 / (1 − 0.5) = 4 and place 0 1 + 0.5 · 4 = 3.
    """
    chain = Transitions(
        np.arange(2),
        torch.tensor([[0.0], [1.0]]),
        torch.tensor([[0], [0]]),
        torch.tensor([1.0, 2.0]),
        torch.tensor([0.5, 0.5 if truncated else 0.0]),
        torch.tensor([[1.0], [1.0]]),
    )
    model = Table([[0.0], [0.0]])
    updating = QLearning(
        model,
        torch.optim.SGD(model.parameters(), lr=0.5),
        CPU,
        double=False,
        loss="mse",
        target_every=1,
        tau=1.0,
        max_grad_norm=None,
    )

    for _ in range(100):
        updating.update(chain)

    assert_close(model.values.detach(), torch.tensor([[3.0], [4.0]] if truncated else [[2.0], [2.0]]))


class Normalized(nn.Module):
    """Values of observations (B, 3) that are normalized by statistics of all that were seen."""

    def __init__(self):
        super().__init__()
        self.norm, self.values = nn.BatchNorm1d(3), nn.Linear(3, 2)
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, obs):
        if self.training:
            self.batches = self.batches + 1
        return self.values(self.norm(obs))


@pytest.mark.parametrize("tau", [1.0, 0.25])
def test_the_target_network_gets_the_running_statistics_and_normalizes_by_them(tau):
    model = Normalized()
    updating = QLearning(
        model,
        torch.optim.SGD(model.parameters(), lr=0.0),
        CPU,
        None,
        double=False,
        loss="mse",
        target_every=2,
        tau=tau,
    )
    obs = torch.randn(9, 3, generator=torch.Generator().manual_seed(0)) + 5
    batch = Transitions(np.arange(9), obs, torch.zeros(9, 1, dtype=torch.int64), torch.zeros(9), torch.ones(9), obs)

    for _ in range(4):
        updating.update(batch)
    targets = updating.targets(batch)

    assert model.batches == 4
    assert_close(updating.state_dict()["target"], model.state_dict())
    assert_close(targets, model.eval()(obs).amax(1).detach())


@pytest.mark.parametrize("frozen", [False, True])
def test_the_target_network_has_noise_only_where_it_is_learned(frozen):
    model = nn.Sequential(NoisyLinear(3, 4), nn.Dropout(), nn.Linear(4, 2))
    if frozen:
        freeze_parts(model, ["0"])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    updating = QLearning(model, optimizer, CPU, None, double=False, loss="mse", target_every=2, tau=1.0)

    assert [module.training for module in updating._target] == [not frozen, False, False]
    assert all(module.training for module in model[1:])
