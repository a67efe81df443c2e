"""Finding plugins, asking them what they offer, and keeping a broken one from affecting the others.

pluggy finds the hooks of a plugin and checks them against `ComponentHooks`. The loading is our own, since pluggy's
stops at the first broken plugin and drops the second of two plugins with one name. What pluggy ignores silently (a
misspelled hook, a forgotten ``@hookimpl``, a keyword-only argument or one with a default) is an error here.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pluggy

from dlpipe.errors import PluginError
from dlpipe.local_plugins import import_local_plugin, module_of
from dlpipe.messages import nearest
from dlpipe.registry.hooks import API, ComponentHooks, Lifecycle
from dlpipe.registry.specs import KINDS, ComponentSpec, RegisteredComponent, a_kind

GROUP = "dlpipe.plugins"
PREFIX = "dlpipe_"
OWN = "dlpipe.plugin"
HOOK_OF_KIND = {
    "data": "dlpipe_data",
    "model": "dlpipe_models",
    "trainer": "dlpipe_trainers",
    "evaluator": "dlpipe_evaluators",
    "optimizer": "dlpipe_optimizers",
    "schedule": "dlpipe_schedules",
    "loss": "dlpipe_losses",
    "callback": "dlpipe_callbacks",
    "command": "dlpipe_commands",
    "rule": "dlpipe_rules",
}

Status = Literal["ok", "disabled", "broken", "conflict", "incompatible"]


@dataclass(frozen=True)
class Plugin:
    """One entry point of the group ``dlpipe.plugins`` and its status.

    Args:
        namespace: name of the entry point and namespace of all its components.
        module: that contains its hooks.
        distribution: name and version of the installed distribution.
        cause: why the status is not "ok"; empty if it is.
    """

    namespace: str
    module: str
    distribution: str
    status: Status = "ok"
    cause: str = ""

    def __str__(self) -> str:
        problem = "in conflict" if self.status == "conflict" else self.status
        return f"plugin '{self.namespace}' ({self.distribution}) is {problem}: {self.cause}"


@dataclass
class Registry:
    """Everything that the plugins of this process offer.

    Args:
        plugins: all plugins that were found, including those that cannot be used.
        components: usable components by kind and full name.
        warnings: one line for each plugin or name that cannot be used.
    """

    plugins: list[Plugin] = field(default_factory=list)
    components: dict[str, dict[str, RegisteredComponent[Any]]] = field(
        default_factory=lambda: {kind: {} for kind in KINDS}
    )
    warnings: list[str] = field(default_factory=list)

    def find(self, kind: str, name: str) -> RegisteredComponent[Any] | None:
        """Return the component of that kind and full name, current or former, or None."""
        known = self.components[kind]
        return known.get(name) or next((each for each in known.values() if name in each.former_names()), None)

    def why_missing(self, kind: str, name: str) -> tuple[str, bool]:
        """Return why there is no component `name` of a kind, and whether a plugin is the cause.

        Returns:
            the reason with the next step, and True if a plugin is missing or broken (exit code 3), False if the name
            is wrong (exit code 2).
        """
        namespace = name.partition(".")[0]
        known = {plugin.namespace for plugin in self.plugins if plugin.status == "ok"}
        for plugin in self.plugins:
            if plugin.namespace == namespace and namespace not in known:
                return f"{plugin}", True
        for other, components in self.components.items():
            if name in components:
                return f"{name} is {a_kind(other)}, not {a_kind(kind)}.{nearest(name, self.components[kind])}", False
        if "." in name and namespace not in known:
            hint = nearest(name, self.components[kind]) or nearest(namespace, known)
            installed = ", ".join(sorted(known)) or "none"
            return f"no installed plugin has the namespace {namespace!r} (installed: {installed}).{hint}", not hint
        return f"no plugin offers this {kind}.{nearest(name, self.components[kind])}", False


def load_plugins(
    environ: Mapping[str, str] = os.environ,
    entry_points: Iterable[metadata.EntryPoint] | None = None,
) -> Registry:
    """Load all installed plugins and collect what they offer.

    ``DLPIPE_PLUGINS=a,b`` loads only these plugins and the core's own, ``DLPIPE_DISABLE_PLUGINS=c`` all but these.

    Args:
        environ: environment variables.
        entry_points: load these instead of the installed ones (for tests).
    """
    if entry_points is None:
        entry_points = metadata.entry_points(group=GROUP)
    registry = Registry()
    named = cache(_in_words)  # most plugins come from one distribution, whose long description is parsed each time
    found: dict[str, list[metadata.EntryPoint]] = {}
    # The core first: its names take precedence over those of plugins.
    for point in sorted(entry_points, key=lambda point: (point.name != "core", point.name, point.value)):
        if point.name == "core" and point.value != OWN:
            plugin = Plugin(point.name, point.value, named(point.dist))
            _give_up(registry, plugin, "conflict", "the namespace 'core' belongs to dlpipe; rename the entry point")
        else:
            found.setdefault(point.name, []).append(point)

    allowed, disabled = _names(environ, "DLPIPE_PLUGINS"), _names(environ, "DLPIPE_DISABLE_PLUGINS")
    for variable, names in (("DLPIPE_PLUGINS", allowed), ("DLPIPE_DISABLE_PLUGINS", disabled)):
        for name in sorted((names or set()) - set(found)):
            registry.warnings.append(f"{variable} names {name!r}, which is not installed.{nearest(name, found)}")
    for namespace, points in found.items():
        plugin = Plugin(namespace, points[0].value, " and ".join(named(point.dist) for point in points))
        if namespace != "core" and allowed is not None and namespace not in allowed:
            registry.plugins.append(replace(plugin, status="disabled", cause="DLPIPE_PLUGINS does not name it"))
        elif namespace != "core" and namespace in (disabled or set()):
            registry.plugins.append(replace(plugin, status="disabled", cause="DLPIPE_DISABLE_PLUGINS names it"))
        elif len(points) > 1:
            cause = f"the namespace '{namespace}' is claimed by {plugin.distribution}; uninstall one of them"
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
            return  # already loaded
        if plugin.namespace == namespace:
            raise PluginError(f"{path}: the namespace '{namespace}' is taken by {plugin.distribution}; rename the file")
    module = module_of(path)
    _load(registry, Plugin(namespace, module, str(path)), lambda: import_local_plugin(path, module))
    plugin = registry.plugins[-1]
    if plugin.status != "ok":
        raise PluginError(f"{plugin}")


def lifecycle_manager(callbacks: Mapping[str, object]) -> pluggy.PluginManager:
    """Return the manager of the callbacks of one run.

    Raises:
        PluginError: a callback has no hook, or one that does not exist or cannot be called.
    """
    manager = pluggy.PluginManager("dlpipe")
    manager.add_hookspecs(Lifecycle)
    for name, callback in callbacks.items():
        check_callback(callback)
        manager.register(callback, name)
    return manager


def _load(registry: Registry, plugin: Plugin, load: Any) -> None:
    # SystemExit too: a module that calls sys.exit() must not end the program silently.
    try:
        module = load()
        if reason := _incompatible(getattr(module, "DLPIPE_API", API)):
            _give_up(registry, plugin, "incompatible", reason)
            return
        components = _ask(module, plugin)
    except (Exception, SystemExit) as error:
        cause = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
        _give_up(registry, plugin, "broken", cause)
        return
    registry.plugins.append(plugin)
    for component in components:
        key, known = component.key, registry.components[component.spec.kind]
        if key in known:
            registry.warnings.append(
                f"command {key!r} of plugin '{component.namespace}' ({component.distribution}) is not used: "
                f"plugin '{known[key].namespace}' ({known[key].distribution}) has a command of this name"
            )
        else:
            known[key] = component


def _ask(module: ModuleType, plugin: Plugin) -> list[RegisteredComponent[Any]]:
    """Return all components that one plugin offers; raise PluginError at its first mistake."""
    _check_hooks(module, ComponentHooks)
    manager = pluggy.PluginManager("dlpipe")
    manager.add_hookspecs(ComponentHooks)
    manager.register(module, plugin.namespace)
    components: list[RegisteredComponent[Any]] = []
    for kind, hook in HOOK_OF_KIND.items():
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            answer = implementation.function()  # not through pluggy, which drops an answer of None silently
            if isinstance(answer, (ComponentSpec, str, Mapping)) or not isinstance(answer, Iterable):
                raise PluginError(f"{hook}() returned {answer!r}; expected a list of {KINDS[kind].__name__} records")
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
    """Return the record with the name of the plugin's own module in targets such as ``":Name"``."""
    targets = {name: getattr(component, name, "") for name in ("target", "application")}
    own: dict[str, Any] = {name: module + target for name, target in targets.items() if target.startswith(":")}
    return replace(component, **own)


