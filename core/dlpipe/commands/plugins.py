"""``dlpipe plugins``."""

from __future__ import annotations

from collections.abc import Sequence

import click

from dlpipe.commands import options
from dlpipe.commands.terminal import echo
from dlpipe.errors import InputError, PluginError
from dlpipe.json_text import to_json
from dlpipe.messages import counted, shown
from dlpipe.registry.loading import Plugin, Registry
from dlpipe.registry.targets import load_target


@click.command(
    epilog="""\b
Examples:
  dlpipe plugins
  dlpipe plugins --check mine      (before you publish it)
\b
Environment:
  DLPIPE_PLUGINS=text,audio        load only these plugins (and that of dlpipe itself)
  DLPIPE_DISABLE_PLUGINS=audio     load all plugins except these"""
)
@click.argument("name", required=False)
@click.option("--check", is_flag=True, help="Import everything that the plugins offer, and say what is wrong with it.")
@options.as_json
@click.pass_obj
def plugins(registry: Registry, name: str | None, check: bool, as_json: bool) -> None:
    """List the installed plugins, or NAME: their status, and what they offer or why they cannot be used.

    Exits with 3 if a plugin cannot be used, or if --check finds something.
    """
    known = [plugin for plugin in registry.plugins if name in (None, plugin.namespace)]
    if not known:
        installed = ", ".join(plugin.namespace for plugin in registry.plugins)
        raise InputError(f"there is no plugin {shown(name)}; installed: {installed}")
    if check:
        _check(registry, known, as_json)
        return
    rows = []
    for plugin in known:
        counts = {
            kind: sum(component.namespace == plugin.namespace for component in components.values())
            for kind, components in registry.components.items()
        }
        rows.append(vars(plugin) | {"offers": {kind: count for kind, count in counts.items() if count}})
    if as_json:
        echo(to_json(rows, indent=1))
    else:
        for row in rows:
            offers = ", ".join(f"{count} {kind}" for kind, count in row["offers"].items())
            echo(f"{row['namespace']:<12} {row['status']:<12} {row['distribution']:<18} {row['cause'] or offers}")
    if unusable := [plugin for plugin in known if plugin.status not in ("ok", "disabled")]:
        raise PluginError(f"{', '.join(plugin.namespace for plugin in unusable)}: cannot be used")


def _check(registry: Registry, plugins: Sequence[Plugin], as_json: bool) -> None:
    """Say what is wrong with plugins.

    Raises:
        PluginError: there is something.
    """
    check_plugin = load_target("dlpipe.config.plugin_check:check_plugin")
    found: dict[str, dict[str, list[str]]] = {}
    for plugin in plugins:
        problems, unchecked = check_plugin(registry, plugin)
        found[plugin.namespace] = {"findings": problems, "not checked": unchecked}
        if not as_json:
            lines = [*problems, *(f"not checked: {what}" for what in unchecked)]
            lines += [] if problems else ["nothing is wrong"]
            echo("\n".join(f"{plugin.namespace}: {line}" for line in lines))
    if as_json:
        echo(to_json(found, indent=1))
    if count := sum(len(each["findings"]) for each in found.values()):
        raise PluginError(counted(count, "finding"))
