"""The keys of the tables of a pipeline file."""

from __future__ import annotations

import pytest

from dlpipe.config.tables import keys_of
from dlpipe.errors import PluginError
from dlpipe.registry.loading import load_plugins
from dlpipe.registry.specs import SELECTABLE, EvaluatorSpec, ModelSpec


@pytest.fixture
def target(tmp_path, monkeypatch):
    """A component with a parameter that is named like an option of every evaluator."""
    (tmp_path / "clashing_parts.py").write_text("class Judge:\n    def __init__(self, *, splits: int = 3): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    return "clashing_parts:Judge"


def test_a_parameter_with_the_name_of_an_option_is_refused(target):
    message = "Judge has a parameter splits, which is an option of dlpipe in the table of every evaluator; rename"
    with pytest.raises(PluginError, match=message):
        keys_of(EvaluatorSpec("judge", target, "judges"))
    assert "splits" in keys_of(ModelSpec("judge", target, "is none"))


def test_no_parameter_of_a_component_here_has_the_name_of_an_option():
    kinds = load_plugins().components
    specs = [component.spec for kind in kinds if kind in SELECTABLE for component in kinds[kind].values()]

    assert all(keys_of(spec) is not None for spec in specs if not spec.target.startswith("torch."))
