"""Lists in Python: components, pipelines, runs; and what distinguishes runs."""

from __future__ import annotations

import html
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dlpipe.api.run import Run
from dlpipe.api.table import Table, html_table
from dlpipe.config.catalog import LISTED, components_of, description_of, find_component, pipelines
from dlpipe.config.json_schema import pipeline_schema as schema_of
from dlpipe.errors import DlpipeError, InputError
from dlpipe.messages import nearest, printable, shown
from dlpipe.registry.loading import load_plugins
from dlpipe.registry.specs import SELECTABLE
from dlpipe.registry.targets import load_target
from dlpipe.runs.cleanup import REASONS, removable, remove
from dlpipe.runs.listing import STATES, summaries


def list_components(kind: str | None = None) -> Table:
    """Return the components of the installed plugins: kind, name, summary, and the packages that they still need.

    Args:
        kind: such as "model"; all kinds by default.

    Raises:
        InputError: there is no such kind.
    """
    _require("kind", [] if kind is None else [kind], LISTED)
    registry = load_plugins()
    rows = ({"kind": each, **row} for each in LISTED if kind in (None, each) for row in components_of(registry, each))
    columns = ("kind", "name", "summary", "needs")
    return Table(({name: row[name] for name in columns} | {"needs": ", ".join(row["needs"])} for row in rows), columns)


def list_pipelines() -> Table:
    """Return the pipelines that come with dlpipe: name, summary, file."""
    return Table(pipelines(), ("name", "summary", "file"))


def describe(component: str) -> Table:
    """Return the parameters of a component, such as "text.rnn_tagger": what each expects, its default, what it is for.

    Raises:
        InputError: there is no such component.
    """
    registry = load_plugins()
    found = find_component(registry, component)
    if found is None:
        known = [name for kind in SELECTABLE for name in registry.components[kind]]
        raise InputError(f"there is no component {component!r}.{nearest(component, known)}")
    return Table(description_of(found)["parameters"], ("name", "expects", "required", "default", "text"))


def pipeline_schema() -> dict[str, Any]:
    """Return the JSON Schema of pipeline files with all installed components, for editors."""
    return schema_of(load_plugins())


def list_runs(
    runs: str | Path = "runs", *, name: str = "*", states: Collection[str] = (), last: int | None = None
) -> Table:
    """Return the runs below a folder, the newest first: path, state, score, progress.

    Args:
        name: a pattern such as "digits*", for the name of the pipeline or for ``<name>/<folder>``.
        states: only runs in one of these states, such as ``["failed", "stale"]``.
        last: only this many of the newest.

    Raises:
        InputError: there is no such folder or state.
    """
    _require("state", states, STATES)
    columns = ("path", "state", "metric", "score", "stage", "step", "total_steps", "epoch", "fast", "seconds", "reason")
    return Table(map(asdict, summaries(Path(runs), name, states, last)), columns)


def clean_runs(
    runs: str | Path = "runs",
    *,
    name: str = "*",
    only: Collection[str] = (),
    older_than: float | None = None,
    dry_run: bool = True,
) -> Table:
    """Return the runs that nobody needs, with the reason, and delete them if `dry_run` is False.

    Args:
        name: as for `list_runs`.
        only: only for these reasons, of "fast", "no-checkpoint", "superseded", "leftover".
        older_than: only what was last written more than this many seconds ago.
        dry_run: delete nothing.

    Raises:
        InputError: there is no such folder or reason.
    """
    _require("reason", only, list(REASONS))
    rows = []
    for removal in removable(Path(runs), summaries(Path(runs)), name, only=only, older_than=older_than):
        row: dict[str, Any] = {"path": removal.path, "size": removal.size, "reason": removal.reason, "deleted": False}
        if not dry_run:
            try:
                remove(removal)
                row["deleted"] = True
            except (DlpipeError, OSError) as error:
                row["kept"] = str(error)
        rows.append(row)
    return Table(rows, ("path", "size", "reason", "deleted", *(["kept"] if any("kept" in row for row in rows) else [])))


