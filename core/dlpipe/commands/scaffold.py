"""A new plugin: a small distribution with an entry point, components that work together, a pipeline and tests.

The components are those that docs/plugins.md explains. Files that are the same for every plugin are in ``templates``;
what depends on the kinds of components is composed here.
"""

from __future__ import annotations

import importlib.util
import json
import keyword
import os
import shutil
import tempfile
from collections.abc import Collection
from importlib import metadata, resources
from pathlib import Path

from dlpipe.errors import InputError
from dlpipe.registry.hooks import API
from dlpipe.registry.loading import HOOK_OF_KIND, PREFIX, Registry
from dlpipe.registry.specs import KINDS, NAME

DEFAULT_KINDS = ("data", "model", "evaluator")
#: By kind, the name of the component, its class, and its summary.
COMPONENTS = {
    "data": ("spirals", "Spirals", "points on two interleaved spirals"),
    "model": ("mlp", "MLP", "two hidden layers"),
    "trainer": ("signum", "Signum", "steps in the direction of the momentum's sign"),
    "evaluator": ("accuracy", "Accuracy", "share of correct classes"),
    "callback": ("stop_at", "StopAt", "stops a run whose model is good enough"),
    "command": ("command", "command", "Print the best scores of a run"),
}
#: Without these a pipeline cannot run, and dlpipe has none of its own.
NEEDED = ("data", "model")


def create_plugin(name: str, kinds: Collection[str], registry: Registry, parent: Path = Path()) -> Path:
    """Write a plugin to the new folder ``dlpipe-NAME`` in `parent`: all of it, or nothing.

    Args:
        name: the namespace of its components.
        kinds: of components; `DEFAULT_KINDS` if there are none.

    Returns:
        the folder.

    Raises:
        InputError: the name cannot be used, the folder exists, or it cannot be written.
    """
    kinds = [kind for kind in KINDS if kind in (kinds or DEFAULT_KINDS)]
    _check_name(name, kinds, registry)
    folder = parent / _distribution(name)
    if os.path.lexists(folder):
        raise InputError(f"{folder} already exists; choose another name, or remove it")
    try:
        with tempfile.TemporaryDirectory(dir=parent, prefix=f".{folder.name}-") as temporary:
            complete = Path(temporary) / folder.name
            for file, text in _files(name, kinds).items():
                (complete / file).parent.mkdir(parents=True, exist_ok=True)
                (complete / file).write_text(text, encoding="utf-8")
            shutil.move(complete, folder)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}; change to another folder") from error
    return folder


def _check_name(name: str, kinds: Collection[str], registry: Registry) -> None:
    """Refuse a name that cannot be a namespace, or is that of something else."""
    if not NAME.fullmatch(name):
        # str.isidentifier would allow letters that the names of components do not.
        likely = name.lower().replace("-", "_").removeprefix(PREFIX)
        hint = f' Did you mean "{likely}"?' if NAME.fullmatch(likely) else ""
        raise InputError(f'"{name}" cannot be the name of a plugin: expected lower-case letters, digits and _.{hint}')
    if keyword.iskeyword(name) or name in map(_stand_in, NEEDED):
        raise InputError(f'"{name}" is reserved; choose another name')
    for plugin in registry.plugins:
        if plugin.namespace == name:
            raise InputError(f'the namespace "{name}" is taken by {plugin.distribution}; choose another name')
    if importlib.util.find_spec(f"{PREFIX}{name}") is not None:
        raise InputError(f"a package {PREFIX}{name} can be imported already; choose another name")
    if "command" in kinds and (command := registry.find("command", name)):
        raise InputError(f'dlpipe has a command "{name}" (of {command.distribution}); choose another name')


def _distribution(name: str) -> str:
    return f"dlpipe-{name.replace('_', '-')}"


def _files(name: str, kinds: list[str]) -> dict[str, str]:
    """Return the content of all files of a plugin by path."""
    package = f"{PREFIX}{name}"
    stand_ins = [kind for kind in NEEDED if kind not in kinds]
    fillings = {
        "@NAME@": name,
        "@DISTRIBUTION@": _distribution(name),
        "@BOUNDS@": _bounds(metadata.version("dlpipe")),
        "@OPTIONS@": _options_of_checks(name, kinds, stand_ins),
        "@ALLOWED@": ", allow_local_plugins=True" if stand_ins else "",
        "@TABLE@": _table(name, kinds),
        "@COMMANDS@": _commands(name, kinds, stand_ins),
        "@STAND_INS@": _about_stand_ins(stand_ins),
    }

    def template(file: str) -> str:
        text = (resources.files("dlpipe") / "commands" / "templates" / f"{file}.txt").read_text(encoding="utf-8")
        for placeholder, filling in fillings.items():
            text = text.replace(placeholder, filling)
        return text

    files = {
        "pyproject.toml": template("pyproject.toml"),
        "README.md": template("README.md"),
        "CHANGELOG.md": template("CHANGELOG.md"),
        ".gitignore": template("gitignore"),
        ".github/workflows/test.yml": template("test.yml"),
        f"{name}.toml": _pipeline(name, kinds, stand_ins),
        f"{package}/__init__.py": f'"""The plugin {name} for dlpipe."""\n',
        f"{package}/py.typed": "",
        f"{package}/plugin.py": _plugin(name, kinds),
        "tests/test_components.py": template("test_components.py"),
    }
    for kind in kinds:
        module = f"{COMPONENTS[kind][0]}.py"
        files[f"{package}/{module}"] = template(module)
    for kind in stand_ins:
        files[f"tests/{_stand_in(kind)}.py"] = _local_plugin(kind, template(f"{COMPONENTS[kind][0]}.py"))
    if "command" in kinds:
        files["tests/test_command.py"] = template("test_command.py")
    return files


