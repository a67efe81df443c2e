"""What the folder of a run says about it, without any component of its pipeline."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dlpipe.errors import DlpipeError
from dlpipe.runs.files import read_json
from dlpipe.runs.folder import BASELINES, ENDED, METRICS, ORIGINS, PROVENANCE, STAGES, RunFolder
from dlpipe.runs.manifests import best_step
from dlpipe.runs.metrics_log import MetricsLog, judged_names
from dlpipe.runs.score import Score, score_so_far
from dlpipe.scores.judged_examples import score_interval


@dataclass(frozen=True)
class RecordedStage:
    """One stage of a run.

    Args:
        name: empty where the pipeline has no ``[stages]``.
        tables: its part of ``resolved.toml``.
        known: a `dlpipe.runs.files.StageRecord`; empty before the stage begins.
        ended: ``reason``, ``step`` and ``seconds`` of training; empty while it trains.
    """

    name: str
    folder: Path
    tables: Mapping[str, Any]
    known: Mapping[str, Any]
    ended: Mapping[str, Any]

    @property
    def judged_by(self) -> str:
        """The metric that decides, such as "slots/f1"; empty if none does."""
        return str(self.known.get("metric", ""))

    @property
    def goal(self) -> str:
        """Whether that should grow or fall, "max" or "min"; empty if that is not known."""
        return str(self.known.get("goal", ""))

    @property
    def primary(self) -> Sequence[str]:
        """The primary metrics of all evaluators, such as "slots/f1"."""
        return tuple(self.known.get("goals", ()))

    @property
    def primary_depends_on(self) -> Mapping[str, Mapping[str, Any]]:
        """By evaluator, the parameters that say what its primary metric is."""
        return dict(self.known.get("primary_depends_on", {}))

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``; none, with a warning, if it was edited or is damaged."""
        try:
            return MetricsLog(self.folder / METRICS).records()
        except DlpipeError as error:
            warnings.warn(f"{error}; the report has no metrics", stacklevel=2)
            return []

    @property
    def judged(self) -> tuple[str, ...]:
        """How the names of the metrics of evaluators begin; the others are those of the trainer."""
        return judged_names(self.tables.get("evaluators", {}))

    @property
    def best_step(self) -> int | None:
        """The step of the best checkpoint, None if there is none."""
        return best_step(self.folder / "checkpoints")

    @cached_property
    def score(self) -> Score:
        """The score so far."""
        return score_so_far(self.known, self.records)

    @cached_property
    def baselines(self) -> dict[str, dict[str, dict[str, Any]]]:
        """What simple predictors reach, by evaluator and predictor; empty if that is not known.

        With a warning if the file was edited or is damaged.
        """
        try:
            return read_json(self.folder / BASELINES) if (self.folder / BASELINES).is_file() else {}
        except DlpipeError as error:
            warnings.warn(f"{error}; the report has no baselines", stacklevel=2)
            return {}

    def beside(self) -> dict[str, float]:
        """Return what simple predictors reach by the metric of the score."""
        evaluator, _, metric = self.score.metric.partition("/")[2].partition("/")
        found = self.baselines.get(evaluator, {}).items()
        reached = {name: each.get("metrics", {}).get(metric) for name, each in found}
        return {name: value for name, value in reached.items() if value is not None}

    def interval(self) -> tuple[float, float] | None:
        """Return the ends of the 90 % bootstrap interval of the score over test examples, None if that is not known."""
        with contextlib.suppress(DlpipeError):  # the report of a damaged folder does without
            found = score_interval(self.folder, self.judged_by)
            return found[1:] if found else None
        return None

    def metrics(self) -> dict[str, float]:
        """Return the last value of every metric."""
        found: dict[str, float] = {}
        for record in self.records:
            found |= {name: value for name, value in record.items() if "/" in name and value is not None}
        return found


class RecordedRun:
    """A run, read from its folder."""

    def __init__(self, folder: RunFolder) -> None:
        self.path = folder.path
        self.status = folder.status()
        self.provenance = read_json(folder.path / PROVENANCE)
        self.resolved = folder.resolved()
        path = folder.path / ORIGINS
        self.origins: dict[str, str] = read_json(path) if path.is_file() else {}
        names = list(self.resolved.get("stages", {})) or [""]
        self.stages = [self._stage(folder, name) for name in names]

    @property
    def name(self) -> str:
        """The name of the pipeline."""
        return str(self.resolved["name"])

    def _stage(self, folder: RunFolder, name: str) -> RecordedStage:
        return RecordedStage(
            name,
            folder.stage(name),
            self.resolved["stages"][name] if name else self.resolved,
            self.provenance.get(STAGES, {}).get(name, {}),
            self.provenance.get(ENDED, {}).get(name, {}),
        )
