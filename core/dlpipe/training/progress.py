"""What the user sees of a run: its messages, how far it is, and ``log.txt``."""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console

from dlpipe.errors import DlpipeError
from dlpipe.messages import display_width, printable, relative, shown_number, shown_size
from dlpipe.notebook import NotebookOutput
from dlpipe.progress import Activity, Display, displayed_by, make_console
from dlpipe.runs.files import append_text, open_text
from dlpipe.runs.folder import METRICS
from dlpipe.runs.streams import unfailing

#: Columns of the line of an evaluation.
WIDTH = 80
#: How many metrics of the test split are shown of evaluators without a primary one.
FEW = 3


class Progress:
    """Reports on a run. Use it as a context manager; lines also go to `log`, with their time.

    Args:
        log: ``log.txt`` of the run, None for none.
        console: where to write; standard error by default, so that standard output stays clean.
        keep_warning: called once for each warning.
        quiet: show only warnings and results; the log has everything.
    """

    def __init__(
        self,
        log: Path | None,
        console: Console | None = None,
        *,
        keep_warning: Callable[[str], None] = lambda text: None,
        quiet: bool = False,
    ) -> None:
        self._log, self._keep_warning, self._quiet = log, keep_warning, quiet
        self._console = console or make_console(unfailing(sys.stderr))
        self._display = Display(self._console, quiet=quiet)
        self._open = contextlib.ExitStack()
        self._warned: set[str] = set()
        self._numbers = self._best = ""
        self._has_explained = self._has_counted = False
        #: What the run is doing before or after its training, such as "drawing the curves".
        self.doing = "preparing the run"

    def __enter__(self) -> Progress:
        self._open.enter_context(displayed_by(self._display))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
        if isinstance(self._console.file, NotebookOutput):
            self._console.file.close()

    def start(
        self,
        position: Callable[[], int],
        total: int | None,
        *,
        stage: str = "",
        left: Callable[[], float | None] = lambda: None,
        memory: Callable[[], int] | None = None,
    ) -> None:
        """Start showing the steps of a training.

        Args:
            position: returns the number of steps so far; a thread calls it.
            total: steps at the end.
            stage: its name and number, such as "tune (2 of 3)".
            left: returns the seconds left, where a time ends the training.
            memory: returns the bytes in use.
        """
        self._numbers = self._best = ""

        def detail() -> str:
            used = shown_size(memory()) if memory else ""
            return "  ".join(filter(None, (self._best, used, self._numbers)))

        label = f"stage {stage}: step" if stage else "step"
        self.doing = "training"
        self._display.stop()  # where nobody watches, the first line of the steps comes soon
        self._display.add(Activity(label, total, position=position, detail=detail, left=left))

    def phase(self, doing: str, stage: str = "") -> None:
        """Show what the run is at now, until the next phase, or the steps of its training.

        Args:
            doing: such as "drawing the curves".
            stage: the name of the stage, empty where there is only one.
        """
        self.doing = f"{doing} of stage {stage}" if stage else doing
        self._display.replace(Activity(self.doing))

    def stop(self) -> None:
        """Stop showing how far the run is."""
        self._display.stop()

    def message(
        self, text: str, style: str | None = None, *, result: bool = False, once: bool = False, aside: str = ""
    ) -> None:
        """Print one message.

        Args:
            result: show it to those who asked for results only, too.
            once: keep it out of the log if that has it already, as the log of a run that is resumed may.
            aside: what only the screen shows after it.
        """
        text = printable(text)
        if result or not self._quiet:
            self._console.print(text + printable(aside), style=style, markup=False, emoji=False)
        if not once or text not in self._noted:
            self._noted.add(text)
            self._note(text)

    def warning(self, text: str) -> None:
        """Print something that the user should look into; once per text."""
        if text not in self._warned:
            self._warned.add(text)
            self.message(f"warning: {text}", style="yellow", result=True, once=True)
            self._keep_warning(text)

    @contextlib.contextmanager
    def python_warnings(self) -> Iterator[None]:
        """Show what `warnings.warn` reports, in whichever component or library and in whichever thread."""

        def show(message: Warning | str, *context: Any, **options: Any) -> None:
            self.warning(str(message))

        with warnings.catch_warnings():  # also forgets what an earlier run in this process has shown
            warnings.showwarning = show
            yield

    def logged(self, step: int, metrics: Mapping[str, float], rate: float) -> None:
        """Take the numbers of a log point, to show them with the steps; the log gets them at once."""
        self._numbers = _numbers(metrics)
        self._note(f"  step {step} {self._numbers} {rate:.1f} steps/s")

    def evaluated(
        self,
        step: int,
        epoch: float,
        losses: Mapping[str, float],
        metrics: Mapping[str, float],
        monitor: str = "",
        better: bool = False,
        primary: Sequence[str] = (),
    ) -> None:
        """Show an evaluation in one line; nothing if there is nothing to show.

        Args:
            losses: of the steps since the last one, by name.
            metrics: by name, ``<split>/<evaluator>/<metric>``.
            monitor: the metric that decides which checkpoint is best.
            primary: the metrics to show besides, as far as they fit, after the monitored one on train; all if there are
                none of both kinds.
        """
        if better:
            self._best = f"best {shown_number(metrics[monitor])}"
        on_train = f"train/{monitor.partition('/')[2]}"
        wanted = [name for name in dict.fromkeys((monitor, on_train, *primary)) if name in metrics] or list(metrics)
        shown = {f"train/{name}": value for name, value in losses.items()}
        shown |= {name: metrics[name] for name in wanted}
        mark = "" if not better else "  *" if self._has_explained else "  * best so far"
        self._has_explained |= better
        place = f"epoch {round(epoch, 2):g}" if epoch else f"step {step}"
        if shown:
            self.message(self._fitted(f"{place:>9}", shown, mark))

    def tested(self, step: int, metrics: Mapping[str, float], primary: Collection[str], file: Path) -> None:
        """Show the evaluation on test: all metrics if one line has room for them, else the primary ones.

        Args:
            step: of the checkpoint.
            metrics: by name, ``<split>/<evaluator>/<metric>``.
            primary: names of the metrics that decide; without any, the first ones are shown.
            file: where all of them are.
        """
        start = f"test (checkpoint of step {step}):"
        shown = {name: f"{printable(name.partition('/')[2])} {shown_number(value)}" for name, value in metrics.items()}
        one_line = "  ".join([start, *shown.values()])
        if display_width(one_line) <= WIDTH:
            self.message(one_line, result=True, once=True)
            return
        wanted = [name for name in shown if name in primary] or list(shown)[:FEW]
        lines = _wrapped([start, *(shown[name] for name in wanted)])
        if left := len(shown) - len(wanted):
            lines.append(f"  {left} more in {relative(file)}")
        for line in lines:
            self.message(line, result=True, once=True)

    def _fitted(self, start: str, metrics: Mapping[str, float], end: str) -> str:
        """Return a line of at most `WIDTH` columns with the first metrics, and how many others there are.

        There is at least one metric of each split; those of train precede the others.
        """
        splits = dict.fromkeys(name.partition("/")[0] for name in metrics)
        first = [next(name for name in metrics if name.startswith(f"{split}/")) for split in splits]
        order = [*first, *(name for name in metrics if name not in first)]
        line = ""
        for count in range(len(order), len(first) - 1, -1):
            left = len(order) - count
            where = "" if self._has_counted else f" in {METRICS}"
            rest = f"  +{left}{where}" if left else ""
            chosen = {name: metrics[name] for name in sorted(metrics, key=_after_train) if name in order[:count]}
            line = f"{start} {_by_split(chosen)}{rest}{end}"
            if display_width(line) <= WIDTH:
                break
        self._has_counted |= left > 0
        return line

    @cached_property
    def _noted(self) -> set[str]:
        """The messages that the log has, also those of earlier processes."""
        with contextlib.suppress(OSError, ValueError, DlpipeError):  # a damaged log costs nothing but lines that repeat
            if self._log and self._log.exists():
                with open_text(self._log) as file:
                    lines = (line.rstrip("\n")[len(_now()) + 1 :] for line in file)
                    return {line for line in lines if not line.startswith(" ")}  # log points are not looked for
        return set()

    def _note(self, text: str) -> None:
        if self._log:
            # A full disk ends the run when something important cannot be saved; these lines are not.
            with contextlib.suppress(OSError):
                append_text(self._log, f"{_now()} {text}\n")


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def _after_train(name: str) -> bool:
    return not name.startswith("train/")


def _by_split(metrics: Mapping[str, float]) -> str:
    """Return metrics with their splits, such as ``train loss 0.25  dev slots/f1 0.95``."""
    parts, last = [], ""
    for name, value in metrics.items():
        split = name.partition("/")[0]
        parts.append(f"{'' if split == last else f' {split} '}{_numbers({name: value})}")
        last = split
    return " ".join(parts)


def _wrapped(parts: Sequence[str]) -> list[str]:
    """Return lines of at most `WIDTH` columns, if no part is longer; all but the first are indented."""
    lines = [parts[0]]
    for part in parts[1:]:
        if display_width(longer := f"{lines[-1]}  {part}") <= WIDTH:
            lines[-1] = longer
        else:
            lines.append(f"  {part}")
    return lines


def _numbers(metrics: Mapping[str, float]) -> str:
    return " ".join(f"{printable(name.partition('/')[2])} {value:.4g}" for name, value in metrics.items())
