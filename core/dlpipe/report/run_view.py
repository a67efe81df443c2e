"""What the folder of a run says about it, without any component of its pipeline."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from dlpipe.errors import DlpipeError
from dlpipe.runs.files import read_json, read_text
from dlpipe.runs.folder import BASELINES, METRICS, ORIGINS, PROVENANCE, RESOLVED, STAGES, RunFolder
from dlpipe.runs.metrics_log import MetricsLog, judged_names
from dlpipe.scores.judged_examples import score_interval

#: The entry of provenance that says how the training of each stage ended.
ENDED = "ended"
#: Where evaluators write.
FIGURES, SAMPLES = "figures", "samples"


@dataclass(frozen=True)
class StageView:
    """One stage of a run.

    Args:
        name: empty where the pipeline has no ``[stages]``.
        tables: its part of ``resolved.toml``.
        judged_by: the metric that decides, such as "slots/f1"; empty if none does.
        goal: "max" or "min", whether it should grow or fall.
        primary: the primary metrics of all evaluators, such as "slots/f1".
        primary_depends_on: by evaluator, the parameters that say what its primary metric is.
        ended: ``reason``, ``step`` and ``seconds`` of training; empty while it trains.
    """

    name: str
    folder: Path
    tables: Mapping[str, Any]
    judged_by: str
    goal: str
    ended: Mapping[str, Any]
    primary: Sequence[str] = ()
    primary_depends_on: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``; those that can be read, if it is damaged."""
        with contextlib.suppress(DlpipeError):
            return MetricsLog(self.folder / METRICS).records()
        return []

    @property
    def judged(self) -> tuple[str, ...]:
        """How the names of the metrics of evaluators begin; the others are those of the trainer."""
        return judged_names(self.tables.get("evaluators", {}))

    @property
    def best_step(self) -> int | None:
        """The step of the best checkpoint, None if there is none."""
        best = self.folder / "checkpoints" / "best"
        return int(best.readlink().name.partition("-")[2]) if best.is_symlink() else None

    def score(self) -> tuple[str, float] | None:
        """Return the metric that decides and its value: on test, else the best one on dev, else None."""
        for split in ("test", "dev"):
            name = f"{split}/{self.judged_by}"
            values = [record[name] for record in self.records if record.get(name) is not None]
            if values:
                best = {"max": max, "min": min}.get(self.goal, lambda found: found[-1])
                return name, values[-1] if split == "test" else best(values)
        return None

    @cached_property
    def baselines(self) -> dict[str, dict[str, dict[str, Any]]]:
        """What simple predictors reach, by evaluator and predictor; empty if that is not known."""
        with contextlib.suppress(DlpipeError):
            return read_json(self.folder / BASELINES) if (self.folder / BASELINES).is_file() else {}
        return {}

    def beside(self) -> dict[str, float]:
        """Return what simple predictors reach by the metric that decides."""
        evaluator, _, metric = self.judged_by.partition("/")
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


class RunView:
    """A run, read from its folder."""

    def __init__(self, folder: RunFolder) -> None:
        self.path = folder.path
        self.status = folder.status()
        self.provenance = read_json(folder.path / PROVENANCE)
        self.resolved = tomllib.loads(read_text(folder.path / RESOLVED))
        path = folder.path / ORIGINS
        self.origins: dict[str, str] = read_json(path) if path.is_file() else {}
        names = list(self.resolved.get("stages", {})) or [""]
        self.stages = [self._stage(folder, name) for name in names]

    @property
    def name(self) -> str:
        """The name of the pipeline."""
        return str(self.resolved["name"])

    def _stage(self, folder: RunFolder, name: str) -> StageView:
        judged = self.provenance.get(STAGES, {}).get(name, {})
        return StageView(
            name,
            folder.stage(name),
            self.resolved["stages"][name] if name else self.resolved,
            judged.get("metric", ""),
            judged.get("goal", ""),
            self.provenance.get(ENDED, {}).get(name, {}),
            tuple(judged.get("goals", ())),
            judged.get("primary_depends_on", {}),
        )
