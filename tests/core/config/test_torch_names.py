"""The names are those of the installed torch."""

import inspect

import pytest
from torch import optim
from torch.optim import lr_scheduler

from dlpipe.config.signatures import read_signature
from dlpipe.config.torch_names import CHOICES, OPTIMIZERS, SCHEDULES, TOTAL_STEPS, provided_by_trainer

#: These take functions or other schedules, which no TOML value can be.
NEED_CODE = {"LambdaLR", "MultiplicativeLR", "SequentialLR", "ChainedScheduler"}


def targets(module, base):
    """Return the public classes of a torch module that inherit from `base`."""
    return {
        f"{module.__name__}:{name}"
        for name, found in vars(module).items()
        if inspect.isclass(found) and issubclass(found, base) and found is not base and not name.startswith("_")
    }


def test_every_optimizer_of_torch_has_a_name():
    known = set(OPTIMIZERS.values())
    if not hasattr(optim, "Muon"):  # torch < 2.9
        known.discard("torch.optim:Muon")

    assert targets(optim, optim.Optimizer) == known


def test_every_schedule_of_torch_that_needs_no_code_has_a_name():
    found = targets(lr_scheduler, lr_scheduler.LRScheduler) - {f"torch.optim.lr_scheduler:{name}" for name in NEED_CODE}

    assert found == set(SCHEDULES.values())


def test_the_names_are_in_alphabetical_order_after_the_most_common():
    common, others = list(OPTIMIZERS)[:4], list(OPTIMIZERS)[4:]

    assert common == ["adam", "adamw", "sgd", "rmsprop"]
    assert others == sorted(others)
    assert list(SCHEDULES) == sorted(SCHEDULES)


@pytest.mark.parametrize("choice", ["optimizer", "schedule"])
def test_the_parameters_that_the_trainer_sets_are_parameters_of_torch(choice):
    parameters = {name for target in CHOICES[choice].values() for name in read_signature(target).parameters}

    for name in CHOICES[choice]:
        assert set(provided_by_trainer(choice, name)) <= parameters


def test_the_numbers_of_steps_that_the_trainer_sets_are_parameters_of_torch():
    parameters = {name for target in SCHEDULES.values() for name in read_signature(target).parameters}

    assert parameters >= TOTAL_STEPS


def test_the_direction_is_set_by_the_trainer_for_reduce_on_plateau_only():
    assert [name for name in SCHEDULES if "mode" in provided_by_trainer("schedule", name)] == ["reduce_on_plateau"]
