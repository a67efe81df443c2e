"""``dlpipe predict``."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import click

from dlpipe.commands import options
from dlpipe.commands.answers import Form, answers_file, on_standard_output, require_answers_file
from dlpipe.commands.terminal import echo
from dlpipe.config.application import application_of, check_options, explained, flag, options_of, takes_items
from dlpipe.config.check import load_pipeline
from dlpipe.config.signatures import Parameter
from dlpipe.errors import DlpipeError, InputError
from dlpipe.fields import STRICT
from dlpipe.items import FailedItem, Item, from_arguments, from_file, from_standard_input, unusable
from dlpipe.progress import Display, displayed_by
from dlpipe.protocols import SupportsItemFiles
from dlpipe.registry.loading import Registry
from dlpipe.registry.targets import load_target
from dlpipe.runs.folder import RESOLVED, STATUS, RunFolder
from dlpipe.runs.streams import is_read

#: Key of the application of the run in the context of click.
APPLICATION = "dlpipe.config.application"
#: Options about the answers for items, by whose names an application may have options of its own.
REPLACEABLE = ("output", "top")


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
        """Return the parameters of the command, and before --help those of the application.

        An option of the application takes the place of `REPLACEABLE` ones of the same name.
        """
        *own, help_option = super().get_params(ctx)
        target = ctx.meta.get(APPLICATION, "")
        further = {name: _option(parameter) for name, parameter in options_of(target).items()} if target else {}
        own = [parameter for parameter in own if parameter.name not in REPLACEABLE or parameter.name not in further]
        taken = {parameter.name for parameter in own}
        return [*own, *(option for name, option in further.items() if name not in taken), help_option]


def _application(
    registry: Registry, *, run: Path | None, stage: str | None, allow_local_plugins: bool, **_: Any
) -> str:
    """Return the target of the application of a run, or an empty string."""
    if run is None:
        return ""
    RunFolder.open(run)  # raises an error if it is not a run folder, or something in it leads out of it
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
  dlpipe predict runs/cnn-digits/latest photos/ --top 3 --output answers.csv
  echo "arrive taipei on november 2nd" | dlpipe predict runs/slot-filling/latest -
  dlpipe predict runs/table-regression/latest --file rows.csv
  dlpipe predict runs/dqn-cartpole/latest --output episode.gif
  dlpipe predict RUN --help                 (includes the options of that run)""",
)
@options.run_folder
@click.argument("items", nargs=-1)
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    help="Read items from a file: one per line, or the rows of a table, for data of tables. Names of files in it are "
    "relative to the current folder.",
)
@click.option(
    "--top",
    type=click.IntRange(1),
    metavar="K",
    help="Also list the K most probable classes (for taggers, of each token).",
)
@options.stage
@options.checkpoint
@options.local_plugins
@options.as_json
@click.option("--csv", "as_csv", is_flag=True, help="Print a table (CSV) with one row for each item.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the answers to a new file: .csv for a table, .jsonl for lines of JSON.",
)
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
    as_csv: bool,
    **given: Any,
) -> None:
    """Apply the trained model of RUN to ITEMS.

    An item is one example of the data of the run, such as a sentence, an image file, or a folder of such files.
    Without ITEMS, or with "-", items are read from standard input, one per line. An item that cannot be used is one
    line on standard error, the others are answered, and the exit code is 1. A run that needs no items, such as an
    agent or a generator of images, has options of its own: see "dlpipe predict RUN --help". With --json, each answer
    is a line of JSON.
    """
    if items and file:
        raise InputError(f"{items[0]}: items cannot be combined with --file {file}; give one of the two")
    target: str = ctx.meta[APPLICATION]
    of_application = options_of(target) if target else {}
    own = {name: None if name in of_application else given.pop(name) for name in REPLACEABLE}
    chosen = {name: value for name, value in given.items() if value is not None}
    applied = bool(target) and (takes_items(target) or not (items or file))
    if chosen and not applied:
        option = flag(next(iter(chosen)))
        raise InputError(f"{option} cannot be combined with items of {run}; leave out {option} or the items")
    if applied and own["top"]:
        raise InputError(f"--top {own['top']}: {run} gives no classes without items; leave out --top")
    output, form = own["output"], _form(as_json, as_csv, own["output"])
    values = check_options(target, chosen) if applied else {}
    trained = load_target("dlpipe.engine.inference:open_run")(
        run, registry=ctx.obj, stage=stage, checkpoint=checkpoint, allow_local_plugins=allow_local_plugins
    )
    _mention_unfinished(trained.run, trained.checkpoint.name)
    if applied:
        answers = _applied(trained, target, values, list(_items(items, file)) if items or file else [])
    else:
        explain = form == "text" and sys.stdout.isatty()
        answers = load_target("dlpipe.engine.prediction:predict")(
            trained, _items_for(trained.built.data, items, file), top=own["top"] or 0, explain=explain
        )
    opened: AbstractContextManager[Form] = answers_file(output) if output else nullcontext(on_standard_output(form))
    # A line that is redrawn would get between answers on the same terminal.
    quiet = not output and sys.stdout.isatty()
    with displayed_by(Display(quiet=quiet)), opened as written:
        _write(answers, written, debug="--debug" in sys.argv, one_each=not applied)


