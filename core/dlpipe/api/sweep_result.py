"""The result of a sweep in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dlpipe.api.pictures import Gallery
from dlpipe.api.table import Table
from dlpipe.messages import relative
from dlpipe.sweep.best import BEST
from dlpipe.sweep.results import Written


class SweepResult:
    """What a sweep has found: its trials in a table, and its folder, which also has figures and a report.

    Args:
        written: the results on disk.
    """

    def __init__(self, written: Written) -> None:
        self._written = written

    @property
    def path(self) -> Path:
        """The folder with ``table.json``, ``table.md`` and, as far as they could be made, figures and a report."""
        return self._written.folder

    @property
    def metric(self) -> str:
        """The metric that the trials are compared by."""
        return str(self._written.content["metric"])

    @property
    def table(self) -> Table:
        """A row for each trial: its choice on each axis, the mean of the metric over its runs, and these."""
        return Table(
            {
                **trial["choices"],
                self.metric or "metric": trial["mean"],
                "runs": [run.get("run") for run in trial["runs"]],
            }
            for trial in self._written.content["trials"]
        )

    @property
    def best(self) -> Path | None:
        """The pipeline file of the best trial, for `dlpipe.load`; None if no trial is better than the others."""
        return self.path / BEST if BEST in self._written.names else None

    @property
    def figures(self) -> Gallery:
        """Learning curves and parallel coordinates."""
        return Gallery([self.path / name for name in self._written.names if name.endswith(".png")], self.path)

    def plain(self) -> dict[str, Any]:
        """Return everything as plain values, as ``dlpipe sweep --json`` prints it."""
        return dict(self._written.content)

    def __repr__(self) -> str:
        return f"SweepResult({relative(self.path)!r})\n{self.table}"

    def _repr_html_(self) -> str:
        return self.table._repr_html_()
