"""A member that dlpipe would never call is refused with the name it should have."""

import pytest
from torch import nn

from dlpipe.engine.conformance import check_members
from dlpipe.errors import PluginError
from dlpipe.registry.hooks import hookimpl


class Whole:
    """A trainer with all that is needed and nothing else."""

    model = nn.Linear(1, 1)
    steps_per_epoch = None

    def steps(self): ...
    def log_values(self): ...
    def on_score(self, score, goal): ...
    def state_dict(self): ...
    def load_state_dict(self, state): ...


def with_members(base, *names, **attributes):
    return type("Mine", (base,), {**dict.fromkeys(names, lambda self: None), **attributes})()


class Judge:
    """An evaluator without a primary metric."""

    primary = None

    def evaluate(self, model, examples): ...
    def write(self, folder): ...


def test_a_component_with_what_is_needed_is_accepted():
    check_members("trainer", Whole())
    check_members("trainer", with_members(Whole, "state_blocks", "load_state_blocks", "close", notes=["big"]))
    check_members("evaluator", Judge())
    check_members("evaluator", with_members(Judge, "sample", "clone", primary="f1", goal="max"))
    check_members("model", nn.Linear(2, 3))
    check_members("callback", with_members(object, dlpipe_run_end=hookimpl(lambda self: None), losses=1))


@pytest.mark.parametrize(
    ("kind", "component", "message"),
    [
        (
            "trainer",
            with_members(Whole, "state_blocks", "load_state_block"),
            r"Mine has the method load_state_block\(\), which dlpipe never uses; rename it to load_state_blocks",
        ),
        ("trainer", with_members(Whole, "state_blocks"), r"Mine has state_blocks\(\) but lacks load_state_blocks\(\)"),
        ("trainer", with_members(Whole, note=["big"]), r"Mine has the attribute note, .* rename it to notes"),
        ("trainer", with_members(Whole, "colse"), r"Mine has the method colse\(\), .* rename it to close"),
        ("trainer", Judge(), r"Judge lacks the attribute model, which every trainer needs"),
        ("evaluator", with_members(Judge, "samples"), r"Mine has the method samples\(\), .* rename it to sample"),
        ("evaluator", with_members(Judge, primary="f1"), r"Mine lacks the attribute goal, which every evaluator needs"),
        ("evaluator", Whole(), r"Whole lacks the attribute primary, which every evaluator needs"),
        ("data", with_members(object, "encode"), r"Mine lacks the attribute splits, which every data needs"),
    ],
)
def test_a_member_that_is_missing_or_nearly_right_is_named(kind, component, message):
    with pytest.raises(PluginError, match=message):
        check_members(kind, component)


def test_a_misspelled_loss_of_a_model_is_named():
    class Net(nn.Module):
        def los(self, outputs): ...

    with pytest.raises(PluginError, match=r"Net has the method los\(\), which dlpipe never uses; rename it to loss"):
        check_members("model", Net())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("loss", nn.MSELoss(), r"Net.loss is MSELoss, which dlpipe never calls; expected a method loss\(…\)"),
        ("predict", "argmax", r"Net.predict is str, which dlpipe never calls; expected a method predict\(…\)"),
        ("count_loss_terms", 3, r"Net.count_loss_terms is int, .* expected a method count_loss_terms\(…\)"),
        ("los", lambda outputs: outputs, r"Net has the method los\(\), which dlpipe never uses; rename it to loss"),
    ],
)
def test_what_a_model_stores_as_its_loss_is_usable_or_refused(name, value, message):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            setattr(self, name, value)

    with pytest.raises(PluginError, match=message):
        check_members("model", Net())


def test_what_is_no_module_is_no_model():
    with pytest.raises(PluginError, match="Judge is not a model; expected a subclass of torch.nn.Module"):
        check_members("model", Judge())


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "Mine has no hook, so it would never be called; expected a method decorated with @hookimpl and named dlp"),
        ({"dlpipe_run_ended": hookimpl(lambda self: None)}, "hook 'dlpipe_run_ended'. Did you mean \"dlpipe_run_end\""),
        ({"dlpipe_run_end": lambda self: None}, r"dlpipe_run_end\(\) is missing the @hookimpl decorator"),
        ({"dlpipe_run_end": 3}, "dlpipe_run_end is 3; expected a function decorated with @hookimpl"),
        (
            {"dlpipe_data": hookimpl(lambda self: [])},
            r"dlpipe_data\(\) is a hook of a plugin module \(plugin.py\); move",
        ),
    ],
)
def test_a_callback_that_would_not_be_called_is_refused(members, message):
    with pytest.raises(PluginError, match=message):
        check_members("callback", with_members(object, **members))


def test_a_missing_method_is_suggested_from_those_that_are_there():
    class Mine:
        model, steps_per_epoch = None, None

        def steps(self): ...
        def log_value(self): ...

    with pytest.raises(PluginError, match=r"Mine lacks the method log_values\(\), .*; it has log_value"):
        check_members("trainer", Mine())


class Reads:
    """Data whose facts are in its files."""

    splits = ("train",)

    @property
    def facts(self):
        raise FileNotFoundError("the files are gone")

    def split(self, name): ...
    def state(self): ...
    def restore(self, state): ...
    def fingerprint(self): ...


def test_facts_are_not_computed_to_see_that_they_are_there():
    check_members("data", Reads())
