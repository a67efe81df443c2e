"""What is wrong with a plugin that no run has shown yet: its import, its targets, and their signatures."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from dlpipe.config.signatures import Parameter, read_signature
from dlpipe.config.tables import keys_of
from dlpipe.config.values import refused_default
from dlpipe.errors import PluginError
from dlpipe.messages import shown
from dlpipe.registry.loading import Plugin, Registry
from dlpipe.registry.specs import KINDS, EvaluatorSpec, RegisteredComponent, TrainerSpec
from dlpipe.registry.targets import load_target

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
    found, unchecked = [*_import(plugin.module)], []
    for kind in KINDS:
        for component in registry.components[kind].values():
            if component.namespace != plugin.namespace:
                continue
            if missing := component.missing():
                needs = f"needs {', '.join(missing)}; {component.install_command()}"
                unchecked.append(f'{kind} "{component.name}" {needs}')
            else:
                found += [f'{kind} "{component.name}" {problem}' for problem in _component(component)]
    return found, unchecked


def _import(module: str) -> Iterator[str]:
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


def _component(component: RegisteredComponent[Any]) -> Iterator[str]:
    spec = component.spec
    for target in filter(None, (spec.target, getattr(spec, "application", ""))):
        try:
            load_target(target)
            read_signature(target)
        except PluginError as error:
            yield str(error)
            return
    if spec.kind == "command":
        return
    keys = keys_of(spec)
    for parameter in keys.values():
        yield from _parameter(parameter)
    own = set(read_signature(spec.target).parameters)
    named = spec.budget if isinstance(spec, TrainerSpec) else ()
    named = spec.from_trainer if isinstance(spec, EvaluatorSpec) else named
    for name in named:
        if name not in own:
            yield f"names {shown(name)} in its record, which is not a parameter of {spec.target}"
    for former, current in spec.renamed.items():
        if current.partition(".")[0] not in keys:
            yield f"renames {shown(former)} to {shown(current)} in its record, which is not a key of its table"


def _parameter(parameter: Parameter) -> Iterator[str]:
    if parameter.kind is Any:
        yield f"does not say the type of {parameter.name}, so any value is accepted; annotate it"
    if problem := refused_default(parameter):
        yield problem
