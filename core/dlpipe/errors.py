"""The errors of dlpipe, and the exit code of a command that ends with one of them.

DlpipeError             1    the run failed
├── InputError          2    the input is wrong
│   ├── PipelineError        all mistakes of one pipeline file
│   ├── DataError            a data file that cannot be used
│   └── RunFolderError       a run that does not exist, or a folder that cannot be used
├── PluginError         3    a required plugin is missing or broken
├── NonFiniteError      1    a loss or weight became NaN or infinite
├── CheckpointError     1    a checkpoint cannot be read or written
├── Preempted           75   a batch system stopped the run; it can be resumed
└── Interrupted         130  the user pressed Ctrl-C; the run can be resumed
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "CheckpointError",
    "DataError",
    "DlpipeError",
    "InputError",
    "Interrupted",
    "NonFiniteError",
    "PipelineError",
    "PluginError",
    "Preempted",
    "Problem",
    "RunFolderError",
]


class DlpipeError(Exception):
    """Base class of the errors that end a command with one message and without a traceback."""

    exit_code: int = 1


class InputError(DlpipeError):
    """The input is wrong: a file, a value or an argument.

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
        file: the file with the mistake, or ``--set`` for the command line.
        line: counted from 1; 0 if there is none (a missing file, ``--set``).
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
        exit_code: 3 if a plugin that the file needs is missing or broken.
    """

    def __init__(self, problems: Sequence[Problem], exit_code: int = 2) -> None:
        self.problems = tuple(sorted(set(problems)))
        self.exit_code = exit_code
        super().__init__("\n".join(map(str, self.problems)))


class DataError(InputError):
    """A data file cannot be used; the message gives the file and the line."""


class RunFolderError(InputError):
    """A run folder does not exist, is incomplete or cannot be written."""

    @classmethod
    def missing(cls, path: Path, what: str) -> RunFolderError:
        """Return the error for a folder without a file that every run has."""
        return cls(f"{path} is not a run folder: it has no {what}; expected a folder created by `dlpipe run`")


@contextmanager
def errors_in(table: str, *, data_table: str = "") -> Iterator[None]:
    """Name the table of a component, such as ``[evaluators.slots]``, in every error about its input.

    A component does not know its table; the code that builds and calls it does. The innermost table takes precedence.
    Errors about whole pipelines and run folders name their own place.

    Args:
        table: of the component.
        data_table: of the data, to which a `DataError` belongs whichever component read the data. If it is not given,
            an outer `errors_in` names the table of a `DataError`.
    """
    try:
        yield
    except InputError as error:
        if not isinstance(error, (PipelineError, RunFolderError)):
            error.table = error.table or (data_table if isinstance(error, DataError) else table)
        raise


class PluginError(DlpipeError):
    """A plugin that the command needs is missing, broken or in conflict with another."""

    exit_code = 3


class NonFiniteError(DlpipeError):
    """A loss or a weight became NaN or infinite."""


class CheckpointError(DlpipeError):
    """A checkpoint cannot be read or written."""


class Preempted(DlpipeError):
    """The run received SIGTERM or SIGUSR1 and saved a checkpoint."""

    exit_code = 75


class Interrupted(DlpipeError):
    """The user interrupted the run (Ctrl-C), which saved a checkpoint."""

    exit_code = 130
