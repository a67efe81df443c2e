"""The figures in the documentation: where each comes from, and whether they can be repeated.

    python benchmarks/scores.py list
    python benchmarks/scores.py check docs/vision/cnn.md --seeds 1
    python benchmarks/scores.py record docs/vision/cnn.md
    python benchmarks/scores.py write

1. ``docs/PAGE.scores.json``, next to a page, has its experiments: the command as a reader types it, seeds, figures
   (metrics of the run), and what was measured: values by seed, CPU, instruction set, threads, versions, commit, date.
2. ``record`` runs the commands, each in a fresh folder, and writes what they gave; ``--instructions avx2`` adds the
   values with the kernels of a CPU without AVX-512.
3. Tables are made from it: blocks with placeholders fill what stands between two comments on the page, and the header
   comments of pipelines (``write``; a test fails if a page differs).
4. ``check`` runs the commands again. On the same kind of CPU with the same versions every recorded digit has to be the
   same; elsewhere each value has to lie within the bounds of the figure (``scoring/compare.py`` derives them).
5. A wrong figure is named, and the exit code is 1. What could not be repeated for lack of a data set is named, too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))
from scoring.compare import Verdict, bounds, verdicts
from scoring.measure import INSTRUCTIONS, MeasureError, NoDataError, measure, this_machine
from scoring.overview import listing, overview_page
from scoring.sheet import (
    Experiment,
    Measured,
    Sheet,
    SheetError,
    pages,
    read_sheet,
    shown,
    write_sheet,
)
from scoring.text import expected_files

#: What the commands that measure take.
MEASURING = (
    click.argument("page", type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path)),
    click.option("--only", multiple=True, metavar="NAME", help="Only this experiment. Can be repeated."),
    click.option("--seeds", type=click.IntRange(min=1), metavar="N", help="The first N seeds only."),
    click.option(
        "--data",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        default=lambda: os.environ.get("DLPIPE_TEST_DATA"),
        help="Folder of data sets.  [default: $DLPIPE_TEST_DATA]",
    ),
    click.option(
        "--instructions", type=click.Choice(list(INSTRUCTIONS)), default="native", help="Kernels of torch to use."
    ),
)


def _measuring(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(MEASURING):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Record, check and list the figures of the documentation."""


@main.command("list")
def list_pages() -> None:
    """List the pages, and how many of their decimal numbers come from a file of scores."""
    click.echo(listing())


@main.command()
@click.argument("chosen", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def write(chosen: tuple[Path, ...]) -> None:
    """Write the blocks of pages (all by default) and the headers of their pipelines."""
    for page in [page.resolve() for page in chosen] or pages():
        _write(expected_files(page, read_sheet(page)))
    _write(overview_page())


def _write(texts: dict[Path, str]) -> None:
    for path, text in texts.items():
        if path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            click.echo(f"{shown(path)} written{'; then: python pipelines/index.py' * (path.suffix == '.toml')}")


@main.command()
@_measuring
def record(page: Path, only: tuple[str, ...], seeds: int | None, data: Path | None, instructions: str) -> None:
    """Measure the experiments of a page, and write values, bounds and the page."""
    machine, sheet = this_machine(instructions), read_sheet(page)
    for name, experiment in _chosen(sheet, only).items():
        click.echo(f"{name}: {experiment.command}")
        try:
            found = measure(experiment, page, data, seeds or len(experiment.seeds), machine)
        except NoDataError as error:
            click.echo(f"  not measured: {error}")
            continue
        # Read again, as somebody may have edited it meanwhile; written after each, as the next one may be stopped.
        sheet = with_measurement(read_sheet(page), name, found)
        write_sheet(page, sheet)
        for figure, values in found.values.items():
            click.echo(f"  {figure}: {', '.join(f'{value:g}' for value in values.values())}")
    _write(expected_files(page, sheet) | overview_page())


def with_measurement(sheet: Sheet, name: str, found: Measured) -> Sheet:
    """Return the sheet with a measurement in the place of that with the same instruction set, and with its bounds.

    One with more runs than the new one stays, and stays the one that the page shows.
    """
    experiment = sheet.experiments[name]
    others = [
        each
        for each in experiment.measured
        if each.instructions not in (None, found.instructions) or each.runs > found.runs
    ]
    order = sorted([*others, found], key=lambda each: (-each.runs, each.instructions != "AVX512"))
    experiment = experiment.model_copy(update={"measured": order})
    figures = {
        figure: known.model_copy(update={"bounds": bounds(experiment, figure)})
        for figure, known in experiment.figures.items()
    }
    experiment = experiment.model_copy(update={"figures": figures})
    return sheet.model_copy(update={"experiments": {**sheet.experiments, name: experiment}})


@main.command()
@_measuring
def check(page: Path, only: tuple[str, ...], seeds: int | None, data: Path | None, instructions: str) -> None:
    """Repeat the figures of a page, and compare them with the recorded ones."""
    machine, sheet = this_machine(instructions), read_sheet(page)
    stale = [shown(path) for path, text in expected_files(page, sheet).items() if path.read_text("utf-8") != text]
    for path in stale:
        click.echo(f"{path} does not have the recorded figures; run `python benchmarks/scores.py write {shown(page)}`")
    repeated, left_out = 0, []
    wrong: list[str] = []
    click.echo(f"{shown(page)} on {machine.cpu}, {machine.instructions}, torch {machine.versions['torch']}")
    for name, experiment in _chosen(sheet, only).items():
        click.echo(f"\n{name}: {experiment.command}")
        try:
            again = measure(experiment, page, data, seeds or len(experiment.seeds), machine)
        except NoDataError as error:
            left_out.append(name)
            click.echo(f"  not repeated: {error}")
            continue
        except MeasureError as error:
            wrong.append(name)
            click.echo(f"  FAILED  {error}")
            continue
        found = verdicts(name, experiment, again)
        repeated += len(found)
        wrong += [each.name for each in found if not each.agrees]
        for each in found:
            click.echo(f"  {line(each)}")
    click.echo(f"\n{repeated} values repeated, {len(wrong)} wrong{': ' * bool(wrong)}{', '.join(dict.fromkeys(wrong))}")
    if left_out:
        click.echo(f"not repeated for lack of data: {', '.join(left_out)}")
    if wrong or stale or not repeated:
        raise SystemExit(1)


def line(verdict: Verdict) -> str:
    """Say in a line what became of a value."""
    recorded = "not recorded" if verdict.recorded is None else f"recorded {verdict.recorded:g}"
    found = f"{verdict.name}, {verdict.run}: {recorded}, now {verdict.found:g}"
    return f"ok     {found}" if verdict.agrees else f"WRONG  {found}; expected {verdict.expected}"


def _chosen(sheet: Sheet, only: Sequence[str]) -> dict[str, Experiment]:
    if unknown := [name for name in only if name not in sheet.experiments]:
        raise SheetError(f"--only {unknown[0]}: no such experiment; there are {', '.join(sheet.experiments)}")
    return {name: experiment for name, experiment in sheet.experiments.items() if not only or name in only}


if __name__ == "__main__":
    try:
        main()
    except (SheetError, MeasureError) as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from None
