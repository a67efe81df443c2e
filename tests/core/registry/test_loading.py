"""Good plugins are asked once; each kind of bad one is reported with its cause and affects no other."""

import re
import sys
import tomllib
from importlib import metadata
from itertools import chain

import pytest

from dlpipe.errors import PluginError
from dlpipe.registry.hooks import hookimpl
from dlpipe.registry.loading import Registry, lifecycle_manager, load_local_plugin, load_plugins
from dlpipe.registry.specs import CallbackSpec, CommandSpec, ModelSpec
from dlpipe.registry.targets import load_target

GOOD = '@hookimpl\ndef dlpipe_models():\n    return [ModelSpec("net", ":Net", "a net")]\nclass Net: pass'
CORE = metadata.EntryPoint("core", "dlpipe.plugin", "dlpipe.plugins")


def models(body):
    return f"@hookimpl\ndef dlpipe_models():\n    {body}"


def only(registry: Registry):
    """Return status and cause of the only plugin."""
    (plugin,) = registry.plugins
    return plugin.status, plugin.cause


# Good plugins


def test_a_plugin_offers_its_components_under_its_namespace(entry_point):
    registry = load_plugins({}, [entry_point("good", GOOD)])

    offer = registry.find("model", "good.net")
    assert only(registry) == ("ok", "")
    assert registry.warnings == []
    assert offer.distribution == "dlpipe-good 1.0"
    assert load_target(offer.spec.target).__name__ == "Net"
    assert registry.find("model", "net") is None
    assert registry.find("data", "good.net") is None


def test_a_generator_and_several_hooks_are_fine(entry_point):
    code = models('yield ModelSpec("a", ":A", "")\n    yield ModelSpec("b", ":B", "")')
    code += '\n@hookimpl\ndef dlpipe_data():\n    return [DataSpec("a", ":A", "")]'

    registry = load_plugins({}, [entry_point("good", code)])

    assert list(registry.components["model"]) == ["good.a", "good.b"]
    assert list(registry.components["data"]) == ["good.a"]


def test_a_plugin_without_hooks_offers_nothing(entry_point):
    assert only(load_plugins({}, [entry_point("empty", "import dlpipe_text")])) == ("ok", "")


def test_the_installed_plugins_are_all_fine():
    registry = load_plugins({})

    assert [str(plugin) for plugin in registry.plugins if plugin.status != "ok"] == []
    assert registry.warnings == []
    assert registry.plugins[0].namespace == "core"


def test_the_extra_of_a_component_installs_what_it_requires(root):
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    for component in chain.from_iterable(kind.values() for kind in load_plugins({}).components.values()):
        if component.spec.requires:
            found = re.fullmatch(r"dlpipe\[([\w,]+)\]", component.spec.extra)
            assert found, f"{component.name}: {component.spec.extra}"
            listed = {re.split("[<>=]", line)[0] for extra in found[1].split(",") for line in extras[extra]}
            assert set(component.spec.requires) <= listed, component.name


