import pytest

from dlpipe_rl.exploration import EpsilonSchedule


def test_a_linear_schedule_decays_from_start_to_end_and_stays_there():
    falling = EpsilonSchedule(1.0, 0.2, 100, "linear")

    assert [falling.at(timestep) for timestep in (0, 25, 50, 100, 1000)] == pytest.approx([1, 0.8, 0.6, 0.2, 0.2])


def test_an_exponential_schedule_decays_by_a_constant_factor():
    falling = EpsilonSchedule(0.8, 0.05, 4, "exponential")
    values = [falling.at(timestep) for timestep in range(6)]

    assert values == pytest.approx([0.8, 0.4, 0.2, 0.1, 0.05, 0.05])


def test_an_exponential_schedule_may_end_or_begin_at_0():
    assert EpsilonSchedule(1.0, 0.0, 10, "exponential").at(9) < 0.01
    assert EpsilonSchedule(1.0, 0.0, 10, "exponential").at(10) == 0
    assert EpsilonSchedule(0.0, 0.0, 10, "exponential").at(3) == pytest.approx(0.001)


@pytest.mark.parametrize("timestep", [0, 5, 50])
def test_a_constant_schedule_is_the_end_value(timestep):
    assert EpsilonSchedule(1.0, 0.3, 10, "constant").at(timestep) == 0.3
