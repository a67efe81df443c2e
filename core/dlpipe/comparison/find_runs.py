"""The runs that a person means by a path, a pattern or a name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from glob import glob, has_magic
from pathlib import Path

from dlpipe.errors import InputError
from dlpipe.messages import relative
from dlpipe.runs.folder import RESOLVED, RunFolder, neighbors, newest_first

#: The folder beside runs in which sweeps keep their tables.
SWEEPS = "sweeps"


def find_runs(names: Sequence[str], runs: Path, last: int | None = None) -> list[Path]:
    """Return run folders, each once.

    Args:
        names: run folders, patterns of them, folders of the runs of a pipeline, or names of pipelines.
        runs: the folder of all runs, in which a name of a pipeline is looked up.
        last: if given, only this many of the newest runs of these names, or of all runs if no name is given, the
            oldest first.
            Otherwise a pipeline stands for its newest run.

    Raises:
        InputError: a name stands for no run.
    """
    if last is None:
        found = [run for name in names for run in _meant_by(name, runs, newest=True)]
    else:
        found = [run for name in names or [str(runs)] for run in _meant_by(name, runs, newest=False)]
    unique = list(dict.fromkeys(path.resolve() for path in found))
    return unique if last is None else newest_first(unique)[:last][::-1]


def _meant_by(name: str, runs: Path, *, newest: bool) -> list[Path]:
    path = RunFolder.path_of(name, runs)
    if has_magic(name) and not path.exists():
        found = [Path(match) for match in sorted(glob(name))]  # noqa: PTH207 (the pattern may start at the root)
        if not found:
            raise InputError(f"{name}: no folder matches; expected run folders, such as runs/NAME/*")
        matching = [each for each in found if _is_run(each)] or [run for each in found for run in _runs_in(each)]
        if not matching:
            raise InputError(f"{name}: {len(found)} entries match, but none of them is a run folder")
        return matching
    if _is_run(path):
        return [path]
    if path.name == SWEEPS and any(map(_is_run, path.parent.glob("*"))):  # a shell made it of runs/NAME/*
        return []
    if not path.is_dir():
        hint = neighbors(path, runs)
        raise InputError(f"{name}: there is no such run folder, nor runs of a pipeline of that name{hint}")
    inside = _runs_in(path)
    if not inside:
        raise InputError(f"{relative(path)} is not a run folder: it has no {RESOLVED}, and there are no runs in it")
    return newest_first(inside)[:1] if newest else inside


def _is_run(path: Path) -> bool:
    return (path / RESOLVED).is_file() and not path.name.startswith(".")


def _runs_in(path: Path) -> list[Path]:
    """Return the runs in a folder of runs, or in the folders of pipelines in it, without links such as ``latest``."""
    direct = _real(path.glob("*"))
    return direct or _real(path.glob("*/*"))


def _real(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if _is_run(path) and not path.is_symlink())