# Broken plugins


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import no_such_thing", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
        ("@hookimpl\ndef dlpipe_modles(): return []", "unknown hook 'dlpipe_modles'. Did you mean \"dlpipe_models\"?"),
        ("def dlpipe_models(): return []", "dlpipe_models() is missing the @hookimpl decorator"),
        (
            "@hookimpl(wrapper=True)\ndef dlpipe_models(): yield",
            "dlpipe_models() is a hook wrapper; dlpipe calls plain",
        ),
        ("@hookimpl(hookwrapper=True)\ndef dlpipe_models(): yield", "dlpipe_models() is a hook wrapper;"),
        (
            "@hookimpl\ndef dlpipe_models(*, config): return []",
            "dlpipe_models() has the argument config: expected positional arguments without defaults",
        ),
        ("@hookimpl\ndef dlpipe_models(config=3): return []", "dlpipe_models() has the argument config=3: expected"),
        ("@hookimpl\ndef dlpipe_models(*rest): return []", "dlpipe_models() has the argument *rest: expected"),
        (
            "@hookimpl\ndef dlpipe_models(config): return []",
            "dlpipe_models() has the argument 'config'; this hook provides: none",
        ),
        (models("return None"), "dlpipe_models() returned None; expected a list of ModelSpec records"),
        (models("return ModelSpec('a', ':A', '')"), "dlpipe_models() returned ModelSpec(name='a'"),
        (models("return {'net': ModelSpec('a', ':A', '')}"), "dlpipe_models() returned {'net': ModelSpec("),
        ("dlpipe_models = [ModelSpec('a', ':A', '')]", "dlpipe_models is [ModelSpec(name='a'"),
        (
            "@hookimpl\ndef dlpipe_step_logged(step): ...",
            "dlpipe_step_logged() is a hook of a callback, the class in a record of dlpipe_callbacks(); move it there",
        ),
        (
            models("return [ModelSpec('a', ':A', '', requires='gensim')]"),
            "model 'a' has requires = 'gensim': expected a",
        ),
        (models("return ['net']"), "dlpipe_models() returned 'net'; expected ModelSpec records"),
        (models("return [DataSpec('a', ':A', '')]"), "dlpipe_models() returned DataSpec(name='a'"),
        (models("return [ModelSpec('a', ':A', '')] * 2"), "dlpipe_models() offers the name 'a' twice"),
        (models("return [ModelSpec('A', ':A', '')]"), "model name 'A': expected lower-case letters, digits and _"),
        (models("raise KeyError('x')"), "KeyError: 'x'"),
    ],
)
def test_a_broken_plugin_is_reported_with_its_cause_and_the_others_stay(entry_point, code, cause):
    registry = load_plugins({}, [entry_point("bad", code), entry_point("good", GOOD), CORE])

    assert [(plugin.namespace, plugin.status) for plugin in registry.plugins] == [
        ("core", "ok"),
        ("bad", "broken"),
        ("good", "ok"),
    ]
    assert [name for name in registry.components["model"] if not name.startswith("core.")] == ["good.net"]
    (warning,) = registry.warnings
    assert warning.startswith(f"plugin 'bad' (dlpipe-bad 1.0) is broken: {cause}")


@pytest.mark.parametrize(
    ("api", "cause"),
    [
        ("(1, 1)", "it needs plugin API 1.1, this dlpipe provides 1.0; upgrade dlpipe"),
        ("(2, 0)", "it needs plugin API 2.0, this dlpipe provides 1.0; upgrade dlpipe"),
        ("(0, 9)", "it was written for plugin API 0.9, this dlpipe provides 1.0; upgrade the plugin"),
        ("'1.0'", "DLPIPE_API is '1.0'; expected two whole numbers such as (1, 0)"),
        ("(1,)", "DLPIPE_API is (1,); expected two whole numbers such as (1, 0)"),
        ("(1, '0')", "DLPIPE_API is (1, '0'); expected two whole numbers such as (1, 0)"),
        ("None", "DLPIPE_API is None; expected"),
    ],
)
def test_another_api_is_refused_before_any_hook_is_checked(entry_point, api, cause):
    registry = load_plugins({}, [entry_point("other", f"DLPIPE_API = {api}\ndef dlpipe_unknown(): ...")])

    assert only(registry)[0] == "incompatible"
    assert only(registry)[1].startswith(cause)


def test_the_same_api_is_fine(entry_point):
    assert only(load_plugins({}, [entry_point("good", f"DLPIPE_API = (1, 0)\n{GOOD}")])) == ("ok", "")


# Conflicts


def test_of_two_distributions_with_one_namespace_neither_is_used(entry_point):
    first = entry_point("vision", GOOD, distribution="one-vision")
    second = entry_point("vision", GOOD, distribution="other-vision")

    registry = load_plugins({}, [second, first])

    assert only(registry) == (
        "conflict",
        "the namespace 'vision' is claimed by one-vision 1.0 and other-vision 1.0; uninstall one of them",
    )
    assert registry.components["model"] == {}
    assert registry.why_missing("model", "vision.net")[1]


def test_a_plugin_cannot_take_the_namespace_of_the_core(entry_point):
    registry = load_plugins({}, [entry_point("core", GOOD, distribution="intruder"), CORE])

    assert "run" in registry.components["command"]
    assert registry.find("model", "core.net") is None
    assert registry.warnings == [
        "plugin 'core' (intruder 1.0) is in conflict: the namespace 'core' belongs to dlpipe; rename the entry point"
    ]
    assert registry.why_missing("trainer", "core.supervisd") == (
        'no plugin offers this trainer. Did you mean "core.supervised"?',
        False,
    )


