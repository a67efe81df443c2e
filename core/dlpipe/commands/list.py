"""``dlpipe list``."""

from __future__ import annotations

import json
from typing import Any

import click

from dlpipe.commands import options
from dlpipe.commands.terminal import echo
from dlpipe.config.shipped import shipped_pipelines, summary_of
from dlpipe.config.torch_names import CHOICES
from dlpipe.messages import display_width, padded, relative
from dlpipe.registry.loading import Registry
from dlpipe.registry.specs import KINDS

LISTED = [kind for kind in KINDS if kind != "command"]
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
    found = {known: _pipelines() if known == PIPELINE else _components(registry, known) for known in kinds}
    if as_json:
        echo(json.dumps(found, indent=1))
        return
    for known, rows in found.items():
        echo(known, bold=True)
        width = max((display_width(row["name"]) for row in rows), default=0)
        for row in rows:
            needs = f"  (needs {', '.join(row['needs'])}: {row['install']})" if row.get("needs") else ""
            echo(f"  {padded(row['name'], width)}  {row['summary']}{needs}".rstrip())


def _components(registry: Registry, kind: str) -> list[dict[str, Any]]:
    """Return the rows of a kind: those without a namespace first (the optimizers of torch), then those of plugins."""
    built_in = [
        {"name": name, "summary": target.replace(":", "."), "distribution": "", "needs": [], "install": ""}
        for name, target in CHOICES.get(kind, {}).items()
    ]
    offered = [
        {
            "name": component.name,
            "summary": component.spec.summary,
            "distribution": component.distribution,
            "needs": component.missing(),
            "install": component.install_command() if component.missing() else "",
        }
        for _, component in sorted(registry.components[kind].items())
    ]
    return built_in + offered


def _pipelines() -> list[dict[str, Any]]:
    return [
        {"name": name, "summary": summary_of(file), "file": relative(file)}
        for name, file in shipped_pipelines().items()
    ]
