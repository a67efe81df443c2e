"""What is wrong with a plugin that no run has shown yet: its import, its targets, and their signatures."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from dlpipe.config.signatures import ANNOTATE, Parameter, read_signature
from dlpipe.config.tables import keys_of
from dlpipe.config.values import refused_default
from dlpipe.errors import PluginError
from dlpipe.messages import shown
from dlpipe.registry.loading import Plugin, Registry
from dlpipe.registry.specs import KINDS, SELECTABLE, EvaluatorSpec, RegisteredComponent, TrainerSpec
from dlpipe.registry.targets import load_command, load_rule, load_target

#: Every command imports every plugin. In seconds of the processor, so that a busy machine changes nothing.
MAX_IMPORT_SECONDS = 0.3
#: Modules whose import takes seconds; a plugin's hooks need none of them.
HEAVY = ("torch", "numpy")
#: Imports a module in a process of its own, and writes what is remarkable about it.
_IMPORT = """
import contextlib, importlib, io, json, sys, time
import dlpipe
printed = io.StringIO()
before = set(sys.modules)
with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
    start = time.process_time()
    importlib.import_module(sys.argv[1])
    seconds = time.process_time() - start
told = {"seconds": seconds, "printed": printed.getvalue(), "loaded": sorted(set(sys.modules) - before)}
json.dump(told, sys.stdout)
"""


def check_plugin(registry: Registry, plugin: Plugin) -> tuple[list[str], list[str]]:
    """Return what is wrong with an installed plugin, one sentence each, and what could not be checked.

    All targets and applications are imported, so this takes as long as importing torch and more.
    """
    if plugin.status == "disabled":
        return [], ["the plugin is disabled"]
    if plugin.status != "ok":
        return [str(plugin)], []
    found, unchecked = [*check_import(plugin)], []
    for kind in KINDS:
        for component in registry.components[kind].values():
            if component.namespace != plugin.namespace:
                continue
            if missing := component.missing():
                needs = f"needs {', '.join(missing)}; {component.install_command()}"
                unchecked.append(f'{kind} "{component.name}" {needs}')
            else:
                problems = (problem for rule in COMPONENT_RULES.values() for problem in rule(component))
                found += [f'{kind} "{component.name}" {problem}' for problem in problems]
    return found, unchecked


def check_import(plugin: Plugin) -> Iterator[str]:
    """Yield what is wrong with the import of a plugin's module, in a process of its own."""
    module = plugin.module
    done = subprocess.run([sys.executable, "-c", _IMPORT, module], capture_output=True, text=True, check=False)
    if done.returncode:
        yield f"{module} cannot be imported alone: {done.stderr.strip().splitlines()[-1]}"
        return
    told = json.loads(done.stdout.splitlines()[-1])
    if told["printed"]:
        yield f"{module} prints {shown(told['printed'].strip())} when it is imported; every command would show this"
    if heavy := [name for name in HEAVY if name in told["loaded"]]:
        yield f"{module} imports {' and '.join(heavy)}; import them in the modules of the targets"
    elif told["seconds"] > MAX_IMPORT_SECONDS:
        yield (
            f"{module} takes {told['seconds']:.2f} s to import, expected at most {MAX_IMPORT_SECONDS} s; every command "
            "waits for it: import what takes long in the modules of the targets"
        )


def _targets(component: RegisteredComponent[Any]) -> Iterator[str]:
    """Yield what is wrong with the target and the application of a component."""
    spec = component.spec
    for target in filter(None, (spec.target, getattr(spec, "application", ""))):
        try:
            if spec.kind not in SELECTABLE:
                {"command": load_command, "rule": load_rule}[spec.kind](target)
                continue
            load_target(target)
            read_signature(target)
            if target == spec.target:
                keys_of(spec)
        except PluginError as error:
            yield str(error)


def _annotations(component: RegisteredComponent[Any]) -> Iterator[str]:
    """Yield which parameters have no type."""
    for parameter in _parameters(component):
        if parameter.kind is Any:
            reason = parameter.unchecked or f"does not say the type of {parameter.name}"
            yield f"{reason}, so any value is accepted; {ANNOTATE}"


def _defaults(component: RegisteredComponent[Any]) -> Iterator[str]:
    """Yield which defaults are not valid values."""
    yield from filter(None, map(refused_default, _parameters(component)))


def _named(component: RegisteredComponent[Any]) -> Iterator[str]:
    """Yield which parameters the record names that do not exist."""
    spec = component.spec
    names = (*spec.budget, *spec.changeable) if isinstance(spec, TrainerSpec) else ()
    names = (*spec.from_trainer, *spec.primary_depends_on) if isinstance(spec, EvaluatorSpec) else names
    for name in names if not any(_targets(component)) else ():
        if name.partition(".")[0] not in read_signature(spec.target).parameters:
            yield f"names {shown(name)} in its record, which is not a parameter of {spec.target}"
    keys = {parameter.name for parameter in _parameters(component)}
    for former, current in spec.renamed.items() if keys else ():
        if current.partition(".")[0] not in keys:
            yield f"renames {shown(former)} to {shown(current)} in its record, which is not a key of its table"


def _parameters(component: RegisteredComponent[Any]) -> list[Parameter]:
    """Return the parameters that a table can set; none if the target cannot be read, which `_targets` reports."""
    if component.spec.kind not in SELECTABLE or any(_targets(component)):
        return []
    return list(keys_of(component.spec).values())


#: What has to be true of each component, in words, and what yields the breaches.
COMPONENT_RULES: dict[str, Callable[[RegisteredComponent[Any]], Iterator[str]]] = {
    "can be imported": _targets,
    "gives the type of each parameter": _annotations,
    "has valid defaults": _defaults,
    "names its own parameters in its record": _named,
}
