import importlib
import inspect

import pytest

from dlpipe_rl.plugin import dlpipe_data, dlpipe_trainers

RENAMED = [spec for spec in (*dlpipe_data(), *dlpipe_trainers()) if spec.renamed]


@pytest.mark.parametrize("spec", RENAMED, ids=lambda spec: spec.name)
def test_renamed_parameters_exist_and_their_former_names_do_not(spec):
    if spec.name == "atari":
        pytest.importorskip("ale_py", reason="ale-py is not installed")
    module, name = spec.target.split(":")
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters

    assert set(spec.renamed.values()) <= set(parameters)
    assert not set(spec.renamed) & set(parameters)