def check_callback(callback: object) -> None:
    """Check that a callback has a hook, and none that pluggy would ignore silently.

    Raises:
        PluginError: naming the hook and what is expected.
    """
    _check_hooks(callback, Lifecycle)
    hooks = [name for name in vars(Lifecycle) if name.startswith(PREFIX)]
    for name in hooks:
        function = getattr(callback, name, None)
        kinds = (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction)
        if any(is_kind(function) for is_kind in kinds):
            raise PluginError(
                f"{name}() has `yield` or is `async`, so that calling it would run nothing; expected a plain method"
            )
    if not any(hasattr(callback, name) for name in hooks):
        raise PluginError(
            f"{type(callback).__name__} has no hook, so it would never be called; expected a method decorated with "
            f"@hookimpl and named {', '.join(hooks[:-1])} or {hooks[-1]}"
        )


#: Where hooks belong.
_PLACES = {
    ComponentHooks: "a plugin module (plugin.py)",
    Lifecycle: "a callback, the class in a record of dlpipe_callbacks()",
}


def _check_hooks(plugin: object, specs: type) -> None:
    """Refuse what pluggy would ignore silently, in a plugin module or a callback."""
    known = [name for name in vars(specs) if name.startswith(PREFIX)]
    for name in [name for name in dir(plugin) if name.startswith(PREFIX)]:
        function = getattr(plugin, name)
        if not inspect.isroutine(function):
            if name in known:
                raise PluginError(f"{name} is {function!r}; expected a function decorated with @hookimpl")
            continue
        if name not in known:
            for other, place in _PLACES.items():
                if name in vars(other):
                    raise PluginError(f"{name}() is a hook of {place}; move it there")
            raise PluginError(f"unknown hook {name!r}.{nearest(name, known)}")
        options = getattr(function, "dlpipe_impl", None)
        if options is None:
            raise PluginError(f"{name}() is missing the @hookimpl decorator")
        if options.get("wrapper") or options.get("hookwrapper"):
            raise PluginError(f"{name}() is a hook wrapper; dlpipe calls plain functions only, so remove wrapper=True")
        offered = set(inspect.signature(getattr(specs, name)).parameters) - {"self"}
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD or parameter.default is not parameter.empty:
                raise PluginError(
                    f"{name}() has the argument {parameter}: expected positional arguments without defaults"
                )
            if parameter.name not in offered:
                allowed = ", ".join(sorted(offered)) or "none"
                raise PluginError(f"{name}() has the argument {parameter.name!r}; this hook provides: {allowed}")


