"""From figures to text: what stands on a page, and in the headers of pipelines.

A block is text with placeholders ``[[EXPERIMENT.FIGURE FORM DIGITS]]``, and ``[[EXPERIMENT FORM]]``:

    [[cnn.accuracy values 3]]           1.000, 0.997, 0.997      in the order of the seeds
    [[cnn.accuracy mean 3]]             also median, lowest, highest, deviation
    [[cnn.accuracy spread 3]]           0.998 ± 0.002            mean and standard deviation
    [[cnn.accuracy bounds 3]]           0.979 to 1.017           of any run on any CPU
    [[ring.near at 3 3]]                0.908                    the run with seed 3
    [[cliff.inside count]]              2 of 10                  of the runs, those with 1 instead of 0
    [[power.derivative millions 4]]     20.5254 million
    [[lag.share power]]                 10⁻³⁹                    the order of magnitude of the geometric mean
    [[speakers.cnn_* mean 4]]           0.874                    all runs of several figures
    [[cnn.accuracy values 3 @AVX2]]     another measurement, by its instruction set; the first one by default
    [[cnn command]]  [[cnn seeds]]  [[cnn seconds]]  [[cnn machine]]
"""

from __future__ import annotations

import fnmatch
import math
import re
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from scoring.sheet import ROOT, Figure, Measured, Sheet, SheetError, shown

MARKED = re.compile(r"<!-- scores: (\S+) -->(.*?)<!-- /scores -->", re.S)
_PLACEHOLDER = re.compile(r"\[\[(.*?)\]\]")
_FORMS: dict[str, Callable[[Sequence[float], Callable[[float], str]], str]] = {
    "values": lambda numbers, shown_number: ", ".join(map(shown_number, numbers)),
    "mean": lambda numbers, shown_number: shown_number(statistics.fmean(numbers)),
    "median": lambda numbers, shown_number: shown_number(statistics.median(numbers)),
    "lowest": lambda numbers, shown_number: shown_number(min(numbers)),
    "highest": lambda numbers, shown_number: shown_number(max(numbers)),
    "deviation": lambda numbers, shown_number: shown_number(statistics.stdev(numbers)),
    "spread": lambda numbers, shown_number: " ± ".join(
        map(shown_number, (statistics.fmean(numbers), statistics.stdev(numbers)))
    ),
    "millions": lambda numbers, shown_number: f"{shown_number(statistics.fmean(numbers) / 1e6)} million",
}
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_INSTRUCTIONS = {"AVX512": "AVX-512"}
_THREADS = {1: "one thread", 2: "two threads"}


def filled(text: str, sheet: Sheet) -> str:
    """Return a text with the values of all placeholders.

    Raises:
        SheetError: a placeholder names what does not exist.
    """
    return _PLACEHOLDER.sub(lambda found: _value(found[1], sheet), text)


def figures_in(text: str, sheet: Sheet) -> set[str]:
    """Return the figures, as EXPERIMENT.FIGURE, that a text names."""
    patterns = [found.split()[0] for found in _PLACEHOLDER.findall(text)]
    known = [f"{name}.{figure}" for name, experiment in sheet.experiments.items() for figure in experiment.figures]
    return {figure for pattern in patterns for figure in fnmatch.filter(known, pattern)}


def page_text(text: str, sheet: Sheet, where: str) -> str:
    """Return the text of a page with its blocks as they should be.

    Raises:
        SheetError: the page has a block that the file of scores lacks, lacks one, or has one twice.
    """
    marks = [found[1] for found in MARKED.finditer(text)]
    if sorted(marks) != sorted(sheet.blocks):
        raise SheetError(
            f"{where} has the blocks {', '.join(marks) or 'none'}; expected each of {', '.join(sheet.blocks)}"
        )

    def block(found: re.Match[str]) -> str:
        lines = "\n".join(filled(line, sheet) for line in sheet.blocks[found[1]])
        around = "\n" if found[2].startswith("\n") else ""
        return f"<!-- scores: {found[1]} -->{around}{lines}{around}<!-- /scores -->"

    return MARKED.sub(block, text)


def header_text(text: str, fields: dict[str, str], sheet: Sheet, where: str) -> str:
    """Return the text of a pipeline with the given fields of its header.

    Raises:
        SheetError: the header has no such field.
    """
    for field, template in fields.items():
        line = f"# {field}: {filled(template, sheet)}"
        text, count = re.subn(rf"^# {field}: .*$", lambda _, line=line: line, text, count=1, flags=re.M)
        if not count:
            raise SheetError(f"{where} has no line `# {field}: …` in its header")
    return text


def expected_files(page: Path, sheet: Sheet) -> dict[Path, str]:
    """Return the texts that the page and the pipelines should have.

    Raises:
        SheetError: they cannot be made.
    """
    try:
        return _expected_files(page, sheet)
    except SheetError as error:
        raise SheetError(f"{shown(page)}: {error}") from None


