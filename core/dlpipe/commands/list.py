"""``dlpipe list``."""

from __future__ import annotations

import json

import click

from dlpipe.commands import options
from dlpipe.registry.loading import Registry
from dlpipe.registry.specs import KINDS

LISTED = [kind for kind in KINDS if kind != "command"]


@click.command(
    "list",
    epilog="""\b
Examples:
  dlpipe list
  dlpipe list model
  dlpipe show text.rnn_tagger      (what one of them takes)""",
)
@click.argument("kind", type=click.Choice(LISTED), required=False)
@options.as_json
@click.pass_obj
def list_(registry: Registry, kind: str | None, as_json: bool) -> None:
    """List the components that the installed plugins component."""
    found = {
        wanted: [
            {
                "name": component.name,
                "summary": component.spec.summary,
                "distribution": component.distribution,
                "needs": component.missing(),
                "install": component.spec.extra if component.missing() else "",
            }
            for _, component in sorted(registry.components[wanted].items())
        ]
        for wanted in ([kind] if kind else LISTED)
    }
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    for wanted, rows in found.items():
        click.secho(wanted, bold=True)
        width = max((len(str(row["name"])) for row in rows), default=0)
        for row in rows:
            needs = f'  (needs {", ".join(row["needs"])}: pip install "{row["install"]}")' if row["needs"] else ""
            click.echo(f"  {row['name']:<{width}}  {row['summary']}{needs}")