def _incompatible(needed: object) -> str:
    """Return why a plugin written for the API version `needed` cannot be used, or an empty string."""
    if not (isinstance(needed, tuple) and len(needed) == 2 and all(isinstance(part, int) for part in needed)):
        return f"DLPIPE_API is {needed!r}; expected two whole numbers such as {API}"
    provided = f"this dlpipe provides {API[0]}.{API[1]}"
    if needed > API:
        return f"it needs plugin API {needed[0]}.{needed[1]}, {provided}; upgrade dlpipe"
    if needed[0] < API[0]:
        return f"it was written for plugin API {needed[0]}.{needed[1]}, {provided}; upgrade the plugin"
    return ""


def _give_up(registry: Registry, plugin: Plugin, status: Status, cause: str) -> None:
    plugin = replace(plugin, status=status, cause=cause)
    registry.plugins.append(plugin)
    registry.warnings.append(str(plugin))


def _names(environ: Mapping[str, str], variable: str) -> set[str] | None:
    if variable not in environ:
        return None
    return {name.strip() for name in environ[variable].split(",") if name.strip()}


def _in_words(distribution: metadata.Distribution | None) -> str:
    if distribution is None:
        return "unknown distribution"
    told = distribution.metadata
    return f"{told['Name']} {told['Version']}"