def test_a_command_of_dlpipe_takes_precedence_over_one_of_a_plugin(entry_point):
    code = (
        '@hookimpl\ndef dlpipe_commands():\n    return [CommandSpec("run", ":run", ""), CommandSpec("fly", ":fly", "")]'
    )

    registry = load_plugins({}, [entry_point("a_first", code), CORE])

    assert registry.find("command", "run").namespace == "core"
    assert registry.find("command", "fly").namespace == "a_first"
    assert list(registry.components["command"])[-1] == "fly"
    (warning,) = registry.warnings
    assert warning.startswith("command 'run' of plugin 'a_first' (dlpipe-a_first 1.0) is not used: plugin 'core' (")


# Environment variables


@pytest.mark.parametrize(
    ("environ", "loaded"),
    [
        ({}, {"core", "good", "other"}),
        ({"DLPIPE_PLUGINS": "good"}, {"core", "good"}),
        ({"DLPIPE_PLUGINS": " good , other,"}, {"core", "good", "other"}),
        ({"DLPIPE_PLUGINS": ""}, {"core"}),
        ({"DLPIPE_DISABLE_PLUGINS": "good"}, {"core", "other"}),
        ({"DLPIPE_DISABLE_PLUGINS": ""}, {"core", "good", "other"}),
        ({"DLPIPE_DISABLE_PLUGINS": "core"}, {"core", "good", "other"}),
        ({"DLPIPE_PLUGINS": "good", "DLPIPE_DISABLE_PLUGINS": "good"}, {"core"}),
    ],
)
def test_environment_variables_select_plugins(entry_point, environ, loaded):
    registry = load_plugins(environ, [CORE, entry_point("good", GOOD), entry_point("other", GOOD)])

    assert {plugin.namespace for plugin in registry.plugins if plugin.status == "ok"} == loaded
    assert {plugin.status for plugin in registry.plugins if plugin.namespace not in loaded} <= {"disabled"}
    assert registry.warnings == []


def test_a_disabled_plugin_is_not_imported(entry_point):
    point = entry_point("good", GOOD)

    registry = load_plugins({"DLPIPE_PLUGINS": ""}, [point])

    assert point.value not in sys.modules
    assert registry.why_missing("model", "good.net") == (
        "plugin 'good' (dlpipe-good 1.0) is disabled: DLPIPE_PLUGINS does not name it",
        True,
    )


@pytest.mark.parametrize("variable", ["DLPIPE_PLUGINS", "DLPIPE_DISABLE_PLUGINS"])
def test_a_misspelled_name_in_an_environment_variable_is_reported(entry_point, variable):
    registry = load_plugins({variable: "vison"}, [CORE, entry_point("vision", GOOD)])

    assert registry.warnings == [f"{variable} names 'vison', which is not installed. Did you mean \"vision\"?"]


# What is missing, and why


@pytest.mark.parametrize(
    ("kind", "name", "reason", "blame"),
    [
        ("model", "good.nett", 'no plugin offers this model. Did you mean "good.net"?', False),
        ("model", "nett", "no plugin offers this model.", False),
        ("data", "good.net", "good.net is a model, not a data component.", False),
        ("model", "goood.net", "has the namespace 'goood' (installed: core, good). Did you mean \"good.net\"?", False),
        ("model", "goood.zzzzzzzz", '(installed: core, good). Did you mean "good"?', False),
        ("model", "vision.cnn", "no installed plugin has the namespace 'vision' (installed: core, good).", True),
        ("model", "bad.net", "plugin 'bad' (dlpipe-bad 1.0) is broken: ZeroDivisionError: division by zero", True),
    ],
)
def test_the_reason_for_a_missing_component_is_given(entry_point, kind, name, reason, blame):
    registry = load_plugins({}, [CORE, entry_point("good", GOOD), entry_point("bad", "1 / 0")])

    found, plugin_to_blame = registry.why_missing(kind, name)

    assert found.endswith(reason)
    assert plugin_to_blame == blame


