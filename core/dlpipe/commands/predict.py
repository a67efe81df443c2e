"""``dlpipe predict``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from dlpipe.commands import options
from dlpipe.commands.terminal import echo, echo_weighted, is_weighted
from dlpipe.config.application import application_of, check_options, explained, flag, options_of, takes_items
from dlpipe.config.check import load_pipeline
from dlpipe.config.signatures import Parameter
from dlpipe.errors import InputError
from dlpipe.fields import STRICT
from dlpipe.messages import display_width, padded
from dlpipe.protocols import SupportsItemFiles
from dlpipe.registry.loading import Registry
from dlpipe.registry.targets import load_target
from dlpipe.runs.folder import RESOLVED, RunFolder

#: Key of the application of the run in the context of click.
APPLICATION = "dlpipe.config.application"


class Predict(click.Command):
    """The command ``predict``, which also takes the options of the application of its run."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Find the run, and with it the further options."""
        first = click.Context(
            self,
            help_option_names=ctx.help_option_names,  # click caches the option, so it must have all its names here
            resilient_parsing=True,
            ignore_unknown_options=True,
            allow_extra_args=True,
        )
        super().parse_args(first, list(args))
        ctx.meta[APPLICATION] = _application(ctx.obj, **first.params)
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters of the command, and before --help those of the application."""
        *own, help_option = super().get_params(ctx)
        target = ctx.meta.get(APPLICATION, "")
        further = [_option(parameter) for parameter in options_of(target).values()] if target else []
        taken = {parameter.name for parameter in own}
        return [*own, *(option for option in further if option.name not in taken), help_option]


def _application(
    registry: Registry, *, run: Path | None, stage: str | None, allow_local_plugins: bool, **_: Any
) -> str:
    """Return the target of the application of a run, or an empty string."""
    if run is None or not (run / RESOLVED).is_file():
        return ""
    RunFolder.open(run)  # raises an error if something in it leads out of it
    pipeline = load_pipeline(run / RESOLVED, registry, allow_local_plugins=allow_local_plugins)
    return application_of(pipeline.stage(stage))


def _option(parameter: Parameter) -> click.Option:
    name, text = flag(parameter.name), explained(parameter)
    if parameter.kind in (bool, STRICT[bool]):
        negative = f"/--no-{name[2:]}" if parameter.default is True else ""
        return click.Option([name + negative, parameter.name], is_flag=True, default=None, help=text)
    return click.Option([name, parameter.name], metavar=name[2:].upper(), help=text)


@click.command(
    cls=Predict,
    epilog="""\b
Examples:
  dlpipe predict runs/slot-filling/latest "i want to leave taipei on november 2nd"
  dlpipe predict runs/slot-filling/latest --file sentences.txt --json > answers.jsonl
  echo "arrive taipei on november 2nd" | dlpipe predict runs/slot-filling/latest -
  dlpipe predict runs/table-regression/latest --file rows.csv
  dlpipe predict runs/dqn-cartpole/latest --output episode.gif
  dlpipe predict RUN --help                 (includes the options of that run)""",
)
@options.run_folder
@click.argument("items", nargs=-1)
@click.option("--file", type=click.Path(path_type=Path), help="Read items from a file: one per line, or table rows.")
@options.stage
@options.checkpoint
@options.local_plugins
@options.as_json
@click.pass_context
def predict(
    ctx: click.Context,
    /,
    run: Path,
    items: tuple[str, ...],
    file: Path | None,
    stage: str | None,
    checkpoint: str,
    allow_local_plugins: bool,
    as_json: bool,
    **given: str | bool | None,
) -> None:
    """Apply the trained model of RUN to ITEMS.

    An item is one example of the data of the run, such as a sentence or an image file. Without ITEMS, or with "-",
    items are read from standard input, one per line. A run that needs no items, such as an agent or a generator of
    images, has options of its own: see "dlpipe predict RUN --help". With --json, each answer is a line of JSON.
    """
    if items and file:
        raise InputError(f"{items[0]}: items cannot be combined with --file {file}; give one of the two")
    target = ctx.meta[APPLICATION]
    chosen = {name: value for name, value in given.items() if value is not None}
    applied = bool(target) and (takes_items(target) or not (items or file))
    if chosen and not applied:
        option = flag(next(iter(chosen)))
        raise InputError(f"{option} cannot be combined with items of {run}; leave out {option} or the items")
    values = check_options(target, chosen) if applied else {}
    trained = load_target("dlpipe.engine.inference:open_run")(
        run, registry=ctx.obj, stage=stage, checkpoint=checkpoint, allow_local_plugins=allow_local_plugins
    )
    if applied:
        if takes_items(target):
            values["items"] = [item for _, item in _items(items, file)] if items or file else []
        answers = load_target("dlpipe.engine.inference:apply")(trained, target, values)
    else:
        data = trained.built.data
        own = data.read_items(file) if file is not None and isinstance(data, SupportsItemFiles) else None
        answers = load_target("dlpipe.engine.inference:predict")(trained, _items(items, file) if own is None else own)
    for number, answer in enumerate(answers):
        if as_json:
            echo(json.dumps(answer, ensure_ascii=False))
        else:
            weighted = {name: value for name, value in answer.items() if is_weighted(value)}
            plain = {name: value for name, value in answer.items() if name not in weighted}
            echo(("\n" if number else "") + as_table(plain))
            for name, pieces in weighted.items():
                echo_weighted(name, pieces)


def _items(items: tuple[str, ...], file: Path | None) -> Iterator[tuple[str, str]]:
    """Yield (where it comes from, item)."""
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{file} cannot be read as text: {getattr(error, 'strerror', None) or error}") from error
        lines = text.removesuffix("\n").split("\n") if text else []  # splitlines() would split at U+0085 too
        yield from ((f"{file}:{number}", line.removesuffix("\r")) for number, line in enumerate(lines, start=1))
    elif not items or items == ("-",):
        if sys.stdin is None:
            raise InputError("standard input is closed; give items as arguments, or a file with --file")
        try:
            for number, line in enumerate(sys.stdin, start=1):
                yield f"line {number}", line.rstrip("\n")
        except UnicodeDecodeError as error:
            raise InputError(f"standard input cannot be read as text: {error}") from error
    else:
        yield from ((f"item {number}", item) for number, item in enumerate(items, start=1))


def as_table(answer: Mapping[str, Any]) -> str:
    """Return an answer as text: lists of equal length are columns of a table, everything else is a line."""
    lists = {name: value for name, value in answer.items() if isinstance(value, list) and value}
    longest = max((len(value) for value in lists.values()), default=0)
    columns = {name: value for name, value in lists.items() if len(value) == longest}
    if len(columns) < 2:
        columns = {}
    widths = [max(display_width(str(part)) for part in value) for value in columns.values()]
    lines = [
        "  ".join(padded(str(part), width) for part, width in zip(row, widths, strict=True)).rstrip()
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
