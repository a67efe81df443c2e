"""Learning rate schedules: as torch has them, filled in with the length of the run, in the direction of the metric."""

import math
import warnings

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from dlpipe.config.torch_names import SCHEDULES
from dlpipe.errors import InputError
from dlpipe.training.optimizers import build_optimizer, load_optimizer
from dlpipe.training.schedule import LearningRateSchedule

#: What each schedule needs at least.
NEEDED = {
    "constant": {},
    "cosine_annealing": {},
    "cosine_annealing_warm_restarts": {"T_0": 4},
    "cyclic": {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 3},
    "exponential": {"gamma": 0.9},
    "linear": {},
    "multi_step": {"milestones": [3, 5]},
    "one_cycle": {"max_lr": 0.5},
    "polynomial": {},
    "reduce_on_plateau": {},
    "step": {"step_size": 2},
}
#: How torch's own would be made for a run of 10 steps.
BY_HAND = {
    "constant": lambda optimizer: lr_scheduler.ConstantLR(optimizer, total_iters=10),
    "cosine_annealing": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 10),
    "cosine_annealing_warm_restarts": lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 4),
    "cyclic": lambda optimizer: lr_scheduler.CyclicLR(optimizer, 0.1, 0.5, 3),
    "exponential": lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.9),
    "linear": lambda optimizer: lr_scheduler.LinearLR(optimizer, total_iters=10),
    "multi_step": lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [3, 5]),
    "one_cycle": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.5, 10),
    "polynomial": lambda optimizer: lr_scheduler.PolynomialLR(optimizer, 10),
    "step": lambda optimizer: lr_scheduler.StepLR(optimizer, 2),
}


def parameter():
    return nn.Parameter(torch.linspace(-1, 1, 10).view(2, 5))


def sgd(lr=1.0):
    return build_optimizer([parameter()], {"use": "sgd", "lr": lr})


def rates(optimizer, schedule, steps=10):
    """Return the learning rate of each step."""
    found = []
    for _ in range(steps):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize("name", BY_HAND)
def test_a_schedule_counts_steps_as_torch_does(name):
    by_hand = sgd()
    expected = rates(by_hand, BY_HAND[name](by_hand))
    optimizer = sgd()

    found = rates(
        optimizer, LearningRateSchedule(optimizer, {"use": name} | NEEDED[name], warmup_steps=0, total_steps=10)
    )

    assert found == expected


def test_every_schedule_is_covered_here():
    assert NEEDED.keys() == SCHEDULES.keys() == BY_HAND.keys() | {"reduce_on_plateau"}


@pytest.mark.parametrize("name", sorted(SCHEDULES.keys() - {"reduce_on_plateau"}))
def test_every_schedule_can_be_warmed_up(name):
    optimizer = sgd()
    schedule = LearningRateSchedule(optimizer, {"use": name} | NEEDED[name], warmup_steps=3, total_steps=10)

    found = rates(optimizer, schedule)

    start = found[3]
    assert found[0] < found[1] < found[2]
    assert start > 0
    assert all(rate >= 0 for rate in found)


def test_a_cosine_ends_near_zero_with_the_run():
    optimizer = sgd()

    found = rates(
        optimizer, LearningRateSchedule(optimizer, {"use": "cosine_annealing"}, warmup_steps=0, total_steps=100), 100
    )

    assert found[0] == 1
    assert found[50] == pytest.approx(0.5)
    assert 0 < found[99] < 0.001
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0)


def test_a_cosine_after_a_warm_up_ends_with_the_run_too():
    optimizer = sgd()

    found = rates(
        optimizer, LearningRateSchedule(optimizer, {"use": "cosine_annealing"}, warmup_steps=20, total_steps=100), 100
    )

    assert found[20] == 1
    assert found[60] == pytest.approx(0.5)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0)


