"""From what a pipeline file says to what it means, with all its mistakes reported at once.

The file is checked here, its stages in `check_stage` and their tables in `check_table`, against the signatures of
the components that they select. No component is imported: no torch, and of a plugin only its ``plugin.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from dlpipe.config.check_stage import StageChecker, check_name, key_owners
from dlpipe.config.check_table import TableChecker
from dlpipe.config.pipeline import Pipeline, Stage
from dlpipe.config.renames import use_current_names
from dlpipe.config.report import Report, key_at, table_at
from dlpipe.config.settings import RENAMED, Settings
from dlpipe.config.signatures import read_signature
from dlpipe.config.source import Source, dotted, read_source
from dlpipe.config.tables import SETTINGS, SWEEP, TABLES
from dlpipe.errors import PluginError
from dlpipe.messages import nearest, shown
from dlpipe.registry.loading import Registry, load_local_plugin
from dlpipe.registry.specs import TrainerSpec


def load_pipeline(
    file: str | Path,
    registry: Registry,
    assignments: Iterable[str] = (),
    *,
    allow_local_plugins: bool | Sequence[Path] = False,
) -> Pipeline:
    """Read and check a pipeline file.

    Args:
        file: the TOML file.
        registry: what the installed plugins offer; local plugins are added to it.
        assignments: strings such as ``"trainer.epochs=3"``; they take precedence over the file.
        allow_local_plugins: load the Python files that ``plugins`` names; or, of these, only those with the content
            of one of the given files. A pipeline file is data; only the caller can allow it to run code.

    Raises:
        PipelineError: with all mistakes of the file; its exit code is 3 if a plugin that the file needs is missing
            or broken.
    """
    return check_source(read_source(file, assignments), registry, allow_local_plugins=allow_local_plugins)


def check_source(source: Source, registry: Registry, *, allow_local_plugins: bool | Sequence[Path] = False) -> Pipeline:
    """Check what `read_source` has read; see `load_pipeline`."""
    report = Report(source)
    checker = _FileChecker(report, registry)
    checker.load_local_plugins(allow_local_plugins)
    pipeline = checker.check()
    if report.problems or pipeline is None:
        raise report.error()
    return pipeline


@dataclass
class _FileChecker:
    """Checks the top of the file, and what its stages say about each other."""

    report: Report
    registry: Registry
    local_plugins: list[Path] = field(default_factory=list)

    def load_local_plugins(self, allowed: bool | Sequence[Path]) -> None:
        names, key = self.report.source.values.pop("plugins", []), ("plugins",)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            self.report.add(key, f'plugins = {shown(names)}: expected a list of file names such as ["./mine.py"]')
            return
        folder = self.report.source.origin(key).folder.resolve()
        for name in names:
            path = folder / name
            if "\0" in name or folder not in path.resolve().parents:
                self.report.add(key, f"plugins: {shown(name)} is outside the folder of the pipeline file")
            elif advice := _why_not_allowed(path, allowed):
                self.report.add(key, f"plugins: {shown(name)} would run Python code{advice}")
            else:
                try:
                    load_local_plugin(self.registry, path.resolve())
                    self.local_plugins.append(path.resolve())
                except PluginError as error:
                    self.report.add(key, str(error), plugin=True)

    def check(self) -> Pipeline | None:
        values = self.report.source.values
        settings = self._settings(values)
        stages = self._stages(values) if "stages" in values else self._single_stage(values)
        if self.report.problems:
            return None
        checked = {name: stage for name, stage in stages.items() if stage}
        self._check_supported(settings, checked.values())
        if self.report.problems:
            return None
        warnings = tuple(dict.fromkeys(self.report.warnings))
        return Pipeline(Settings(**settings), checked, self.report.source, tuple(self.local_plugins), warnings)

    def _check_supported(self, settings: Mapping[str, Any], stages: Iterable[Stage]) -> None:
        """Check that every trainer supports what the pipeline asks of it."""
        trainers = self.registry.components["trainer"]
        parallel, precision = settings["parallel"], settings["precision"]
        needs: dict[str, tuple[str, Callable[[TrainerSpec], bool]]] = {}
        if parallel != "none":
            needs["parallel"] = "trains in one process only", lambda spec: parallel in spec.parallel
        if precision not in ("float32", "bfloat16"):
            needs["precision"] = "does not scale its loss", lambda spec: precision in spec.precision
        if settings["compile"]:
            needs["compile"] = "does not compile its model", lambda spec: spec.compile
        for (setting, (lack, is_able)), stage in product(needs.items(), stages):
            component = stage.trainer.component
            if not is_able(component.spec):
                able = [name for name, trainer in trainers.items() if is_able(trainer.spec)]
                self.report.add(
                    (setting,),
                    f'{setting} = {shown(settings[setting])}: {stage.trainer.table} use = "{component.name}" {lack}; '
                    f"expected one of {', '.join(able)}, or leave `{setting}` out",
                )

    def _settings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        known = read_signature(SETTINGS).parameters
        use_current_names(self.report, (), known, RENAMED["pipeline"])
        owners = key_owners(self.registry, {} if "stages" in values else values, ())
        checker = TableChecker(self.report, self.registry, (), "the pipeline", known, owners)
        tables = {SWEEP, "stages", *(() if "stages" in values else TABLES)}
        for key in values:
            if key not in known and key not in tables:
                self._unknown(key, checker, {*known, *tables})
        given = {key: value for key, value in values.items() if key in known}
        for parameter in checker.missing(values):
            name = parameter.name
            message = f'missing key `{name}`; expected it at the top of the file, such as {name} = "slot-filling"'
            self.report.add((), message)
        return checker.check(given)[0]

    def _unknown(self, key: str, checker: TableChecker, known: Iterable[str]) -> None:
        path, value = (key,), self.report.source.values[key]
        if "stages" in self.report.source.values and key in TABLES:
            self.report.add(path, f"[{key}] is outside [stages]; write it as [stages.NAME.{key}]")
        elif checker.owner(key):
            checker.unknown(key, self.report.source.values)
        else:
            what = f"{table_at(path)}: unknown table" if isinstance(value, dict) else f"`{dotted(path)}`: unknown key"
            self.report.add(path, f"{what}.{nearest(key, known)}")

    def _single_stage(self, values: Mapping[str, Any]) -> dict[str, Stage | None]:
        tables = {key: values[key] for key in TABLES if key in values}
        stage = StageChecker(self.report, self.registry, "", tables, ()).check()
        for path, name in self.report.stage_references:
            self.report.add(path, f"{key_at(path)} = {{ stage = {shown(name)} }}: this file has no [stages]")
        return {"": stage}

    def _stages(self, values: Mapping[str, Any]) -> dict[str, Stage | None]:
        tables = values["stages"]
        if not isinstance(tables, dict) or not tables:
            self.report.add(("stages",), f"stages = {shown(tables)}: expected tables such as [stages.pretrain.data]")
            return {}
        stages: dict[str, Stage | None] = {}
        for name, table in tables.items():
            path = ("stages", name)
            if not isinstance(table, dict):
                expected = f"expected tables such as {table_at((*path, 'data'))}"
                self.report.add(path, f"{dotted(path)} = {shown(table)}: {expected}")
                continue
            for key in table:
                if key not in TABLES:
                    self.report.add((*path, key), f"{key_at((*path, key))}: unknown table.{nearest(key, TABLES)}")
            check_name(self.report, "stage", name, path)
            stages[name] = StageChecker(self.report, self.registry, name, table, path).check()
        self._check_references(list(tables))
        return stages

    def _check_references(self, stages: list[str]) -> None:
        """Check that each ``{ stage = … }`` names an earlier stage, and that no stage depends on itself."""
        edges: dict[str, list[str]] = {}
        for path, needed in self.report.stage_references:
            edges.setdefault(str(path[1]), []).append(needed)
        for path, needed in self.report.stage_references:
            name, place = str(path[1]), key_at(path)
            if needed not in stages:
                hint = nearest(needed, stages)
                self.report.add(path, f"{place} = {{ stage = {shown(needed)} }}: there is no such stage.{hint}")
            elif circle := _circle(name, needed, edges):
                self.report.add(path, f"{place}: the stages depend on each other in a circle: {' → '.join(circle)}")
            elif stages.index(needed) > stages.index(name):
                self.report.add(path, f'{place}: stage "{needed}" comes later in the file; move it before "{name}"')


def _why_not_allowed(path: Path, allowed: bool | Sequence[Path]) -> str:
    """Return why a local plugin may not run, and what to do about it; an empty string if it may."""
    if isinstance(allowed, bool):
        return "" if allowed else "; allow it with --allow-local-plugins"
    if path.is_file() and any(path.read_bytes() == known.read_bytes() for known in allowed):
        return ""
    return (
        ", and it is not one of the plugins of the pipeline that starts from this run; if you trust it, copy it next "
        "to that pipeline and add it to `plugins` there"
    )


def _circle(start: str, needed: str, edges: Mapping[str, list[str]]) -> list[str]:
    """Return the stages from `start` through `needed` back to `start`, or an empty list."""
    trails = [[start, needed]]
    seen = set()
    while trails:
        trail = trails.pop()
        if trail[-1] == start:
            return trail
        if trail[-1] not in seen:
            seen.add(trail[-1])
            trails += [[*trail, following] for following in edges.get(trail[-1], [])]
    return []
