"""The format of ``PAGE.scores.json``, and its reader: what does not fit is refused with its place and value."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SUFFIX = ".scores.json"
#: The word in a command that stands for the seed, and in a further command for the folder of the run.
SEED, RUN = "SEED", "RUN"
#: The trial of a figure that has the values of all trials of a sweep, such as the folds of a cross-validation.
ALL_TRIALS = "*"
Name = Annotated[str, Field(pattern=r"^[\w-]+$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class SheetError(Exception):
    """A file of scores, or a page, cannot be used; the message says where and why."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Figure(_Strict):
    """A number that a command gives, once per run.

    Args:
        metric: ``test/EVALUATOR/METRIC``, ``dev/…`` at the best checkpoint, ``baselines/EVALUATOR/MODEL/METRIC``, or
            ``NAME/EVALUATOR/METRIC`` of a further command.
        stage: of a pipeline with several; the last one by default.
        trial: the label of a trial of a sweep, or "*" for all of them.
        step: the smallest amount by which it can change, such as one of 359 test images; it widens the interval.
        limits: values that it cannot be below and above by definition, such as 0 and 1 of an accuracy.
        rule: "interval": `bounds` follow from the recorded values, see ``compare.py``; "given": somebody chose them.
        bounds: every run on any CPU lies within them.
        because: why they were chosen.
    """

    metric: str
    stage: str | None = None
    trial: str | None = None
    step: Annotated[float, Field(ge=0)] = 0.0
    limits: tuple[Finite, Finite] | None = None
    rule: Literal["interval", "given"] = "interval"
    bounds: tuple[Finite, Finite] | None = None
    because: str | None = None

    @model_validator(mode="after")
    def _reasons(self) -> Figure:
        if (self.rule == "given") != (self.because is not None) or (self.rule == "given" and self.bounds is None):
            raise ValueError('rule = "given" takes bounds and because, a reason; other rules take no reason')
        for name, pair in (("bounds", self.bounds), ("limits", self.limits)):
            if pair and pair[0] > pair[1]:
                raise ValueError(f"{name} are {list(pair)}; expected the lower one first")
        return self


class Measured(_Strict):
    """The values that a machine gave, by figure and by run, and everything that they depend on.

    Args:
        commit: of dlpipe; None if it was not a commit of its repository.
        cpu: its model; None where a page did not say it, in which case values are never compared digit by digit.
        instructions: of torch's kernels, "AVX512" or "AVX2".
        seconds: CPU time of a run, with start-up and with further commands (`after`); the mean over runs.
        values: six significant digits; keys are seeds, ``TRIAL/SEED`` for all trials, and "only" without a seed.
    """

    date: date
    commit: str | None
    cpu: str | None
    instructions: str | None
    threads: Annotated[int, Field(gt=0)]
    versions: dict[str, str]
    seconds: Finite | None = None
    values: dict[Name, dict[str, Finite]]

    @property
    def runs(self) -> int:
        """How many runs gave a value."""
        return max(map(len, self.values.values()), default=0)


