"""What the user sees of a run: a progress bar on a terminal, plain lines elsewhere, and ``log.txt``."""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Column

from dlpipe.messages import printable
from dlpipe.runs.files import open_text
from dlpipe.runs.streams import unfailing

#: Seconds between two plain lines about log points, to keep the log file of a batch job short.
PLAIN_INTERVAL = 10.0


class Progress:
    """Reports on a run. Use it as a context manager; lines also go to `log`, with their time.

    Args:
        log: ``log.txt`` of the run, None for none.
        keep_warning: called once for each warning.
        console: where to write; standard error by default, so that standard output stays clean.
    """

    def __init__(
        self,
        log: Path | None,
        console: Console | None = None,
        *,
        keep_warning: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._log, self._keep_warning = log, keep_warning
        self._console = console or Console(file=unfailing(sys.stderr), highlight=False, soft_wrap=True)
        self._warned: set[str] = set()
        self._bar: RichProgress | None = None
        self._task: object = None
        self._total: int | None = None
        self._last_plain = 0.0
        self._best = ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, step: int, total: int | None) -> None:
        """Start showing progress from `step` to `total`."""
        self._total = total
        self._last_plain = time.monotonic()
        if self._console.is_terminal:
            self._bar = RichProgress(
                TextColumn("step"),
                MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=11)),
                BarColumn(bar_width=20),
                TextColumn("{task.fields[numbers]}"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=total, completed=step, numbers="")

    def stop(self) -> None:
        """Remove the progress bar."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def message(self, text: str, style: str | None = None) -> None:
        """Print one message."""
        text = printable(text)
        self._console.print(text, style=style, markup=False, emoji=False)
        self._note(text)

    def warning(self, text: str) -> None:
        """Print something that the user should look into; once per text."""
        if text not in self._warned:
            self._warned.add(text)
            self.message(f"warning: {text}", style="yellow")
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
        """Show a log point."""
        numbers = _numbers({name.partition("/")[2]: value for name, value in metrics.items()})
        if self._bar:
            self._bar.update(self._task, completed=step, numbers=f"{numbers} {rate:.0f}/s {self._best}")  # type: ignore[arg-type]
        elif time.monotonic() - self._last_plain > PLAIN_INTERVAL:
            self._last_plain = time.monotonic()
            left = f", {_duration((self._total - step) / rate)} left" if self._total and rate else ""
            self.message(f"step {step}{f'/{self._total}' if self._total else ''}  {numbers}  {rate:.0f} steps/s{left}")
        self._note(f"step {step} {numbers} {rate:.1f} steps/s", only_file=True)

    def evaluated(self, step: int, epoch: float, metrics: Mapping[str, float], monitor: str, better: bool) -> None:
        """Show an evaluation."""
        shown = _numbers({name.partition("/")[2]: value for name, value in metrics.items()})
        if better:
            self._best = f"best {metrics[monitor]:.4f}"
        place = f"epoch {epoch:g}" if epoch else f"step {step}"
        self.message(f"{place:>9}  dev {shown}{'  *' if better else ''}")

    def _note(self, text: str, only_file: bool = False) -> None:
        if self._log:
            # A full disk ends the run when something important cannot be saved; these lines are not.
            with contextlib.suppress(OSError), open_text(self._log, "a+") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {'  ' if only_file else ''}{text}\n")


def _numbers(metrics: Mapping[str, float]) -> str:
    return " ".join(f"{printable(name)} {value:.4g}" for name, value in metrics.items())


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
