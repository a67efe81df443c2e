"""Every hook has an example in its docstring, and every example works."""

import inspect
import textwrap
from pathlib import Path
from types import ModuleType

import pluggy
import pytest

import dlpipe.registry.specs
from dlpipe.registry.hooks import ComponentHooks, Lifecycle, RunView, hookimpl
from dlpipe.registry.loading import HOOK_OF_KIND, PREFIX, lifecycle_manager
from dlpipe.registry.targets import load_target

HOOKS = {
    name: spec for specs in (ComponentHooks, Lifecycle) for name, spec in vars(specs).items() if name.startswith(PREFIX)
}
#: One value for every argument that a hook offers.
ARGUMENTS = {
    "step": 6,
    "epoch": 2,
    "split": "dev",
    "metrics": {"train/loss": 0.5, "dev/slots/f1": 0.995},
    "path": Path("checkpoints/step-6"),
    "error": ValueError("no"),
}
#: What an example of a lifecycle hook leaves behind on the callback that has it.
EFFECTS = {
    "dlpipe_run_start": ("folder", Path("runs/x")),
    "dlpipe_step_logged": ("losses", [(6, 0.5)]),
    "dlpipe_epoch_end": ("epochs", 2),
    "dlpipe_evaluated": ("reasons", ["good enough"]),
    "dlpipe_checkpoint_saved": ("last", Path("checkpoints/step-6")),
    "dlpipe_run_failed": ("failure", "step 6: no"),
    "dlpipe_run_end": ("closed", True),
}


def example(name):
    """Return the function that the docstring of a hook shows."""
    _, _, code = inspect.getdoc(HOOKS[name]).partition("Example::\n")
    names = {**vars(dlpipe.registry.specs), "hookimpl": hookimpl}
    exec(textwrap.dedent(code), names)
    return names[name]


def test_there_is_one_hook_for_every_kind_of_component():
    assert set(HOOK_OF_KIND.values()) == {name for name in vars(ComponentHooks) if name.startswith(PREFIX)}
    assert set(HOOK_OF_KIND) == set(dlpipe.registry.specs.KINDS)


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_tells_what_it_is_for_and_shows_an_example(name):
    text = inspect.getdoc(HOOKS[name])

    assert text.partition("\n")[0].endswith(".")
    assert text.count("Example::") == 1


@pytest.mark.parametrize(("kind", "name"), HOOK_OF_KIND.items())
def test_the_example_of_an_offer_offers_components_of_its_kind(kind, name):
    plugin = ModuleType("plugin")
    setattr(plugin, name, example(name))
    manager = pluggy.PluginManager("dlpipe")
    manager.add_hookspecs(ComponentHooks)
    manager.register(plugin)
    manager.check_pending()

    (records,) = getattr(manager.hook, name)()

    assert [type(record) for record in records] == [dlpipe.registry.specs.KINDS[kind]]
    for record in records:
        assert load_target(record.target)


@pytest.mark.parametrize("name", [name for name in vars(Lifecycle) if name.startswith(PREFIX)])
def test_the_example_of_a_lifecycle_hook_does_what_it_says(name):
    callback = type("Callback", (), {name: example(name)})()
    callback.losses, callback.reasons = [], []
    run = RunView("x", Path("runs/x"), 7, 0, callback.reasons.append)
    hook = getattr(lifecycle_manager({"mine": callback}).hook, name)

    hook(run=run, **{key: ARGUMENTS[key] for key in inspect.signature(HOOKS[name]).parameters if key in ARGUMENTS})

    attribute, value = EFFECTS[name]
    assert getattr(callback, attribute) == value
