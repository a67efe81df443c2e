import pytest
import torch
from torch.testing import assert_close

from dlpipe_rl.advantages import advantages
from dlpipe_rl.rollout import Rollout


def rollout(rewards, values, next_values, ended):
    columns = [torch.tensor(column, dtype=torch.float64).unsqueeze(1) for column in (values, next_values, rewards)]
    return Rollout(*[torch.empty(0)] * 3, *columns, torch.tensor(ended).unsqueeze(1), torch.empty(0), ())


def test_lambda_1_gives_discounted_returns_minus_values():
    found = advantages(rollout([1, 2, 3], [10, 20, 30], [20, 30, 40], [False] * 3), 0.5, 1.0)

    assert_close(found.squeeze(1), torch.tensor([1 + 1 + 0.75 + 5 - 10, 2 + 1.5 + 10 - 20, 3 + 20 - 30]).double())


def test_lambda_0_gives_one_step_td_errors():
    found = advantages(rollout([1, 2], [10, 20], [20, 40], [False] * 2), 0.5, 0.0)

    assert_close(found.squeeze(1), torch.tensor([1 + 10 - 10, 2 + 20 - 20]).double())


@pytest.mark.parametrize(("behind", "expected"), [(0.0, [2, 3 - 30]), (8.0, [4, 3 + 4 - 30])], ids=["ended", "cut"])
def test_an_advantage_does_not_depend_on_the_next_episode(behind, expected):
    made = rollout([1, 3, 100], [10, 30, 0], [30, behind, 0], [False, True, False])

    found = advantages(made, 0.5, 1.0).squeeze(1)

    # The first: 1 + 0.5 · (3 + 0.5 · behind) − 10; by hand from the two that follow.
    assert_close(found[1], torch.tensor(expected[1]).double())
    assert_close(found[0], torch.tensor(1 + 0.5 * (3 + 0.5 * behind) - 10).double())
