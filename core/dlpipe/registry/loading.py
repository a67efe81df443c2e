"""Finding plugins, asking them what they component, and keeping broken ones from harming others.

pluggy calls the hooks; the loading is our own, since pluggy's stops at the first broken plugin and
drops the second of two with one name. What pluggy passes over in silence (a misspelt hook, a
forgotten ``@hookimpl``, a keyword-only or defaulted argument) is an error here.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pluggy

from dlpipe.errors import PluginError
from dlpipe.messages import nearest
from dlpipe.registry.hooks import API, ComponentHooks, Lifecycle
from dlpipe.registry.specs import KINDS, ComponentSpec, RegisteredComponent

GROUP = "dlpipe.plugins"
PREFIX = "dlpipe_"
OWN = "dlpipe.plugin"
HOOK_OF_KIND = {
    "data": "dlpipe_data",
    "model": "dlpipe_models",
    "trainer": "dlpipe_trainers",
    "evaluator": "dlpipe_evaluators",
    "callback": "dlpipe_callbacks",
    "command": "dlpipe_commands",
}

Status = Literal["ok", "disabled", "broken", "conflict", "incompatible"]


@dataclass(frozen=True)
class Plugin:
    """One entry point of the group ``dlpipe.plugins`` and what became of it.

    Args:
        namespace: the entry point's name, the namespace of all its components.
        module: where its hooks are.
        distribution: name and version of what was installed.
        cause: why it is not ok; empty when it is.
    """

    namespace: str
    module: str
    distribution: str
    status: Status = "ok"
    cause: str = ""

    def __str__(self) -> str:
        return f"plugin '{self.namespace}' ({self.distribution}) is {self.status}: {self.cause}"


@dataclass
class Registry:
    """Everything that the plugins of this process component.

    Args:
        plugins: every plugin found, the unusable ones too.
        components: usable components by kind and full name.
        warnings: one line for each plugin or name that could not be used.
    """

    plugins: list[Plugin] = field(default_factory=list)
    components: dict[str, dict[str, RegisteredComponent[Any]]] = field(
        default_factory=lambda: {kind: {} for kind in KINDS}
    )
    warnings: list[str] = field(default_factory=list)

    def find(self, kind: str, name: str) -> RegisteredComponent[Any] | None:
        """Return the component of that kind and full name, or None."""
        return self.components[kind].get(name)

    def why_missing(self, kind: str, name: str) -> tuple[str, bool]:
        """Say why no component `name` of `kind` can be had, and whether a plugin is to blame.

        Returns:
            the reason with the next step, and True when a plugin is missing or broken (exit 3)
            rather than the name misspelt (exit 2).
        """
        namespace = name.partition(".")[0]
        known = {plugin.namespace for plugin in self.plugins if plugin.status == "ok"}
        for plugin in self.plugins:
            if plugin.namespace == namespace and namespace not in known:
                return f"{plugin}", True
        for other, components in self.components.items():
            if name in components:
                return f"{name} is a {other}, not a {kind}.{nearest(name, self.components[kind])}", False
        if "." in name and namespace not in known:
            hint = nearest(name, self.components[kind]) or nearest(namespace, known)
            installed = ", ".join(sorted(known)) or "none"
            return f"no installed plugin has the namespace {namespace!r} (installed: {installed}).{hint}", not hint
        return f"no plugin offers this {kind}.{nearest(name, self.components[kind])}", False


def load_plugins(
    environ: Mapping[str, str] = os.environ,
    entry_points: Iterable[metadata.EntryPoint] | None = None,
) -> Registry:
    """Load all installed plugins and collect what they component.

    ``DLPIPE_PLUGINS=a,b`` loads only those (empty: only the core's own);
    ``DLPIPE_DISABLE_PLUGINS=c`` leaves some out.

    Args:
        environ: environment variables.
        entry_points: what to load instead of the installed ones (for tests).
    """
    if entry_points is None:
        entry_points = metadata.entry_points(group=GROUP)
    registry = Registry()
    found: dict[str, list[metadata.EntryPoint]] = {}
    # The core first: a name of its own wins over a plugin's.
    for point in sorted(entry_points, key=lambda point: (point.name != "core", point.name, point.value)):
        if point.name == "core" and point.value != OWN:
            plugin = Plugin(point.name, point.value, _distribution(point))
            _give_up(registry, plugin, "conflict", "the namespace 'core' is dlpipe's own; it needs another name")
        else:
            found.setdefault(point.name, []).append(point)

    allowed, disabled = _names(environ, "DLPIPE_PLUGINS"), _names(environ, "DLPIPE_DISABLE_PLUGINS")
    for variable, names in (("DLPIPE_PLUGINS", allowed), ("DLPIPE_DISABLE_PLUGINS", disabled)):
        for name in sorted((names or set()) - set(found)):
            registry.warnings.append(f"{variable} names {name!r}, which is not installed.{nearest(name, found)}")
    for namespace, points in found.items():
        plugin = Plugin(namespace, points[0].value, " and ".join(map(_distribution, points)))
        if namespace != "core" and (
            (allowed is not None and namespace not in allowed) or namespace in (disabled or set())
        ):
            registry.plugins.append(replace(plugin, status="disabled", cause="switched off by the environment"))
        elif len(points) > 1:
            cause = f"namespace '{namespace}' is claimed by {plugin.distribution}; uninstall one"
            _give_up(registry, plugin, "conflict", cause)
        else:
            _load(registry, plugin, lambda point=points[0]: importlib.import_module(point.value))
    return registry


def load_local_plugin(registry: Registry, path: Path) -> None:
    """Load the plugin in the Python file `path`; its stem is the namespace.

    Raises:
        PluginError: the file cannot be used as a plugin.
    """
    namespace = path.stem
    for plugin in registry.plugins:
        if plugin.namespace == namespace and plugin.distribution == str(path) and plugin.status == "ok":
            return  # loaded before
        if plugin.namespace == namespace:
            raise PluginError(f"{path}: the namespace '{namespace}' is taken by {plugin.distribution}; rename the file")
    # Two runs may bring different files of one name.
    digest = hashlib.sha256(path.read_bytes() if path.is_file() else b"").hexdigest()[:8]
    module_name = f"dlpipe_local_{namespace}_{digest}"

    def load() -> ModuleType:
        spec = importlib.util.spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None or not path.is_file():
            raise FileNotFoundError(f"{path} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module  # from where the components are imported later
        spec.loader.exec_module(module)
        return module

    _load(registry, Plugin(namespace, module_name, str(path)), load)
    plugin = registry.plugins[-1]
    if plugin.status != "ok":
        raise PluginError(str(plugin))


def lifecycle_manager(callbacks: Mapping[str, object]) -> pluggy.PluginManager:
    """Make the manager of one run, whose plugins are the named callbacks.

    Raises:
        PluginError: a callback has a hook that does not exist or cannot be called.
    """
    manager = pluggy.PluginManager("dlpipe")
    manager.add_hookspecs(Lifecycle)
    for name, callback in callbacks.items():
        _check_hooks(type(callback), Lifecycle)
        manager.register(callback, name)
    return manager


def _load(registry: Registry, plugin: Plugin, load: Any) -> None:
    # SystemExit too: a module that calls sys.exit() must not end the program without a word.
    try:
        module = load()
        wanted = getattr(module, "DLPIPE_API", API)
        if reason := _incompatible(wanted):
            _give_up(registry, plugin, "incompatible", reason)
            return
        components = _ask(module, plugin)
    except (Exception, SystemExit) as error:
        cause = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
        _give_up(registry, plugin, "broken", cause)
        return
    registry.plugins.append(plugin)
    for component in components:
        # Commands live in one space, the program's; all else has the plugin's namespace.
        key = component.spec.name if component.spec.kind == "command" else component.name
        known = registry.components[component.spec.kind]
        if key in known:
            registry.warnings.append(
                f"command {key!r} of plugin '{component.namespace}' ({component.distribution}) is not used: "
                f"plugin '{known[key].namespace}' ({known[key].distribution}) has it already"
            )
        else:
            known[key] = component


def _ask(module: ModuleType, plugin: Plugin) -> list[RegisteredComponent[Any]]:
    """Return all that one plugin offers; raise PluginError at the first mistake in it."""
    _check_hooks(module, ComponentHooks)
    manager = pluggy.PluginManager("dlpipe")
    manager.add_hookspecs(ComponentHooks)
    manager.register(module, plugin.namespace)
    components: list[RegisteredComponent[Any]] = []
    for kind, hook in HOOK_OF_KIND.items():
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            answer = implementation.function()
            if answer is None:
                raise PluginError(f"{hook}() returned None; expected a list of {KINDS[kind].__name__} records")
            names: set[str] = set()
            for component in answer:
                if not isinstance(component, KINDS[kind]):
                    raise PluginError(f"{hook}() returned {component!r}; expected {KINDS[kind].__name__} records")
                if component.name in names:
                    raise PluginError(f"{hook}() offers the name {component.name!r} twice")
                names.add(component.name)
                components.append(
                    RegisteredComponent(_with_module(component, module.__name__), plugin.namespace, plugin.distribution)
                )
    return components


def _with_module(component: ComponentSpec, module: str) -> ComponentSpec:
    """Return a record whose targets name their module also where they are the plugin's own."""
    targets = {name: getattr(component, name, "") for name in ("target", "application")}
    own: dict[str, Any] = {name: module + target for name, target in targets.items() if target.startswith(":")}
    return replace(component, **own)


def _check_hooks(plugin: ModuleType | type, specs: type) -> None:
    """Refuse what pluggy would pass over in silence."""
    known = [name for name in vars(specs) if name.startswith(PREFIX)]
    for name in [name for name in dir(plugin) if name.startswith(PREFIX)]:
        function = inspect.getattr_static(plugin, name)
        if not inspect.isfunction(function):
            continue
        if name not in known:
            raise PluginError(f"unknown hook {name!r}.{nearest(name, known)}")
        options = getattr(function, "dlpipe_impl", None)
        if options is None:
            raise PluginError(f"{name}() is missing the @hookimpl decorator")
        if options.get("wrapper") or options.get("hookwrapper"):
            raise PluginError(f"{name}() is a wrapper; dlpipe's hooks take plain functions only")
        offered = set(inspect.signature(getattr(specs, name)).parameters)
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD or parameter.default is not parameter.empty:
                raise PluginError(f"{name}() has the argument {parameter}: expected plain positional ones, no default")
            if parameter.name not in offered:
                allowed = ", ".join(sorted(offered - {"self"})) or "none"
                raise PluginError(f"{name}() has the argument {parameter.name!r}; this hook offers: {allowed}")


def _incompatible(wanted: object) -> str:
    if not (isinstance(wanted, tuple) and len(wanted) == 2 and all(isinstance(part, int) for part in wanted)):
        return f"DLPIPE_API is {wanted!r}; expected two whole numbers such as {API}"
    offered = f"this dlpipe offers {API[0]}.{API[1]}"
    if wanted > API:
        return f"needs plugin API {wanted[0]}.{wanted[1]}, {offered}; upgrade dlpipe"
    if wanted[0] < API[0]:
        return f"is written for plugin API {wanted[0]}.{wanted[1]}, {offered}; upgrade the plugin"
    return ""


def _give_up(registry: Registry, plugin: Plugin, status: Status, cause: str) -> None:
    plugin = replace(plugin, status=status, cause=cause)
    registry.plugins.append(plugin)
    registry.warnings.append(str(plugin))


def _names(environ: Mapping[str, str], variable: str) -> set[str] | None:
    if variable not in environ:
        return None
    return {name.strip() for name in environ[variable].split(",") if name.strip()}


def _distribution(point: metadata.EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "unknown distribution"
