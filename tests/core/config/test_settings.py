"""The settings of a pipeline and the options of the loop."""

import pytest
from pydantic import ValidationError

from dlpipe.config.check import OPTIONS, SETTINGS, adapter
from dlpipe.config.settings import LoopOptions, Settings
from dlpipe.config.signatures import read_signature


def accepts(target, key, value):
    try:
        adapter(read_signature(target).parameters[key].kind).validate_python(value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("name", ["a", "slot-filling", "Run_2.1", "7"])
def test_a_name_can_be_that_of_a_folder(name):
    assert accepts(SETTINGS, "name", name)


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "-x", "a/b", "../x", "a b", "a\n", "a\0", "é", 3])
def test_a_name_leads_out_of_no_folder(name):
    assert not accepts(SETTINGS, "name", name)


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1", "mps"])
def test_a_device_is_one_that_torch_knows(device):
    assert accepts(SETTINGS, "device", device)


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cpu ", 0])
def test_another_device_is_refused(device):
    assert not accepts(SETTINGS, "device", device)


@pytest.mark.parametrize(
    "key", ["epochs", "steps", "log_every", "evaluate_every", "checkpoint_every", "keep", "patience"]
)
def test_counts_are_above_0(key):
    assert accepts(OPTIONS["trainer"], key, 1)
    assert not accepts(OPTIONS["trainer"], key, 0)
    assert not accepts(OPTIONS["trainer"], key, "1")


@pytest.mark.parametrize(("target", "options"), [(SETTINGS, Settings(name="x")), (OPTIONS["trainer"], LoopOptions())])
def test_the_defaults_that_are_read_are_those_that_hold(target, options):
    for name, parameter in read_signature(target).parameters.items():
        if not parameter.required:
            assert parameter.default == getattr(options, name)
            assert accepts(target, name, parameter.default)