def _expected_files(page: Path, sheet: Sheet) -> dict[Path, str]:
    texts = {page: page_text(page.read_text(encoding="utf-8"), sheet, shown(page))}
    for name, fields in sheet.headers.items():
        path = ROOT / name
        if not path.is_file():
            raise SheetError(f"headers: {name} does not exist")
        texts[path] = header_text(path.read_text(encoding="utf-8"), dict(fields), sheet, name)
    return texts


def _value(placeholder: str, sheet: Sheet) -> str:
    words = placeholder.split()
    if len(words) < 2:
        raise SheetError(f"[[{placeholder}]]: expected a name and a form, such as [[cnn.accuracy mean 3]]")
    (name, form), arguments = words[:2], [word for word in words[2:] if not word.startswith("@")]
    wanted = next((word[1:] for word in words if word.startswith("@")), None)
    experiment_name, _, figure = name.partition(".")
    experiment = sheet.experiments.get(experiment_name)
    if experiment is None:
        known = ", ".join(sheet.experiments)
        raise SheetError(f"[[{placeholder}]]: no experiment {experiment_name!r}; there are {known}")
    figures = fnmatch.filter(experiment.figures, figure)
    if figure and not figures:
        known = ", ".join(experiment.figures)
        raise SheetError(f"[[{placeholder}]]: no figure {figure!r} of {experiment_name}; there are {known}")
    if not figure and form == "command":
        return experiment.command
    if not figure and form == "seeds":
        return ", ".join(map(str, experiment.seeds))
    measured = next((each for each in experiment.measured if wanted in (None, each.instructions)), None)
    if measured is None or not measured.values.keys() >= set(figures):
        where = f" with {wanted}" if wanted else ""
        raise SheetError(f"[[{placeholder}]]: {name} was not measured{where}; `scores.py record` does it")
    if not figure:
        return _of_experiment(placeholder, form, measured)
    if len(figures) == 1:
        return _of_figure(placeholder, form, arguments, experiment.figures[figures[0]], measured.values[figures[0]])
    together = {f"{each}/{run}": value for each in figures for run, value in measured.values[each].items()}
    return _of_figure(placeholder, form, arguments, Figure(metric=figure), together)


def _of_experiment(placeholder: str, form: str, measured: Measured) -> str:
    if form == "seconds" and measured.seconds is not None:
        return f"{measured.seconds:.0f} s"
    if form == "machine":
        return machine(measured)
    raise SheetError(f"[[{placeholder}]]: {form!r}; expected command, seeds, machine or seconds")


def machine(measured: Measured) -> str:
    """Say where and when something was measured."""
    cpu = measured.cpu or "CPU not recorded"
    instructions = measured.instructions and f" with {_INSTRUCTIONS.get(measured.instructions, measured.instructions)}"
    threads = _THREADS.get(measured.threads, f"{measured.threads} threads")
    names = [("torch", "torch"), ("numpy", "numpy"), ("scikit-learn", "scikit-learn"), ("python", "Python")]
    versions = [f"{name} {measured.versions[key]}" for key, name in names if key in measured.versions]
    day = f"{measured.date.day} {measured.date:%B %Y}"
    return ", ".join([f"{cpu}{instructions or ''}", threads, *versions, day])


def _of_figure(placeholder: str, form: str, arguments: list[str], figure: Figure, values: dict[str, float]) -> str:
    numbers = list(values.values())
    if form in ("count", "power"):
        if arguments:
            raise SheetError(f"[[{placeholder}]]: {form} takes nothing else, found {' '.join(arguments)!r}")
        return _count(numbers) if form == "count" else _power(numbers)
    if not arguments or not arguments[-1].isdigit():
        raise SheetError(f"[[{placeholder}]]: expected the number of decimal digits last")
    *arguments, last = arguments
    shown_number = partial(number, digits=int(last))
    if form == "at" and len(arguments) == 1:
        if arguments[0] not in values:
            raise SheetError(f"[[{placeholder}]]: no run {arguments[0]!r}; there are {', '.join(values)}")
        return shown_number(values[arguments[0]])
    if arguments:
        raise SheetError(f"[[{placeholder}]]: {' '.join(arguments)!r} is not expected there")
    if form == "bounds" and figure.bounds:
        return " to ".join(map(shown_number, figure.bounds))
    if form not in _FORMS:
        raise SheetError(
            f"[[{placeholder}]]: {form!r}; expected one of at RUN, bounds, count, power, {', '.join(_FORMS)}"
        )
    return _FORMS[form](numbers, shown_number)


def _count(numbers: Sequence[float]) -> str:
    return f"{sum(value == 1 for value in numbers)} of {len(numbers)}"


def _power(numbers: Sequence[float]) -> str:
    return f"10{str(round(math.log10(statistics.geometric_mean(numbers)))).translate(_RAISED)}"


def number(value: float, digits: int) -> str:
    """Return a number as the pages write it: thousands with commas, and a minus sign."""
    text = f"{value:,.{digits}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else text.lstrip("-")