# Local plugins


@pytest.fixture
def local(tmp_path, monkeypatch):
    """Write a plugin file; its module is removed from `sys.modules` after the test."""

    def local(code, name="mine.py"):
        path = tmp_path / name
        path.write_text(f"from dlpipe import *\nfrom dlpipe import hookimpl\n{code}\n")
        monkeypatch.delitem(sys.modules, f"dlpipe_local_{path.stem}", raising=False)
        return path

    yield local
    for name in [name for name in sys.modules if name.startswith("dlpipe_local_")]:
        del sys.modules[name]


def test_a_local_file_is_a_plugin_named_after_it(local):
    registry, path = Registry(), local(GOOD)

    load_local_plugin(registry, path)

    offer = registry.find("model", "mine.net")
    assert offer.distribution == str(path)
    assert load_target(offer.spec.target).__name__ == "Net"


def test_a_local_file_is_loaded_once(local):
    registry, path = Registry(), local(GOOD)

    load_local_plugin(registry, path)
    load_local_plugin(registry, path)

    assert len(registry.plugins) == 1
    assert registry.warnings == []


def test_a_local_file_cannot_take_a_namespace_in_use(local, entry_point):
    registry = load_plugins({}, [entry_point("mine", GOOD)])

    with pytest.raises(PluginError, match="mine.py: the namespace 'mine' is taken by dlpipe-mine 1.0; rename the file"):
        load_local_plugin(registry, local(GOOD))


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("1 / 0", "is broken: ZeroDivisionError: division by zero"),
        ("x = (", "is broken: SyntaxError: '\\(' was never closed"),
        ("DLPIPE_API = (9, 0)", "is incompatible: it needs plugin API 9.0"),
    ],
)
def test_a_local_file_that_is_not_a_plugin_is_an_error(local, code, cause):
    with pytest.raises(PluginError, match=cause):
        load_local_plugin(Registry(), local(code))


def test_a_local_file_that_cannot_be_imported_leaves_no_module_behind(local):
    before = set(sys.modules)

    with pytest.raises(PluginError):
        load_local_plugin(Registry(), local("import not_installed"))

    assert set(sys.modules) == before


@pytest.mark.parametrize("name", ["missing.py", "text.txt", "folder"])
def test_a_local_plugin_must_be_a_python_file(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.txt").write_text("")

    with pytest.raises(PluginError, match=f"FileNotFoundError: .*{name} is not a Python file"):
        load_local_plugin(Registry(), tmp_path / name)


# Callbacks


class Counting:
    def __init__(self, log, name):
        self.log, self.name = log, name

    @hookimpl
    def dlpipe_run_end(self, step):
        self.log.append((self.name, step))


def test_the_callbacks_of_a_run_are_called_and_no_others():
    log = []

    manager = lifecycle_manager({"a": Counting(log, "a"), "b": Counting(log, "b")})
    manager.hook.dlpipe_run_end(run=None, step=3)

    assert sorted(log) == [("a", 3), ("b", 3)]
    assert {name for name, _ in manager.list_name_plugin()} == {"a", "b"}


@pytest.mark.parametrize(
    ("name", "function", "cause"),
    [
        (
            "dlpipe_run_ends",
            hookimpl(lambda self: None),
            "unknown hook 'dlpipe_run_ends'. Did you mean \"dlpipe_run_end\"",
        ),
        ("dlpipe_run_end", lambda self: None, r"dlpipe_run_end\(\) is missing the @hookimpl decorator"),
        ("dlpipe_run_end", hookimpl(lambda self, epoch: None), "argument 'epoch'; this hook provides: run, step"),
        (
            "dlpipe_run_end",
            hookimpl(lambda self, step=0: None),
            "has the argument step=0: expected positional arguments",
        ),
    ],
)
def test_a_callback_with_a_hook_that_cannot_be_called_is_refused(name, function, cause):
    callback = type("Mine", (), {name: function})()

    with pytest.raises(PluginError, match=cause):
        lifecycle_manager({"mine": callback})


def test_specs_have_their_kind():
    assert (ModelSpec.kind, CallbackSpec.kind, CommandSpec.kind) == ("model", "callback", "command")
