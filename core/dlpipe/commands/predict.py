"""``dlpipe predict``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from dlpipe.commands import options
from dlpipe.components import load_target
from dlpipe.errors import InputError
from dlpipe.plugins import Registry


@click.command(
    epilog="""\b
Examples:
  dlpipe predict runs/slot-filling/latest "i want to leave taipei on november 2nd"
  dlpipe predict runs/slot-filling/latest --file sentences.txt --json > answers.jsonl
  echo "arrive taipei on november 2nd" | dlpipe predict runs/slot-filling/latest -"""
)
@options.run_folder
@click.argument("items", nargs=-1)
@click.option("--file", type=click.Path(path_type=Path), help="Read items from a text file, one a line.")
@options.stage
@options.local_plugins
@options.as_json
@click.pass_obj
def predict(
    registry: Registry,
    run: Path,
    items: tuple[str, ...],
    file: Path | None,
    stage: str | None,
    allow_local_plugins: bool,
    as_json: bool,
) -> None:
    """Apply the best checkpoint of RUN to ITEMS: what the run's data calls one example.

    Without ITEMS, or with "-", they are read from standard input, one a line. With --json each answer
    is a line of JSON.
    """
    trained = load_target("dlpipe.inference:open_run")(
        run, registry=registry, stage=stage, allow_local_plugins=allow_local_plugins
    )
    answers = load_target("dlpipe.inference:predict")(trained, _items(items, file))
    for number, answer in enumerate(answers):
        if as_json:
            click.echo(json.dumps(answer, ensure_ascii=False))
        else:
            click.echo(("\n" if number else "") + as_table(answer))


def _items(items: tuple[str, ...], file: Path | None) -> Iterator[tuple[str, str]]:
    """Yield (where it came from, item)."""
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{file} cannot be read as text: {getattr(error, 'strerror', None) or error}") from error
        yield from ((f"{file}:{number}", line) for number, line in enumerate(text.splitlines(), start=1))
    elif not items or items == ("-",):
        for number, line in enumerate(sys.stdin, start=1):
            yield f"line {number}", line.rstrip("\n")
    else:
        yield from ((f"item {number}", item) for number, item in enumerate(items, start=1))


def as_table(answer: Mapping[str, Any]) -> str:
    """Lay out an answer: lists of one length become the columns of a table, all else lines."""
    lists = {name: value for name, value in answer.items() if isinstance(value, list) and value}
    longest = max((len(value) for value in lists.values()), default=0)
    columns = {name: value for name, value in lists.items() if len(value) == longest}
    if len(columns) < 2:
        columns = {}
    widths = [max(len(str(part)) for part in value) for value in columns.values()]
    lines = [
        "  ".join(f"{part!s:<{width}}" for part, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*columns.values(), strict=True)
    ]
    for name, value in answer.items():
        if name not in columns and value not in ([], {}, "", None):
            lines.append(f"{name}: {_in_words(value)}")
    return "\n".join(lines)


def _in_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
