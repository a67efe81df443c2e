"""``dlpipe plugins``."""

from __future__ import annotations

import json

import click

from dlpipe.commands import options
from dlpipe.commands.terminal import echo
from dlpipe.registry.loading import Registry


@click.command(
    epilog="""\b
Environment:
  DLPIPE_PLUGINS=text,audio        load only these plugins (and that of dlpipe itself)
  DLPIPE_DISABLE_PLUGINS=audio     load all plugins except these"""
)
@options.as_json
@click.pass_obj
def plugins(registry: Registry, as_json: bool) -> None:
    """List the installed plugins: their status, and what they offer or why they cannot be used."""
    rows = []
    for plugin in registry.plugins:
        counts = {
            kind: sum(component.namespace == plugin.namespace for component in components.values())
            for kind, components in registry.components.items()
        }
        rows.append(vars(plugin) | {"offers": {kind: count for kind, count in counts.items() if count}})
    if as_json:
        echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        offers = ", ".join(f"{count} {kind}" for kind, count in row["offers"].items())
        echo(f"{row['namespace']:<12} {row['status']:<12} {row['distribution']:<18} {row['cause'] or offers}")
