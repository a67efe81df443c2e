"""``dlpipe list``."""

from __future__ import annotations

import json

import click

from dlpipe.commands import options
from dlpipe.components import KINDS
from dlpipe.plugins import Registry

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
    """List the components that the installed plugins offer."""
    found = {
        wanted: [
            {
                "name": offer.name,
                "summary": offer.component.summary,
                "distribution": offer.distribution,
                "needs": offer.missing(),
                "install": offer.component.extra if offer.missing() else "",
            }
            for _, offer in sorted(registry.offers[wanted].items())
        ]
        for wanted in ([kind] if kind else LISTED)
    }
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    for wanted, offers in found.items():
        click.secho(wanted, bold=True)
        width = max((len(str(offer["name"])) for offer in offers), default=0)
        for offer in offers:
            needs = f'  (needs {", ".join(offer["needs"])}: pip install "{offer["install"]}")' if offer["needs"] else ""
            click.echo(f"  {offer['name']:<{width}}  {offer['summary']}{needs}")