def compare(
    *names: Run | str | Path, runs: str | Path = "runs", last: int | None = None, metric: str = ""
) -> RunComparison:
    """Compare runs: what differs, and whether their scores differ by more than noise.

    The first one is compared with each of the others; runs that differ only in the seed are compared as a group.

    Args:
        names: runs, run folders, patterns such as "runs/cnn-digits/*", or names of pipelines (their latest run).
        runs: the folder in which names of pipelines are looked up.
        last: compare this many of the newest runs of these, or of all.
        metric: to compare by; by default the one that the first run is judged by.

    Raises:
        InputError: there are fewer than two runs, or they have no such metric in common.
    """
    texts = [str(each.path) if isinstance(each, Run) else str(each) for each in names]
    compared = load_target("dlpipe.comparison.compare:compare_folders")
    return RunComparison(compared(texts, Path(runs), last=last, metric=metric))


class RunComparison:
    """What `compare` has found; a notebook shows it as tables.

    Args:
        found: a `dlpipe.comparison.compare.Comparison`.
    """

    def __init__(self, found: Any) -> None:
        self._found = found

    @property
    def metric(self) -> str:
        """The metric that the runs are compared by."""
        return str(self._found.metric)

    @property
    def verdicts(self) -> list[str]:
        """The result in sentences: for each run (or group of seeds) after the first, whether it is better."""
        return [pair.verdict for pair in self._found.pairs]

    @property
    def differs(self) -> list[bool | None]:
        """For each of them, whether the scores differ by more than noise; None where that cannot be tested."""
        return [pair.estimate.differs if pair.estimate else None for pair in self._found.pairs]

    @property
    def differences(self) -> Mapping[str, Mapping[str, Mapping[str, str]]]:
        """What differs, by topic and name: the value in each run or group."""
        found: Mapping[str, Mapping[str, Mapping[str, str]]] = self._found.differences
        return found

    @property
    def metrics(self) -> Table:
        """A row for each metric, and a column for the mean of each run or group."""
        groups = {group["label"]: group["metrics"] for group in self.plain()["groups"]}
        names = dict.fromkeys(name for metrics in groups.values() for name in metrics)
        mean = lambda metrics, name: metrics[name]["mean"] if name in metrics else None  # noqa: E731
        rows = [{"metric": name} | {label: mean(groups[label], name) for label in groups} for name in names]
        return Table(rows, ["metric", *groups])

    def plain(self) -> dict[str, Any]:
        """Return everything as plain values, as ``dlpipe compare --json`` prints it."""
        plain: dict[str, Any] = self._found.plain()
        return plain

    def write_page(self, path: str | Path) -> Path:
        """Write a page that opens offline, and return its path.

        Raises:
            InputError: a package that it needs is not installed.
        """
        load_target("dlpipe.comparison.page:write_page")(Path(path), self._found)
        return Path(path)

    def draw_curves(self, path: str | Path) -> Path:
        """Draw the curves of all runs into a picture, and return its path.

        Raises:
            InputError: no run has a curve of the metric.
        """
        if not load_target("dlpipe.comparison.page:draw_curves")(Path(path), self._found):
            raise InputError(f"{path} is not written: no run has a curve of the metric")
        return Path(path)

    def __repr__(self) -> str:
        return "\n".join(printable(line) for line in self._lines())

    def _repr_html_(self) -> str:
        parts = []
        for table in load_target("dlpipe.comparison.table:tables")(self._found):
            heading, caption = html.escape(table.title), html.escape(table.caption)
            parts.append(f"<h4>{heading}</h4>{html_table(table.rows, table.columns)}<p>{caption}</p>")
        return "".join(parts) + "".join(f"<p>{html.escape(line)}</p>" for line in self._lines())

    def _lines(self) -> list[str]:
        lines: list[str] = load_target("dlpipe.comparison.table:verdicts")(self._found)
        return [*lines, *self._found.notes]


def _require(what: str, given: Collection[str], known: Collection[str]) -> None:
    for each in [given] if isinstance(given, str) else given:
        if each not in known:
            raise InputError(f"{what} {shown(each)}: expected one of {', '.join(known)}.{nearest(each, known)}")