class Experiment(_Strict):
    """A command, and the figures that it gives.

    Args:
        command: as a reader types it, with SEED for the seed; a sweep runs `seeds` by itself.
        seeds: in the order of the page; empty if nothing is drawn at random.
        needs: words of the command, or of those before it, that stand for a data set, and where it lies in the folder
            of data sets.
        files: names of files that the command reads, and the fenced block of the page that has their text, as
            "python 1" for the first one in Python.
        before: commands to run before, such as one of these files, or one that unpacks a data set.
        after: further commands by name; RUN is the folder of the run. What they print as JSON are metrics.
        threads: ``OMP_NUM_THREADS``.
    """

    command: str
    seeds: list[int] = []
    needs: dict[str, str] = {}
    files: dict[str, Annotated[str, Field(pattern=r"^\w+ [1-9]\d*$")]] = {}
    before: list[str] = []
    after: dict[Name, str] = {}
    threads: Annotated[int, Field(gt=0)] = 1
    figures: Annotated[dict[Name, Figure], Field(min_length=1)]
    measured: list[Measured] = []

    @property
    def is_sweep(self) -> bool:
        """Whether the command runs all seeds by itself."""
        return shlex.split(self.command)[1] == "sweep"

    @model_validator(mode="after")
    def _agreement(self) -> Experiment:
        words = shlex.split(self.command)
        if len(words) < 3 or words[0] != "dlpipe" or words[1] not in ("run", "sweep"):
            raise ValueError(f"command is {self.command!r}; expected `dlpipe run FILE …` or `dlpipe sweep FILE …`")
        if (SEED in self.command) != (bool(self.seeds) and not self.is_sweep):
            raise ValueError(f"command is {self.command!r} with seeds {self.seeds}; a run with seeds contains {SEED}")
        for name, figure in self.figures.items():
            if (figure.trial is not None) and not self.is_sweep:
                raise ValueError(f"figures.{name}.trial is {figure.trial!r}; only a sweep has trials")
        for word in self.needs:
            if not any(word in text for text in (self.command, *self.before)):
                raise ValueError(f"needs.{word} is not a word of the command or of those in before")
        for number, each in enumerate(self.measured):
            if unknown := sorted(each.values.keys() - self.figures.keys()):
                raise ValueError(f"measured[{number}].values has {', '.join(unknown)}, which is no figure")
        return self

    def values(self, figure: str) -> dict[str, dict[str, float]]:
        """Return the values of a figure by the number of the measurement, and by run."""
        return {str(at): each.values[figure] for at, each in enumerate(self.measured) if figure in each.values}


class Sheet(_Strict):
    """All figures of a page.

    Args:
        blocks: what stands between ``<!-- scores: NAME -->`` and ``<!-- /scores -->``: lines with placeholders, see
            ``text.py``.
        headers: lines of the header comments of pipelines, by file and field (score, baseline, time), in the same way.
    """

    experiments: Annotated[dict[Name, Experiment], Field(min_length=1)]
    blocks: dict[Name, list[str]] = {}
    headers: dict[str, dict[Literal["score", "baseline", "time"], str]] = {}


def sheet_path(page: Path) -> Path:
    """Return where the scores of a page are."""
    return page.with_suffix("").with_name(page.stem + SUFFIX)


def pages() -> list[Path]:
    """Return all pages with a file of scores."""
    return sorted(path.with_name(path.name.removesuffix(SUFFIX) + ".md") for path in DOCS.rglob(f"*{SUFFIX}"))


def read_sheet(page: Path) -> Sheet:
    """Read the scores of a page.

    Raises:
        SheetError: there are none, or they do not fit the format.
    """
    path = sheet_path(page)
    try:
        return parse_sheet(path.read_text(encoding="utf-8"), shown(path))
    except FileNotFoundError:
        known = ", ".join(shown(each) for each in pages())
        raise SheetError(f"{shown(path)} does not exist; pages with scores are {known}") from None


def parse_sheet(text: str, where: str) -> Sheet:
    """Return the scores that a JSON text has.

    Raises:
        SheetError: it does not fit the format; `where` is the name of the file in the message.
    """
    try:
        return Sheet.model_validate(json.loads(text, object_pairs_hook=_without_repetition))
    except json.JSONDecodeError as error:
        raise SheetError(f"{where}:{error.lineno}: {error.msg}") from None
    except SheetError as error:
        raise SheetError(f"{where}: {error}") from None
    except ValidationError as error:
        raise SheetError("\n".join(_mistakes(error, where))) from None


def write_sheet(page: Path, sheet: Sheet) -> None:
    """Write the scores of a page, defaults left out."""
    plain = sheet.model_dump(mode="json", exclude_defaults=True)
    text = json.dumps(plain, indent=1, ensure_ascii=False)
    sheet_path(page).write_text(text + "\n", encoding="utf-8")


def shown(path: Path) -> str:
    """Return a path as a reader of the repository types it."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


def _mistakes(error: ValidationError, where: str) -> list[str]:
    lines = []
    for mistake in error.errors():
        place = ".".join(str(part) for part in mistake["loc"])
        value = "" if isinstance(mistake["input"], Mapping) else f" = {mistake['input']!r}"
        lines.append(f"{where}: {place}{value}: {mistake['msg'].removeprefix('Value error, ')}")
    return lines


def _without_repetition(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise SheetError(f"the name {next(name for name in names if names.count(name) > 1)!r} occurs twice in a table")
    return found
