"""What a run leaves behind that a comparison needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from dlpipe.config.source import leaves
from dlpipe.messages import relative
from dlpipe.report.recorded_run import RecordedRun, RecordedStage
from dlpipe.runs.files import read_json
from dlpipe.runs.folder import DATA_STATE, METRICS, RunFolder
from dlpipe.runs.metrics_log import MetricsLog
from dlpipe.scores.judged_examples import JudgedExamples, read_examples

#: Letters of a value in a table.
MAX_CELL = 40


class RunResult:
    """A run, read from its folder; of several stages, the last one is compared.

    Raises:
        RunFolderError: it is not a run folder, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self._view = RecordedRun(RunFolder.open(path))
        self.path = self._view.path
        self.provenance: Mapping[str, Any] = self._view.provenance
        self.resolved: Mapping[str, Any] = self._view.resolved
        self.stage: RecordedStage = self._view.stages[-1]
        self.state = str(self._view.status["state"])

    @property
    def name(self) -> str:
        """Its folder, as short as possible."""
        return relative(self.path)

    @property
    def seed(self) -> int:
        """The seed of all its random numbers."""
        return int(self.resolved.get("seed", 0))

    @property
    def seconds(self) -> float | None:
        """Seconds of training, of all stages; None while the run is not at its end."""
        ended = [stage.ended.get("seconds") for stage in self._view.stages]
        return None if None in ended else float(sum(filter(None, ended)))

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """The content of the data, by stage."""
        files = {stage.name: stage.folder / DATA_STATE for stage in self._view.stages}
        return {name: read_json(path)["fingerprint"] for name, path in files.items() if path.is_file()}

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``."""
        return MetricsLog(self.stage.folder / METRICS).records()

    @cached_property
    def metrics(self) -> dict[str, float]:
        """The metrics of the best checkpoint on test, dev and train, by ``<split>/<evaluator>/<metric>``.

        Those that a trainer logs are not among them: they are of the steps before.
        """
        tested = [record["step"] for record in self.records if any(name.startswith("test/") for name in record)]
        best = tested[-1] if tested else self.stage.best_step
        found: dict[str, float] = {}
        for record in self.records:
            if best is None or record["step"] == best:
                judged = {name: value for name, value in record.items() if name.startswith(self.stage.judged)}
                found |= {name: value for name, value in judged.items() if value is not None}
        return found

    @cached_property
    def score_name(self) -> str:
        """The metric that the run is judged by, on test if possible; empty if there is none."""
        names = [f"{split}/{self.stage.judged_by}" for split in ("test", "dev")]
        return next((name for name in names if name in self.metrics), "")

    def curve(self, metric: str) -> dict[int, float]:
        """Return a metric by step."""
        return {int(each["step"]): each[metric] for each in self.records if each.get(metric) is not None}

    def examples(self, metric: str) -> JudgedExamples | None:
        """Return what was found for each test example by the evaluator of a metric, such as "digits/accuracy"."""
        return read_examples(self.stage.folder, metric, self.metrics.get(f"test/{metric}"))


def flat(table: Mapping[str, Any]) -> dict[str, str]:
    """Return the values of nested tables by dotted path, as TOML shows them; a whole number without decimals.

    Older runs have 0 where newer ones have 0.0.
    """
    values = {".".join(map(str, path)): value for path, value in leaves(table)}
    return {
        path: value if isinstance(value, str) else json.dumps(value, default=str).removesuffix(".0")
        for path, value in values.items()
    }


def differing(columns: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Return the entries that are not the same in all columns: by name, the value in each column ("–" for none)."""
    names = dict.fromkeys(name for column in columns.values() for name in column)
    found = {name: {label: column.get(name, "–") for label, column in columns.items()} for name in names}
    return {name: values for name, values in found.items() if len(set(values.values())) > 1}


def shortened_value(text: str) -> str:
    """Return a value for a cell of a table."""
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"