def _form(as_json: bool, as_csv: bool, output: Path | None) -> str:
    """Return how answers are written: "text", "json", "csv", or "file".

    Raises:
        InputError: two are asked for, or the file cannot be one of answers.
    """
    asked = {"--json": as_json, "--csv": as_csv, f"--output {output}": output is not None}
    named = [name for name, is_given in asked.items() if is_given]
    if len(named) > 1:
        raise InputError(f"{named[0]} cannot be combined with {named[1]}; give one of the two")
    if output is not None:
        require_answers_file(output)
        return "file"
    return "json" if as_json else "csv" if as_csv else "text"


def _mention_unfinished(run: Path, checkpoint: str) -> None:
    """Say which checkpoint of a run that has not finished is used; an exported one has no status."""
    if (run / STATUS).is_file() and (state := RunFolder(run).status()["state"]) != "finished":
        echo(f"{run.name} has not finished ({state}); its checkpoint {checkpoint} is used", err=True)


def _applied(trained: Any, target: str, values: Mapping[str, Any], given: Sequence[Item | FailedItem]) -> Iterator[Any]:
    """Yield the answers of an application, which gets all items at once; before them, the items that are no text."""
    failed = [item for item in given if isinstance(item, FailedItem)]
    yield from failed
    if failed and len(failed) == len(given):
        return
    items = {"items": [item.text for item in given if isinstance(item, Item)]} if takes_items(target) else {}
    yield from load_target("dlpipe.engine.inference:apply")(trained, target, {**values, **items})


def _write(answers: Iterable[Any], form: Form, *, debug: bool, one_each: bool) -> None:
    """Write answers, as long as they are read, and on standard error the reasons of failures.

    Args:
        one_each: whether each item has one answer.

    Raises:
        DlpipeError: there are failures; it says how many.
    """
    count = failed = 0
    for answer in answers:
        count += 1
        form.write(answer)
        if isinstance(answer, FailedItem):
            failed += 1
            echo(str(answer), err=True)
            if debug:
                echo("".join(traceback.format_exception(answer.error)), err=True, nl=False)
        if not is_read(sys.stdout):
            break
    form.close()
    if failed:
        raise DlpipeError(unusable(failed, count if one_each else None))


def _items(items: tuple[str, ...], file: Path | None) -> Sequence[Item] | Iterator[Item | FailedItem]:
    """Return the items: a list of arguments, or an iterator over a file or standard input."""
    if file is not None:
        return from_file(file)
    return from_arguments(items) if items and items != ("-",) else from_standard_input()


def _items_for(data: Any, items: tuple[str, ...], file: Path | None) -> Iterable[Any]:
    """Return the items for data, which may read files in its own way, such as the rows of a table."""
    own = data.read_items(file) if file is not None and isinstance(data, SupportsItemFiles) else None
    return _items(items, file) if own is None else own
