"""What a sweep writes at its end: the table, figures and the best pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dlpipe.config.pipeline import Pipeline
from dlpipe.errors import RunFolderError
from dlpipe.messages import relative, shown_number
from dlpipe.registry.targets import load_target
from dlpipe.runs.files import write_json
from dlpipe.runs.folder import new_folder, set_latest
from dlpipe.sweep.best import BEST, write_best
from dlpipe.sweep.execution import Result
from dlpipe.sweep.planned import Sweep
from dlpipe.sweep.table import Metric, Row, as_json, best_rows, markdown


@dataclass(frozen=True)
class Written:
    """The results of a sweep on disk.

    Args:
        folder: with all of them.
        names: of its files.
        content: that of ``table.json``.
        lines: how much each axis matters, in words.
    """

    folder: Path
    names: Sequence[str]
    content: Mapping[str, Any]
    lines: Sequence[str]


@dataclass(frozen=True)
class Output:
    """Where the results of a sweep go.

    Args:
        load: reads a pipeline file.
        command: that was given.
        file: the pipeline file, which the best pipeline extends; None if there is none.
        assignments: those of ``--set``.
        fast: whether its runs took a few steps only.
    """

    runs: Path
    load: Callable[[Path], Pipeline]
    command: str
    file: Path | None = None
    assignments: tuple[str, ...] = ()
    fast: bool = False

    def write(self, result: Result) -> Written:
        """Write everything to a new folder.

        Raises:
            RunFolderError: it cannot be written.
        """
        sweep, rows, metric = result.sweep, result.rows, result.metric
        shares, method = self._importances(sweep, rows, metric)
        content = {
            "command": self.command,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "dlpipe": metadata.version("dlpipe"),
            "torch": metadata.version("torch"),
            "fast": self.fast,
            **as_json(sweep, rows, metric),
            "importance": shares,
        }
        lines = [_importance_line(name, found, method) for name, found in shares.items()]
        try:
            folder = new_folder(self.runs / sweep.name / "sweeps")
            title = f"{sweep.name}: {len(rows)} trials{' (--fast: only a few steps)' if self.fast else ''}"
            text = markdown(sweep, rows, metric, title) + "".join(f"{line}  \n" for line in lines)
            (folder / "table.md").write_text(f"{text}\n`{self.command}`\n", encoding="utf-8")
            write_json(folder / "table.json", content)
            written = ["table.md", "table.json", *self._figures(folder, sweep, rows, metric)]
            written += self._best(folder, rows, metric)
            if not load_target("dlpipe.report.page:missing_packages")():
                page = load_target("dlpipe.sweep.page:write_page")
                page(folder / "report.html", sweep, rows, metric, shares, self.command)
                written.append("report.html")
            set_latest(folder)
        except OSError as error:
            raise RunFolderError(f"{relative(self.runs / sweep.name)} cannot be written: {error.strerror}") from error
        return Written(folder, written, content, lines)

    def _importances(
        self, sweep: Sweep, rows: Sequence[Row], metric: Metric
    ) -> tuple[dict[str, dict[str, float]], str]:
        if find_spec("optuna") is None or not metric.goal:
            return {}, ""
        found: tuple[dict[str, dict[str, float]], str] = load_target("dlpipe.sweep.importance:importances")(
            sweep, rows, metric
        )
        return found

    def _figures(self, folder: Path, sweep: Sweep, rows: Sequence[Row], metric: Metric) -> list[str]:
        if find_spec("matplotlib") is None:
            return []
        curves, parallel = folder / "curves.png", folder / "parallel_coordinates.png"
        drawn: list[tuple[Path, bool]] = [
            (curves, load_target("dlpipe.sweep.curves:draw_curves")(curves, rows, metric)),
            (parallel, load_target("dlpipe.sweep.parallel:draw_parallel")(parallel, sweep, rows, metric)),
        ]
        return [path.name for path, is_drawn in drawn if is_drawn]

    def _best(self, folder: Path, rows: Sequence[Row], metric: Metric) -> list[str]:
        """Write the best trial as a pipeline file; of a Pareto front, that with the best first objective."""
        best = [rows[number] for number in best_rows(rows, metric)]
        if not best or not best[0].trial.values:
            return []
        chosen = (max if metric.goal == "max" else min)(best, key=lambda row: row.mean(metric.name) or 0.0)
        remark = f"The best of {len(rows)} trials: {metric.name} {shown_number(chosen.mean(metric.name) or 0.0)}"
        write_best(folder, self.file, chosen.trial, self.assignments, self.load, remark)
        return [BEST]


def _importance_line(name: str, shares: dict[str, Any], method: str) -> str:
    listed = ", ".join(f"{axis} {share:.2f}" for axis, share in shares.items())
    return f"importance for {name} ({method}): {listed}"
