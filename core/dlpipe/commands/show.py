"""``dlpipe show``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import tomli_w

from dlpipe.commands import options
from dlpipe.components import Offer, nearest
from dlpipe.errors import InputError
from dlpipe.fields import describe
from dlpipe.pipeline import Pipeline, load_pipeline, shown
from dlpipe.pipeline_file import KeyPath
from dlpipe.plugins import Registry
from dlpipe.runs import RESOLVED
from dlpipe.signatures import Computed, read_signature


@click.command(
    epilog="""\b
Examples:
  dlpipe show pipelines/slot_filling.toml --origins
  dlpipe show runs/slot-filling/latest
  dlpipe show text.rnn_tagger"""
)
@click.argument("what")
@options.assignments
@options.local_plugins
@click.option("--origins", is_flag=True, help="Say for every value who set it: default, file:line or --set.")
@options.as_json
@click.pass_obj
def show(
    registry: Registry,
    what: str,
    assignments: tuple[str, ...],
    allow_local_plugins: bool,
    origins: bool,
    as_json: bool,
) -> None:
    """Show WHAT in full: a pipeline file or run folder with all defaults, or a component by its name."""
    path = Path(what)
    offers = [offer for offers in registry.offers.values() for offer in offers.values() if offer.name == what]
    if offers and not path.exists():
        _show_component(offers[0], as_json)
        return
    if not path.exists() and not path.suffix and "/" not in what:
        known = {offer.name for offers in registry.offers.values() for offer in offers.values()}
        raise InputError(f"{what} is neither a pipeline file, a run folder nor a component.{nearest(what, known)}")
    file = path / RESOLVED if path.is_dir() else path
    pipeline = load_pipeline(file, registry, assignments, allow_local_plugins=allow_local_plugins)
    if as_json:
        click.echo(json.dumps(pipeline.plain(), indent=1))
    elif origins:
        rows = list(_origins(pipeline))
        width = min(max(len(text) for text, _ in rows), 60)
        for text, origin in rows:
            click.echo(f"{text:<{width}}  # {origin}")
    else:
        click.echo(tomli_w.dumps(pipeline.plain()), nl=False)


def _origins(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    for path, value in _leaves(pipeline.plain(), ()):
        origin = pipeline.origin(path)
        yield f"{'.'.join(map(str, path))} = {shown(value)}", str(origin) if origin else "default"


def _leaves(tree: Mapping[str, Any], path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _show_component(offer: Offer, as_json: bool) -> None:
    component = offer.component
    signature = read_signature(component.target)
    parameters = [
        {
            "name": parameter.name,
            "expects": describe(parameter.kind),
            "default": parameter.default.source if isinstance(parameter.default, Computed) else parameter.default,
            "text": parameter.text,
        }
        for parameter in signature.parameters.values()
        if not parameter.required
    ]
    needs = [parameter.name for parameter in signature.parameters.values() if parameter.required]
    if as_json:
        known = {"name": offer.name, "kind": component.kind, "summary": component.summary, "needs": needs}
        click.echo(json.dumps({**known, "parameters": parameters}, indent=1, default=str))
        return
    click.secho(f"{offer.name}  ({component.kind}, {offer.distribution})", bold=True)
    click.echo(f"  {signature.summary or component.summary}\n")
    if needs:
        click.echo(f"  given by dlpipe or by the data: {', '.join(needs)}\n")
    for parameter in parameters:
        default = "" if parameter["default"] is None else f" = {shown(parameter['default'])}"
        click.secho(f"  {parameter['name']}{default}", bold=True)
        click.echo(f"      {parameter['expects']}{': ' if parameter['text'] else ''}{parameter['text']}")