def _bounds(version: str) -> str:
    """Return the versions of dlpipe that a plugin written for one works with: before 1.0, each minor version counts."""
    major, minor = map(int, version.split(".")[:2])
    return f">={major}.{minor},<{f'0.{minor + 1}' if major == 0 else major + 1}"


def _stand_in(kind: str) -> str:
    return f"stand_in_{kind}"


def _owner(name: str, kind: str, kinds: Collection[str]) -> str:
    return name if kind in kinds else _stand_in(kind)


def _record(kind: str, name: str, module: str) -> list[str]:
    """Return the source of the arguments of a component's record."""
    component, target, summary = COMPONENTS[kind]
    offered = name if kind == "command" else component
    facts = ['facts=("num_features", "num_classes")'] if kind == "data" else []
    return [f'"{offered}"', f'"{module}:{target}"', f'"{summary}"', *facts]


def _hook(kind: str, arguments: list[str]) -> str:
    """Return the source of a hook: one argument per line, as a formatter keeps it."""
    record = KINDS[kind].__name__
    lines = [
        "@hookimpl",
        f"def {HOOK_OF_KIND[kind]}() -> list[{record}]:",
        f'    """Offer the {kind}."""',
        "    return [",
        f"        {record}(",
        *(f"            {argument}," for argument in arguments),
        "        )",
        "    ]",
    ]
    return "\n".join(lines) + "\n"


def _plugin(name: str, kinds: list[str]) -> str:
    imported = ", ".join([*sorted(KINDS[kind].__name__ for kind in kinds), "hookimpl"])
    hooks = [_hook(kind, _record(kind, name, f"{PREFIX}{name}.{COMPONENTS[kind][0]}")) for kind in kinds]
    top = f'"""What the plugin {name} provides. Imports no torch."""\n\nfrom dlpipe import {imported}\n\n'
    return top + f"DLPIPE_API = {API}\n\n\n" + "\n\n".join(hooks)


def _local_plugin(kind: str, code: str) -> str:
    """Return the code of a component with its hook, a plugin in one file."""
    record, own = KINDS[kind].__name__, "from dlpipe import "
    if own in code:
        code = code.replace(f"{own}InputError", f"{own}{record}, InputError, hookimpl")
    else:
        code = code.replace("from dlpipe.", f"{own}{record}, hookimpl\nfrom dlpipe.", 1)
    return f"{code}\n\n{_hook(kind, _record(kind, '', ''))}"


def _pipeline(name: str, kinds: list[str], stand_ins: list[str]) -> str:
    lines = ["# On which of two spirals does a point lie?", f'name = "{name.replace("_", "-")}"']
    if stand_ins:
        lines.append(f"plugins = {json.dumps([f'./tests/{_stand_in(kind)}.py' for kind in stand_ins])}")
    for kind in NEEDED:
        lines += ["", f"[{kind}]", f'use = "{_owner(name, kind, kinds)}.{COMPONENTS[kind][0]}"']
    lines += ["", "[trainer]"]
    lines += [f'use = "{name}.signum"'] if "trainer" in kinds else ['use = "core.supervised"']
    lines += ["epochs = 40", "log_every = 400", "evaluate_every = 320"]
    lines += [] if "trainer" in kinds else ['optimizer = { use = "adam", lr = 1e-2 }']
    own = "evaluator" in kinds
    lines += ["", "[evaluators.points]", f'use = "{name}.accuracy"' if own else 'use = "core.loss"']
    if "callback" in kinds:
        lines += ["", "[callbacks.good_enough]", f'use = "{name}.stop_at"']
        reached = ("accuracy", "0.99", "max") if own else ("loss", "0.05", "min")
        lines += ['metric = "dev/points/{}"\nvalue = {}\ngoal = "{}"'.format(*reached)]
    return "\n".join(lines) + "\n"


def _options_of_checks(name: str, kinds: Collection[str], stand_ins: list[str]) -> str:
    options = [f'items={{"{name}.spirals": "0.5 -0.2"}},'] if "data" in kinds else []
    options += ["allow_local_plugins=True,"] if stand_ins else []
    return "".join(f"\n    {option}" for option in options)


def _table(name: str, kinds: list[str]) -> str:
    rows = [
        f"| {kind} | `{f'dlpipe {name}' if kind == 'command' else f'{name}.{component}'}` | {summary} |"
        for kind in kinds
        for component, _, summary in [COMPONENTS[kind]]
    ]
    return "\n".join(["| kind | name | what |", "|---|---|---|", *rows])


def run_command(name: str, kinds: Collection[str]) -> str:
    """Return the command that runs the pipeline of a new plugin."""
    allowed = "" if set(NEEDED) <= set(kinds or DEFAULT_KINDS) else " --allow-local-plugins"
    return f"dlpipe run {name}.toml{allowed}"


def _commands(name: str, kinds: list[str], stand_ins: list[str]) -> str:
    commands = [run_command(name, kinds)]
    latest = f"runs/{name.replace('_', '-')}/latest"
    commands += [] if "data" in stand_ins else [f'dlpipe predict {latest} "0.5 -0.2"']
    commands += [f"dlpipe {name} {latest}"] if "command" in kinds else []
    return "\n".join(f"$ {command}" for command in commands)


def _about_stand_ins(stand_ins: list[str]) -> str:
    if not stand_ins:
        return ""
    files = " and ".join(f"`tests/{_stand_in(kind)}.py`" for kind in stand_ins)
    return (
        f"\nThis plugin provides no {' and no '.join(stand_ins)}: its pipeline and its tests use {files} until you "
        "name those of\nanother plugin. A pipeline runs the Python files that it names only with "
        "`--allow-local-plugins`.\n"
    )
