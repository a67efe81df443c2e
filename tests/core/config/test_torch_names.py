"""The tables of names are those of the torch that is installed."""

import inspect

import pytest
from torch import optim
from torch.optim import lr_scheduler

from dlpipe.config.signatures import read_signature
from dlpipe.config.torch_names import CHOICES, GIVEN, OPTIMIZERS, SCHEDULES, TOTAL_STEPS

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


@pytest.mark.parametrize("kind", CHOICES)
def test_the_names_are_in_alphabetical_order(kind):
    assert list(CHOICES[kind]) == sorted(CHOICES[kind])


def test_what_the_trainer_gives_is_asked_for_by_torch():
    asked = {
        name for table in CHOICES.values() for target in table.values() for name in read_signature(target).parameters
    }

    assert asked >= GIVEN | TOTAL_STEPS
