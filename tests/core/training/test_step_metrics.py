"""The metrics of steps are read together, whether they are numbers or tensors."""

import pytest
import torch

from dlpipe.ranks import Ranks
from dlpipe.training.step_metrics import columns_of, first_broken, weighted_means, with_losses


def test_numbers_are_kept_to_the_last_bit_with_the_steps_that_have_them():
    third = torch.tensor(1.0).div(3).item()  # of float32
    columns = columns_of([{"loss": third}, {"loss": 2.0, "return": 5.0}, {"loss": 3.0}], Ranks())

    positions, losses = columns["loss"]
    assert positions == [0, 1, 2]
    assert losses == [third, 2.0, 3.0]
    assert columns["return"][0] == [1]
    assert columns["return"][1] == [5.0]


def test_numbers_of_a_checkpoint_go_together_with_tensors_of_later_steps():
    parameter = torch.tensor(2.0, requires_grad=True)
    columns = columns_of([{"loss": 0.5}, {"loss": parameter * 2}], Ranks())

    assert columns["loss"][1] == [0.5, 4.0]


def test_the_first_step_with_a_broken_metric_is_found():
    columns = columns_of([{"loss": 1.0}, {"loss": 2.0, "grad": float("inf")}, {"loss": float("nan")}], Ranks())

    assert first_broken(columns) == ("grad", 1, float("inf"))
    assert first_broken(columns_of([{"loss": 1.0}], Ranks())) is None


def test_the_mean_of_a_weighted_metric_is_that_of_what_the_steps_averaged():
    steps = [{"loss": 1.0, "return": 9.0, "episodes": 1.0}, {"loss": 2.0}, {"return": 3.0, "episodes": 11.0}]
    columns = columns_of(steps, Ranks())

    assert weighted_means(columns, {"return": "episodes"}) == {"loss": 1.5, "return": 3.5}
    assert weighted_means(columns, {}) == {"loss": 1.5, "return": 6.0, "episodes": 6.0}


def test_a_step_without_the_weight_of_its_metric_counts_1():
    columns = columns_of([{"return": 9.0}, {"return": 3.0, "episodes": 2.0}], Ranks())

    assert weighted_means(columns, {"return": "episodes"}) == {"return": 5.0}


def test_a_metric_whose_steps_all_count_0_has_no_mean():
    assert weighted_means(columns_of([{"return": 0.0, "episodes": 0.0}], Ranks()), {"return": "episodes"}) == {}


@pytest.mark.parametrize(("start", "expected"), [(0, (6.0, 3)), (1, (5.0, 2)), (3, None)])
def test_losses_are_added_from_a_step_on(start, expected):
    columns = columns_of([{"loss": 1.0, "rate": 9.0}, {"loss": 2.0}, {"loss": 3.0}], Ranks())

    assert with_losses({}, columns, start).get("loss") == expected
    assert "rate" not in with_losses({}, columns, start)
