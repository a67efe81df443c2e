"""The errors of dlpipe, and the exit code of a command that ends with one of them.

DlpipeError             1    the run failed
├── InputError          2    the input is wrong
│   ├── PipelineError        all mistakes of one pipeline file
│   ├── DataError            a data file that cannot be used
│   ├── UnsuitableDataError  data of a kind that a model is not for
│   └── RunFolderError       a run that does not exist, or a folder that cannot be used
├── PluginError         3    a required plugin is missing or broken
├── ComponentError      1    a component, or a library that it calls, raised an exception
├── NonFiniteError      1    a loss or weight became NaN or infinite
├── CheckpointError     1    a checkpoint cannot be read or written
├── Pruned              1    a search has stopped the run early
├── Preempted           75   a batch system stopped the run; it can be resumed
└── Interrupted         130  the user pressed Ctrl-C; the run can be resumed
"""

from __future__ import annotations

import errno
import os
import re
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from dlpipe.messages import relative

__all__ = [
    "CheckpointError",
    "ComponentError",
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
    "reason_of",
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


class UnsuitableDataError(InputError):
    """A model is not for data of this kind; baselines are left out then."""


class RunFolderError(InputError):
    """A run folder does not exist, is incomplete or cannot be written."""

    @classmethod
    def missing(cls, path: Path, what: str) -> RunFolderError:
        """Return the error for a folder without a file that every run has."""
        return cls(f"{path} is not a run folder: it has no {what}; expected a folder created by `dlpipe run`")


class PluginError(DlpipeError):
    """A plugin that the command needs is missing, broken or in conflict with another."""

    exit_code = 3


class NonFiniteError(DlpipeError):
    """A loss or a weight became NaN or infinite."""


class CheckpointError(DlpipeError):
    """A checkpoint cannot be read or written."""


class Preempted(DlpipeError):
    """The run received SIGTERM, SIGUSR1 or SIGUSR2 and can be resumed."""

    exit_code = 75


class Interrupted(DlpipeError):
    """The user interrupted the run (Ctrl-C), which can be resumed."""

    exit_code = 130


class Pruned(DlpipeError):
    """A search has stopped the run early, since others do better; its state is "pruned", and it is not resumed."""


class SplitBatchWarning(UserWarning):
    """A batch does not fit into memory as a whole, and is computed in parts."""


class ComponentError(DlpipeError):
    """A component, or a library that it calls, raised an exception, which is the ``__cause__`` of this one."""

    @classmethod
    def of(cls, error: Exception, where: str) -> ComponentError:
        """Return the error for an exception that a component raised; it names the line of the component's code."""
        return cls(f"{where} {with_place(error)}. {HOW_TO_DEBUG}")


@contextmanager
def errors_in(table: str, *, data_table: str = "", component: str = "") -> Iterator[None]:
    """Name the table of a component, such as ``[evaluators.slots]``, in every error that it causes.

    A component does not know its table; the code that builds and calls it does. The innermost table takes precedence.
    Errors about whole pipelines and run folders name their own place. An exception that is not one of dlpipe's becomes
    a `ComponentError`; only an `OSError` of the core itself is passed on, as it is about the run and not the component.

    Args:
        table: of the component.
        data_table: of the data, to which a `DataError` belongs whichever component read the data. If it is not given,
            an outer `errors_in` names the table of a `DataError`.
        component: its full name, such as ``text.rnn_tagger``, if it is the only one that can be the cause.
    """
    try:
        with component_errors(f'{table} use = "{component}":' if component else table):
            yield
    except InputError as error:
        if not isinstance(error, (PipelineError, RunFolderError)):
            error.table = error.table or (data_table if isinstance(error, DataError) else table)
        raise


@contextmanager
def component_errors(where: str) -> Iterator[None]:
    """Raise a `ComponentError` that starts with `where` for an exception that is not one of dlpipe's."""
    try:
        yield
    except DlpipeError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and not place_of(error):
            raise  # of the core's own files
        raise ComponentError.of(error, where) from error


HOW_TO_DEBUG = "Run it again as 'dlpipe --debug …' for the traceback"
#: A message shows at most this many characters of an exception; torch quotes whole stacks.
_MAX_SHOWN = 400
_COLOR = re.compile(r"\x1b\[[\d;]*m")
_ALLOCATION = re.compile(r"allocate ([\d.]+ \w+)")
_NOT_PLAIN = re.compile(r"(?:GLOBAL|global:?) ([\w.]+) was not")
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def in_words(error: BaseException) -> str:
    """Return what an exception says, in one sentence without a full stop."""
    text = re.split(r"\n\s*\n|\nException raised from", _COLOR.sub("", reason_of(error)))[0]
    text = " ".join(text.split()).rstrip(".")
    text = text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"
    if is_out_of_memory(error):
        size = _ALLOCATION.search(text)
        return (
            f"out of memory{f': {size[1]} could not be allocated' if size else ''}; use a smaller batch_size (with "
            "gradient_accumulation_steps, a step can still use as many examples), in evaluations a smaller "
            "evaluation_batch_size, or a smaller model"
        )
    if isinstance(error, OSError) and error.strerror:
        place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
        return f"{place}{error.strerror}" + ("; free some space" if error.errno in _DISK_FULL else "")
    if "PytorchStreamWriter" in text or "inline_container" in text:  # torch does not say why it could not write
        return "a file could not be written completely; the disk may be full"
    if "Expected more than 1 value per channel" in text:
        return (
            "batch normalization needs more than one value per channel; use another batch_size, drop_last = true if "
            "the last batch of an epoch is too small, sync_batch_norm = true with several processes, or leave it out"
        )
    if isinstance(error, OverflowError) or (isinstance(error, (RuntimeError, TypeError)) and "verflow" in text):
        return f"a number or a size is too large: {text}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def reason_of(error: BaseException) -> str:
    """Return what an exception of a library says, without torch's advice to read a file in a way that runs its code."""
    text = str(error).strip()
    if "weights_only" not in text:
        return text
    code = _NOT_PLAIN.search(text)
    found = f"the file contains {code[1]}" if code else "the file contains more than plain data"
    return f"{found}, which could run code; expected tensors, numbers, strings, lists and dicts"


def system_error(error: BaseException | None) -> OSError | None:
    """Return the error of the operating system that an exception is, or hides, as those of torch do."""
    while error is not None and not isinstance(error, OSError):
        if code := _OS_ERROR.search(str(error)):  # as safetensors reports it
            return OSError(int(code[1]), os.strerror(int(code[1])))
        error = error.__cause__ or error.__context__
    return error


def with_place(error: BaseException) -> str:
    """Return what an exception says, followed by the author's file and line in parentheses if it is not dlpipe's."""
    if isinstance(error, DlpipeError):
        return str(error)
    place = place_of(error)
    return f"{in_words(error)} ({place})" if place else in_words(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that memory ran out, whichever library raised it."""
    # By name, since nothing here imports torch.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error))
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    )


def place_of(error: BaseException) -> str:
    """Return ``file:line, in function`` of the author's code that raised an exception, or an empty string.

    That is the innermost frame outside of the core and of installed libraries. If there is none, it is the innermost
    one of the package that the core called: an installed plugin.
    """
    if place := getattr(error, "raised_at", ""):  # in another process, which has the frames
        return str(place)
    frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if _may_be_an_authors(frame)]
    own = [each for each in frames if not each[0].f_code.co_filename.startswith(_INSTALLED)]
    own = own or [each for each in frames if _package_of(each[0]) == _package_of(frames[0][0])]
    if not own:
        return ""
    frame, line = own[-1]
    return f"{relative(Path(frame.f_code.co_filename))}:{line}, in {frame.f_code.co_name}"


#: Packages whose frames say nothing to the author of a component.
_NO_AUTHORS = {"dlpipe", "torch", "numpy", "click"}
_STANDARD = sysconfig.get_path("stdlib") + os.sep
_INSTALLED = tuple({sysconfig.get_path(name) + os.sep for name in ("purelib", "platlib")})


def _may_be_an_authors(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    standard = file.startswith((_STANDARD, "<")) and not file.startswith(_INSTALLED)
    return not standard and _package_of(frame) not in _NO_AUTHORS


def _package_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
