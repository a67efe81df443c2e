"""Every error that dlpipe raises on purpose, and the exit code that each ends a command with.

DlpipeError             1    the run failed
├── InputError          2    what the user gave is wrong
│   ├── PipelineError        mistakes of one pipeline file, all of them together
│   ├── DataError            a data file that cannot be used as it is
│   └── RunFolderError       no such run, or a folder that cannot be used
├── PluginError         3    a plugin that is needed is missing or broken
├── NonFiniteError      1    a loss or weight became NaN or infinite
├── CheckpointError     1    no checkpoint can be read, or one cannot be written
├── Preempted           75   the machine asked for its time back; resume the run
└── Interrupted         130  the user pressed Ctrl-C; resume the run
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class DlpipeError(Exception):
    """Base of all errors that end a command with one message and no traceback."""

    exit_code: int = 1


class InputError(DlpipeError):
    """What the user gave (a file, an argument) is wrong.

    Attributes:
        table: of the component that raised it, such as ``[trainer]``; the core puts it there (see `errors_in`), and
            it precedes the message.
    """

    exit_code = 2
    table: str = ""

    def __str__(self) -> str:
        return f"{self.table} {super().__str__()}".lstrip()


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake in a pipeline file.

    Args:
        file: the file that holds the mistake, or ``--set`` for the command line.
        line: its line, counted from 1; 0 when it has none (a missing file, ``--set``).
        message: what was found and what was expected, in one sentence.
    """

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.message}"


class PipelineError(InputError):
    """The mistakes of one pipeline, in the order of their lines.

    Args:
        problems: what is wrong.
        exit_code: 3 where a plugin that the file needs is missing or broken.
    """

    def __init__(self, problems: Sequence[Problem], exit_code: int = 2) -> None:
        self.problems = tuple(sorted(set(problems)))
        self.exit_code = exit_code
        super().__init__("\n".join(map(str, self.problems)))


class DataError(InputError):
    """A data file that cannot be used as it is; the message names file and line."""


class RunFolderError(InputError):
    """A run folder that does not exist, is incomplete or cannot be written."""

    @classmethod
    def missing(cls, path: Path, what: str) -> RunFolderError:
        """Make the error for a folder that lacks a file of every run."""
        return cls(f"{path} is not a run folder: it has no {what}; expected a folder that `dlpipe run` has made")


@contextmanager
def errors_in(table: str, *, data_table: str = "") -> Iterator[None]:
    """Name the table of a component, such as ``[evaluators.slots]``, in every error about its input.

    Components do not know where in a pipeline file they stand; whoever builds and calls them does. The innermost
    table wins. Errors about whole pipelines and run folders name their own place.

    Args:
        table: of the component.
        data_table: of the data, which a `DataError` belongs to whoever read the data; if not given, a `DataError` is
            left to an outer `errors_in` that has it.
    """
    try:
        yield
    except InputError as error:
        if not isinstance(error, (PipelineError, RunFolderError)):
            error.table = error.table or (data_table if isinstance(error, DataError) else table)
        raise


class PluginError(DlpipeError):
    """A plugin that this command needs is missing, broken or in conflict with another."""

    exit_code = 3


class NonFiniteError(DlpipeError):
    """A number that training depends on became NaN or infinite."""


class CheckpointError(DlpipeError):
    """A checkpoint that cannot be read or written."""


class Preempted(DlpipeError):
    """The run was asked to stop (SIGTERM, SIGUSR1) and has saved a checkpoint."""

    exit_code = 75


class Interrupted(DlpipeError):
    """The user interrupted the run (Ctrl-C) and it has saved a checkpoint."""

    exit_code = 130
