"""``dlpipe schema``."""

from __future__ import annotations

from pathlib import Path

import click

from dlpipe.commands.terminal import echo
from dlpipe.config.json_schema import pipeline_schema
from dlpipe.errors import InputError
from dlpipe.json_text import to_json
from dlpipe.registry.loading import Registry


@click.command(
    epilog="""\b
Examples:
  dlpipe schema --output pipeline.schema.json
An editor with a TOML language server (Taplo, Even Better TOML) completes and checks pipeline files in
this folder that start with the line  #:schema ./pipeline.schema.json"""
)
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file instead of standard output.")
@click.pass_obj
def schema(registry: Registry, output: Path | None) -> None:
    """Print a JSON Schema of pipeline files, with all installed components, for editors."""
    text = to_json(pipeline_schema(registry), indent=1, ensure_ascii=False) + "\n"
    if output:
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise InputError(f"{output} cannot be written: {error.strerror}; choose another --output") from error
    else:
        echo(text, nl=False)
