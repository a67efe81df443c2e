"""Run the command of an experiment in a folder of its own, and read its figures from the run folders."""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from scoring.compare import digits
from scoring.sheet import ALL_TRIALS, ROOT, RUN, SEED, Experiment, Figure, Measured, SheetError

import dlpipe

#: Settings of torch, MKL, oneDNN, OpenBLAS and NumPy that leave out every kernel for AVX-512.
INSTRUCTIONS: dict[str, dict[str, str]] = {
    "native": {},
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    },
}
#: Packages whose version can change a figure.
PACKAGES = ("dlpipe", "torch", "numpy", "scikit-learn", "torchvision", "gymnasium", "gensim")
ONLY = "only"


class MeasureError(Exception):
    """A command failed, or did not give a figure."""


class NoDataError(Exception):
    """A data set that the command needs is not there."""


@dataclass(frozen=True)
class Machine:
    """Where and with what something is measured."""

    cpu: str
    instructions: str
    versions: Mapping[str, str]
    commit: str | None
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Place:
    """The folder in which the commands of an experiment run."""

    folder: Path
    environment: Mapping[str, str]
    data: Mapping[str, str]

    def run(self, command: str, *extra: str) -> str:
        """Run a command and return its standard output.

        Raises:
            MeasureError: it failed.
        """
        words = [self._with_data(word) for word in shlex.split(command)] + list(extra)
        program = {"dlpipe": [sys.executable, "-m", "dlpipe"], "python": [sys.executable]}.get(words[0])
        if program is None:
            raise MeasureError(f"`{command}`: expected a command of dlpipe or python")
        done = subprocess.run(
            [*program, *words[1:]], cwd=self.folder, env=dict(self.environment), capture_output=True, text=True
        )
        if done.returncode:
            last = "\n".join(done.stderr.strip().splitlines()[-5:])
            raise MeasureError(f"`{command}` ended with {done.returncode}:\n{last}")
        return done.stdout

    def json(self, command: str, *extra: str) -> Any:
        """Run a command and return the JSON that it prints; programs of dlpipe need an option for that.

        Raises:
            MeasureError: it failed, or printed something else.
        """
        text = self.run(command, *extra, *(["--json"] if command.startswith("dlpipe ") else []))
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            raise MeasureError(f"`{command}` printed {text[:80]!r}; expected JSON") from None

    def _with_data(self, word: str) -> str:
        for name, path in self.data.items():
            word = word.replace(name, path)
        return word


