"""``dlpipe list``."""

from __future__ import annotations

from typing import Any

import click

from dlpipe.commands import options
from dlpipe.commands.terminal import echo, echo_wrapped
from dlpipe.config.catalog import LISTED, components_of, pipelines
from dlpipe.json_text import to_json
from dlpipe.messages import display_width, padded
from dlpipe.registry.loading import Registry

PIPELINE = "pipeline"
PLURALS = {f"{kind}s": kind for kind in [*LISTED, PIPELINE]} | {"losses": "loss"}


class Kind(click.Choice[str]):
    """A kind of component, or pipelines; the plural is accepted."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the kind in the singular."""
        return str(super().convert(PLURALS.get(str(value), str(value)), param, ctx))


@click.command(
    "list",
    epilog="""\b
Examples:
  dlpipe list                      (all components)
  dlpipe list models
  dlpipe list pipelines            (those that come with dlpipe)
  dlpipe show text.rnn_tagger      (the keys of a component)""",
)
@click.argument("kind", type=Kind([*LISTED, PIPELINE]), required=False)
@options.as_json
@click.pass_obj
def list_(registry: Registry, kind: str | None, as_json: bool) -> None:
    """List the components of the installed plugins, or the pipelines that come with dlpipe."""
    kinds = [kind] if kind else LISTED
    found = {known: pipelines() if known == PIPELINE else components_of(registry, known) for known in kinds}
    if as_json:
        echo(to_json(found, indent=1))
        return
    for known, rows in found.items():
        echo(known, bold=True)
        width = max((display_width(row["name"]) for row in rows), default=0)
        for row in rows:
            needs = f"  (needs {', '.join(row['needs'])}: {row['install']})" if row.get("needs") else ""
            echo_wrapped(f"  {padded(row['name'], width)}  {row['summary']}{needs}".rstrip(), width + 4)