def test_a_number_of_steps_of_the_file_is_kept():
    optimizer = sgd()

    found = rates(
        optimizer,
        LearningRateSchedule(optimizer, {"use": "cosine_annealing", "T_max": 5}, warmup_steps=0, total_steps=100),
        6,
    )

    assert found[5] == pytest.approx(0)


@pytest.mark.parametrize(("given", "rate"), [({}, 0.5), ({"total_iters": 5}, 0.0)])
def test_a_number_of_steps_is_the_runs_unless_the_file_gives_one(given, rate):
    optimizer = sgd()

    rates(
        optimizer, LearningRateSchedule(optimizer, {"use": "polynomial", **given}, warmup_steps=0, total_steps=100), 50
    )

    assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)


def test_a_warm_up_grows_linearly():
    optimizer = sgd(lr=2.0)

    found = rates(optimizer, LearningRateSchedule(optimizer, None, warmup_steps=4, total_steps=None), 6)

    assert found == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0, 2.0])


def test_without_schedule_and_warm_up_the_rate_stays():
    optimizer = sgd()

    assert rates(optimizer, LearningRateSchedule(optimizer, None, total_steps=10)) == [1.0] * 10


PLATEAU = {"use": "reduce_on_plateau", "patience": 0, "factor": 0.5}


@pytest.mark.parametrize(
    ("goal", "scores", "rate"),
    [
        ("min", [1.0, 0.5, 0.75], 0.5),
        ("max", [1.0, 0.5, 0.75], 0.25),
        ("max", [0.5, 0.75, 1.0], 1.0),
        ("max", [0.0, 0.0, 0.0], 0.25),  # a tie is not an improvement
        ("max", [0.5, 0.5, 0.5], 0.25),
        ("min", [0.5, 0.5], 0.5),
    ],
)
def test_a_plateau_lowers_the_rate_in_the_direction_of_the_metric(goal, scores, rate):
    schedule = LearningRateSchedule(sgd(), PLATEAU)

    for score in scores:
        schedule.step()
        schedule.on_score(score, goal)

    assert schedule.learning_rate == rate


def test_a_plateau_is_restored_with_its_direction():
    whole, first, second = (LearningRateSchedule(sgd(), PLATEAU | {"patience": 1}) for _ in range(3))
    for score in (0.5, 0.25):
        whole.on_score(score, "max")
        first.on_score(score, "max")

    second.load_state_dict(first.state_dict())
    for each in (whole, second):
        each.on_score(0.5, "max")

    assert whole.learning_rate == 0.5
    assert second.learning_rate == 0.5


def test_a_plateau_cannot_be_warmed_up():
    with pytest.raises(InputError, match=r"warmup_steps = 3: schedule reduce_on_plateau does not support a warm-up"):
        LearningRateSchedule(sgd(), {"use": "reduce_on_plateau"}, warmup_steps=3, total_steps=10)


@pytest.mark.parametrize("name", ["cosine_annealing", "one_cycle", "linear"])
def test_a_schedule_of_a_run_without_number_of_steps_needs_one(name):
    with pytest.raises(InputError, match=rf"schedule {name} needs \w+, since the run has no fixed number of steps"):
        LearningRateSchedule(sgd(), {"use": name} | NEEDED[name], warmup_steps=0, total_steps=None)


@pytest.mark.parametrize("table", [None, {"use": "cosine_annealing"}])
@pytest.mark.parametrize("warmup_steps", [10, 12])
def test_a_warm_up_that_leaves_no_step_is_refused(warmup_steps, table):
    message = rf"warmup_steps = {warmup_steps}: the run has 10 steps, so .* never be reached; expected fewer than 10"
    with pytest.raises(InputError, match=message):
        LearningRateSchedule(sgd(), table, warmup_steps=warmup_steps, total_steps=10)


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"use": "step"}, r"schedule step: .*step_size"),
        ({"use": "one_cycle", "max_lr": 1.0, "pct_start": 2.0}, r"schedule one_cycle: .*pct_start"),
        (
            NEEDED["cyclic"] | {"use": "cyclic", "step_size_up": 0},
            r"schedule cyclic with .*step_size_up = 0: .*division by zero; choose other values",
        ),
        ({"use": "cosine_annealing_warm_restarts", "T_0": 0}, r"schedule cosine_annealing_warm_restarts: "),
    ],
)
def test_a_schedule_that_torch_refuses_is_an_error_of_the_file(table, text):
    with pytest.raises(InputError, match=text):
        LearningRateSchedule(sgd(), table, warmup_steps=0, total_steps=10)