def this_machine(instructions: str = "native") -> Machine:
    """Describe this machine, for commands with one of `INSTRUCTIONS`."""
    environment = {**os.environ, **INSTRUCTIONS[instructions]}
    asked = [sys.executable, "-c", "import torch; print(torch.backends.cpu.get_cpu_capability())"]
    found = subprocess.run(asked, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    installed = {name: _version(name) for name in PACKAGES}
    versions = {"python": platform.python_version()} | {name: text for name, text in installed.items() if text}
    return Machine(_cpu(), found, versions, _commit(), environment)


def measure(experiment: Experiment, page: Path, data_folder: Path | None, seeds: int, machine: Machine) -> Measured:
    """Run an experiment with its first `seeds` seeds.

    Raises:
        NoDataError: a data set is missing.
        MeasureError: a command failed, or did not give a figure.
    """
    before = _cpu_seconds()
    values: dict[str, dict[str, float]] = {name: {} for name in experiment.figures}
    runs = 0
    with _place(experiment, page, data_folder, machine) as place:
        for trial, seed, run in _runs(experiment, place, seeds):
            runs += 1
            for name, figure in experiment.figures.items():
                if figure.trial in (None, trial, ALL_TRIALS):
                    key = f"{trial}/{seed}" if figure.trial == ALL_TRIALS else seed
                    values[name][key] = digits(run.metric(figure))
    missing = [name for name, found_values in values.items() if not found_values]
    if missing:
        raise MeasureError(f"`{experiment.command}` gave no value of {', '.join(missing)}")
    return Measured(
        date=date.today(),
        commit=machine.commit,
        cpu=machine.cpu,
        instructions=machine.instructions,
        threads=experiment.threads,
        versions=dict(machine.versions),
        seconds=round((_cpu_seconds() - before) / runs, 1),
        values=values,
    )


@dataclass(frozen=True)
class FinishedRun:
    """A run folder, and what further commands printed about it."""

    path: Path
    printed: Mapping[str, Any]

    def metric(self, figure: Figure) -> float:
        """Return the value of a figure.

        Raises:
            MeasureError: the run does not have it.
        """
        source, _, name = figure.metric.partition("/")
        run = dlpipe.Run(self.path, stage=figure.stage)
        known: Mapping[str, Any]
        if source == "test":
            known = run.scores
        elif source == "dev":
            known = {key.removeprefix("dev/"): value for key, value in run.best.items() if key.startswith("dev/")}
        elif source == "baselines":
            known = run.baselines
        else:
            known = _flat(self.printed.get(source, {}))
        if not isinstance(value := known.get(name), (int, float)):
            raise MeasureError(f"no metric {figure.metric}; from {source} there are {', '.join(known) or 'none'}")
        return float(value)


def _runs(experiment: Experiment, place: Place, seeds: int) -> Iterator[tuple[str, str, FinishedRun]]:
    """Run everything, and yield the choices of a run ("" outside of a sweep), its seed, and the run."""
    for command in experiment.before:
        place.run(command)
    for trial, seed, run in _run_folders(experiment, place, seeds):
        printed = {name: place.json(command.replace(RUN, run)) for name, command in experiment.after.items()}
        yield trial, seed, FinishedRun(place.folder / run, printed)


def _run_folders(experiment: Experiment, place: Place, seeds: int) -> Iterator[tuple[str, str, str]]:
    if experiment.is_sweep:
        command = re.sub(r" --seeds[ =]\d+", "", experiment.command)
        count = f"--seeds={min(seeds, len(experiment.seeds))}"
        for trial in place.json(command, count, "--quiet")["trials"]:
            for run in trial["runs"]:
                label = ", ".join([*trial["choices"].values(), *run["choices"].values()]) or trial["label"]
                yield label, str(run["seed"]), run["run"]
    else:
        for seed in map(str, experiment.seeds[:seeds] or [ONLY]):
            yield "", seed, place.json(experiment.command.replace(SEED, seed), "--quiet")["run"]


@contextmanager
def _place(experiment: Experiment, page: Path, data_folder: Path | None, machine: Machine) -> Iterator[Place]:
    data = {}
    for word, name in experiment.needs.items():
        if data_folder is None or not (data_folder / name).exists():
            raise NoDataError(f"{word} is {name} in the folder of data sets, {data_folder or 'which was not given'}")
        data[word] = str((data_folder / name).resolve())
    with tempfile.TemporaryDirectory(prefix="dlpipe-scores-") as made:
        folder = Path(made)
        (folder / "pipelines").symlink_to(ROOT / "pipelines")
        for name, block in experiment.files.items():
            (folder / name).write_text(fenced_block(page, block), encoding="utf-8")
        yield Place(folder, {**machine.environment, "OMP_NUM_THREADS": str(experiment.threads)}, data)


def fenced_block(page: Path, which: str) -> str:
    """Return the text of a fenced block of a page, such as "toml 1".

    Raises:
        SheetError: the page has no such block.
    """
    language, _, number = which.partition(" ")
    found = re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    if int(number) > len(found):
        raise SheetError(f"{page.name} has {len(found)} blocks in {language}; expected block {number}")
    return str(found[int(number) - 1])


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in table.items():
        found |= _flat(value, f"{prefix}{name}/") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def _cpu() -> str:
    """Return the model of the CPU; on Linux with its numbers, since virtual machines give many the same name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    known = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "model name" not in known:
        return platform.processor() or platform.machine()
    return f"{known['model name']} (family {known.get('cpu family', '?')}, model {known.get('model', '?')})"


def _commit() -> str | None:
    """Return the commit of the repository, and whether the code differs from it."""
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short=10", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--", "core", "plugins"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit} and changes" if changed else commit


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@cache
def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
