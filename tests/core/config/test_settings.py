"""The settings of a pipeline and the options of the loop."""

import pytest
from pydantic import ValidationError

from dlpipe.config.settings import LoopOptions, Settings
from dlpipe.config.signatures import read_signature
from dlpipe.config.tables import OPTIONS, SETTINGS
from dlpipe.config.values import adapter


def accepts(target, key, value):
    try:
        adapter(read_signature(target).parameters[key].kind).validate_python(value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("name", ["a", "slot-filling", "Run_2.1", "7"])
def test_a_name_that_can_be_a_folder_is_accepted(name):
    assert accepts(SETTINGS, "name", name)


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "-x", "a/b", "../x", "a b", "a\n", "a\0", "é", 3])
def test_a_name_that_cannot_be_a_folder_is_refused(name):
    assert not accepts(SETTINGS, "name", name)


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1", "mps"])
def test_a_device_of_torch_is_accepted(device):
    assert accepts(SETTINGS, "device", device)


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cpu ", 0])
def test_any_other_device_is_refused(device):
    assert not accepts(SETTINGS, "device", device)


@pytest.mark.parametrize(
    "key", ["epochs", "steps", "log_every", "evaluate_every", "checkpoint_every", "keep", "patience"]
)
def test_a_count_must_be_above_0(key):
    assert accepts(OPTIONS["trainer"], key, 1)
    assert not accepts(OPTIONS["trainer"], key, 0)
    assert not accepts(OPTIONS["trainer"], key, "1")


def test_the_least_improvement_is_no_less_than_0():
    assert accepts(OPTIONS["trainer"], "min_delta", 0.0)
    assert not accepts(OPTIONS["trainer"], "min_delta", -0.01)


@pytest.mark.parametrize(("target", "options"), [(SETTINGS, Settings(name="x")), (OPTIONS["trainer"], LoopOptions())])
def test_the_defaults_in_the_signature_are_those_of_the_dataclass(target, options):
    for name, parameter in read_signature(target).parameters.items():
        if not parameter.required:
            assert parameter.default == getattr(options, name)
            assert accepts(target, name, parameter.default)


@pytest.mark.parametrize(("threads", "accepted"), [(1, True), (1024, True), (0, False), (100_000, False)])
def test_more_threads_than_torch_survives_are_refused(threads, accepted):
    assert accepts(SETTINGS, "threads", threads) == accepted