def test_a_value_that_fails_only_in_a_step_is_an_error_of_the_file():
    optimizer = sgd()
    schedule = LearningRateSchedule(optimizer, {"use": "step", "step_size": 0}, warmup_steps=0, total_steps=10)
    optimizer.step()

    with pytest.raises(InputError, match=r"schedule step with step_size = 0: .* by zero; choose other values"):
        schedule.step()


def resumed(old, new, *, after, lrs=(1.0, 1.0), table_lr=None):
    """Return optimizer and schedule of the second of two pipelines that continues after some steps of the first.

    Args:
        old: table, warmup_steps and total_steps of the first; `new` those of the second.
    """
    optimizer = sgd(lrs[0])
    schedule = LearningRateSchedule(optimizer, old[0], warmup_steps=old[1], total_steps=old[2])
    rates(optimizer, schedule, after)
    continued = sgd(lrs[1])
    second = LearningRateSchedule(continued, new[0], warmup_steps=new[1], total_steps=new[2])
    load_optimizer(continued, optimizer.state_dict())
    with warnings.catch_warnings(action="error"):
        second.load_state_dict(schedule.state_dict())
    return continued, second


COSINE = {"use": "cosine_annealing"}


def test_a_cosine_over_a_longer_run_continues_at_its_step_of_the_new_curve():
    optimizer, schedule = resumed((COSINE, 0, 30), (COSINE, 0, 40), after=30)

    found = rates(optimizer, schedule, 10)

    assert found == pytest.approx([(1 + math.cos(math.pi * step / 40)) / 2 for step in range(30, 40)])


def test_a_warm_up_and_another_rate_are_those_of_the_new_curve():
    optimizer, schedule = resumed((COSINE, 4, 30), (COSINE, 6, 26), after=10, lrs=(1.0, 0.5))

    found = rates(optimizer, schedule, 3)

    assert found == pytest.approx([(1 + math.cos(math.pi * step / 20)) / 4 for step in (4, 5, 6)])


def test_a_change_within_the_warm_up_continues_on_the_new_line():
    optimizer, schedule = resumed((None, 9, 30), (None, 4, 30), after=2)

    assert rates(optimizer, schedule, 4) == pytest.approx([0.6, 0.8, 1.0, 1.0])


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("warmup_steps", [0, 2])
def test_after_a_change_every_schedule_has_the_bits_of_a_run_that_always_had_it(name, warmup_steps):
    new = {"use": name} | NEEDED[name], warmup_steps, 12
    fresh = sgd(0.75)
    whole = LearningRateSchedule(fresh, new[0], warmup_steps=warmup_steps, total_steps=12)
    expected = [(group := fresh.param_groups[0]) and (rates(fresh, whole, 1)[0], group["momentum"]) for _ in range(10)]

    optimizer, schedule = resumed(({"use": "exponential", "gamma": 0.5}, 1, 10), new, after=5, lrs=(1.0, 0.75))
    found = [(rates(optimizer, schedule, 1)[0], optimizer.param_groups[0]["momentum"]) for _ in range(5)]

    assert found == expected[5:]


@pytest.mark.parametrize("name", BY_HAND)
def test_without_a_change_the_schedule_is_restored_bit_by_bit(name):
    table = {"use": name} | NEEDED[name]
    fresh = sgd()
    expected = rates(fresh, LearningRateSchedule(fresh, table, warmup_steps=2, total_steps=12), 12)

    optimizer, schedule = resumed((table, 2, 12), (table, 2, 12), after=5)

    assert rates(optimizer, schedule, 7) == expected[5:]


