"""How a run ends: the state in status.json, what the user reads, and the report."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from dlpipe.errors import (
    ComponentError,
    DlpipeError,
    Interrupted,
    Preempted,
    Pruned,
    in_words,
    is_out_of_memory,
)
from dlpipe.ranks import Ranks, announce_end, leave
from dlpipe.registry.installation import install_command
from dlpipe.report.curve_figure import can_draw, is_drawn, write_curves
from dlpipe.report.page import missing_packages
from dlpipe.report.recorded_run import RecordedRun
from dlpipe.report.run_report import write_report
from dlpipe.runs.folder import RunFolder
from dlpipe.runs.manifests import MANIFEST
from dlpipe.runs.signals import INTERRUPT
from dlpipe.training.progress import Progress


@contextlib.contextmanager
def recorded_outcome(folder: RunFolder, progress: Progress) -> Iterator[None]:
    """Record how the run ends that is done inside, and write its report.

    Raises:
        DlpipeError: what is raised inside, with the command that resumes the run.
    """
    folder.set_status("running")
    try:
        yield
    except (Interrupted, Preempted) as error:
        _set_status(folder, "interrupted" if isinstance(error, Interrupted) else "preempted", str(error))
        raise type(error)(f"{error}; resume it with: {folder.command('resume')}") from None
    except KeyboardInterrupt:  # in Python, where Ctrl-C does not end the process
        reason = f"stopped at once by Ctrl-C while {progress.doing}"
        _set_status(folder, "interrupted", reason)
        raise Interrupted(f"{reason}; resume it with: {folder.command('resume')}") from None
    except Pruned as error:
        folder.set_status("pruned", reason=str(error))
        raise
    except BaseException as error:
        told = _with_what_is_kept(error, folder)
        _set_status(folder, "failed", str(told) if told is not error else f"{type(error).__name__}: {error}")
        progress.stop()
        if told is error:
            raise
        raise told from error
    else:
        folder.set_status("finished")
    finally:
        _write_report(folder, progress)


def end_at_once(folder: RunFolder, name: str, progress: Progress, ranks: Ranks) -> None:
    """Record that a signal ends the process where everything worth saving is saved.

    Args:
        name: of the signal.
    """
    again = folder.command("resume")
    error, state = (Interrupted, "interrupted") if name == INTERRUPT else (Preempted, "preempted")
    with contextlib.suppress(DlpipeError, RuntimeError):  # the program may be writing to the same stream
        told = f"no training is lost; resume the run with: {again}"
        if (ended := folder.status()["state"]) in ("failed", "pruned"):  # only its report is missing
            told = f"the run has ended before ({ended})"
        else:
            folder.set_status(state, reason=f"stopped by {name} while {progress.doing}")
        progress.stop()
        progress.message(f"{name} while {progress.doing}: {told}", result=True)
    if ranks.size > 1:
        announce_end(error.exit_code)
        leave(tell_others=True)


def _set_status(folder: RunFolder, state: str, reason: str) -> None:
    """Record how the run has ended, unless it cannot be written: the disk may be full."""
    with contextlib.suppress(DlpipeError):
        folder.set_status(state, reason=reason)


def _with_what_is_kept(error: BaseException, folder: RunFolder) -> BaseException:
    """Return the error to raise for one that ended the run: it says how to resume the run, if it can help."""
    again = folder.command("resume")
    if isinstance(error, OSError) or is_out_of_memory(error):
        return DlpipeError(f"{in_words(error)}. Fix this, then: {again}")
    if isinstance(error, ComponentError) and any(folder.path.rglob(f"checkpoints/*/{MANIFEST}")):
        return ComponentError(f"{error}. The last checkpoint is kept: {again}")
    return error


def _write_report(folder: RunFolder, progress: Progress) -> None:
    """Draw the curves and write the report, however the run has ended; whatever fails is a warning."""
    if not folder.writes:
        return
    lacking = {"curves": [] if can_draw() else ["matplotlib"], "a report": missing_packages()}
    if what := [name for name, packages in lacking.items() if packages]:
        names = " and ".join(package for packages in lacking.values() for package in packages)
        install = install_command("dlpipe[report]")
        lack = f"without {' and '.join(what)}, for lack of {names}; install with: {install}"
        progress.message(lack, once=True)
    if not lacking["curves"]:
        _draw_curves(folder, progress)
    if not lacking["a report"]:
        progress.phase("writing the report")
        try:
            write_report(folder)
        except Exception as error:
            progress.warning(f"the report could not be written: {in_words(error)}")


def _draw_curves(folder: RunFolder, progress: Progress) -> None:
    """Draw the curves of the stages that are not those that are drawn."""
    try:
        for stage in RecordedRun(folder).stages:
            if not is_drawn(stage):
                progress.phase("drawing the curves", stage.name)
                write_curves(stage)
    except Exception as error:
        progress.warning(f"the curves could not be drawn: {in_words(error)}")