def test_a_rate_without_a_schedule_is_the_new_one():
    optimizer, schedule = resumed((None, 0, 10), (None, 0, 10), after=3, lrs=(1.0, 0.25))

    assert schedule.learning_rate == 0.25
    assert rates(optimizer, schedule, 2) == [0.25, 0.25]


def plateau_after_two_reductions():
    """Return optimizer and schedule, whose rate has fallen from 1 to 1/4, with one bad epoch of two since."""
    optimizer = sgd()
    schedule = LearningRateSchedule(optimizer, PLATEAU | {"patience": 1})
    for score in (0.5, 0.75, 0.75, 0.75, 0.75, 0.75):
        schedule.step()
        schedule.on_score(score, "min")
    assert schedule.learning_rate == 0.25
    return optimizer, schedule


@pytest.mark.parametrize(
    ("lr", "changes", "rates"),
    [
        (1.0, {}, [0.25, 0.125]),
        (0.5, {}, [0.125, 0.0625]),  # the reductions so far stay
        (1.0, {"factor": 0.25}, [0.25, 0.0625]),
        (0.5, {"min_lr": 0.2}, [0.2, 0.2]),
    ],
)
def test_a_plateau_keeps_its_counters_and_reductions(lr, changes, rates):
    before, saved = plateau_after_two_reductions()
    optimizer = sgd(lr)
    schedule = LearningRateSchedule(optimizer, PLATEAU | {"patience": 1} | changes)
    load_optimizer(optimizer, before.state_dict())
    schedule.load_state_dict(saved.state_dict())

    found = [schedule.learning_rate]
    schedule.on_score(0.75, "min")  # the second one without improvement
    schedule.on_score(0.75, "min")
    found.append(schedule.learning_rate)

    assert found == rates


def test_a_plateau_that_replaces_another_schedule_starts_at_the_rate_of_the_file():
    _, schedule = resumed((COSINE, 0, 10), (PLATEAU, 0, 10), after=6, lrs=(1.0, 0.5))

    assert schedule.learning_rate == 0.5


def test_warm_restarts_are_those_of_torch_and_of_the_paper():
    """Loshchilov & Hutter 2017, "SGDR", equation 5: cosines of T_0, T_0 T_mult, T_0 T_mult² … steps."""
    optimizer = sgd()
    table = {"use": "cosine_annealing_warm_restarts", "T_0": 3, "T_mult": 2, "eta_min": 0.25}

    found = rates(optimizer, LearningRateSchedule(optimizer, table, total_steps=100), 21)

    cycles = [(step, length) for length in (3, 6, 12) for step in range(length)]
    assert found == pytest.approx([0.25 + 0.375 * (1 + math.cos(math.pi * step / length)) for step, length in cycles])


def test_a_plateau_in_its_cooldown_stays_in_it_with_another_rate():
    table = PLATEAU | {"cooldown": 3}
    before = sgd()
    saved = LearningRateSchedule(before, table)
    for score in (0.5, 0.75):  # the second one lowers the rate
        saved.on_score(score, "min")
    optimizer = sgd(0.5)
    schedule = LearningRateSchedule(optimizer, table)
    load_optimizer(optimizer, before.state_dict())
    schedule.load_state_dict(saved.state_dict())

    found = []
    for _ in range(4):
        schedule.on_score(0.75, "min")
        found.append(schedule.learning_rate)

    assert found == [0.25, 0.25, 0.25, 0.125]


def test_a_plateau_may_get_another_rate_twice():
    before, saved = plateau_after_two_reductions()
    for lr in (0.5, 0.75):
        optimizer = sgd(lr)
        schedule = LearningRateSchedule(optimizer, PLATEAU | {"patience": 1})
        load_optimizer(optimizer, before.state_dict())
        schedule.load_state_dict(saved.state_dict())
        before, saved = optimizer, schedule

    assert schedule.learning_rate == 0.75 / 4
