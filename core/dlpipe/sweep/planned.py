"""A checked sweep: its trials, and the runs of each. Does not import torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dlpipe.config.pipeline import Pipeline, different_meanings
from dlpipe.sweep.axes import Axis, Choice
from dlpipe.sweep.settings import Search


@dataclass(frozen=True)
class Trial:
    """One point of the grid, or one that a search proposes.

    Args:
        choices: the name of its choice on each axis.
        values: the values it sets, by path.
        pipelines: one per run.
        averaged: the name of the choice of each run on each axis that is averaged over.
        pipeline: the pipeline with its values alone.
    """

    label: str
    choices: dict[str, str]
    values: dict[str, Any]
    pipelines: tuple[Pipeline, ...]
    averaged: tuple[dict[str, str], ...]
    pipeline: Pipeline

    def run_name(self, number: int) -> str:
        """Return what only this run of the trial has, such as "data.fold = 2, seed 1"; empty if there are no others."""
        parts = [f"{axis} = {name}" for axis, name in self.averaged[number].items()]
        if len({pipeline.settings.seed for pipeline in self.pipelines}) > 1:
            parts.append(f"seed {self.pipelines[number].settings.seed}")
        return ", ".join(parts)


@dataclass(frozen=True)
class Sweep:
    """A checked sweep.

    Args:
        metric: the metric that trials are compared by; empty for the primary metric of the first evaluator, on dev.
        further: other metrics to show in the table.
        references: published numbers, by source and by the label of a trial.
        trials: all of the grid; of a search, those at the ends of its ranges.
        averaged: the number of choices on each axis that is averaged over.
        search: how the axes are searched; None for a grid.
        make: returns the trial for a choice on each axis, or raises `PipelineError`.
        base: the pipeline itself.
    """

    name: str
    metric: str
    trials: tuple[Trial, ...]
    references: dict[str, dict[str, float]]
    further: tuple[str, ...] = ()
    axes: Mapping[str, Axis] = field(default_factory=dict)
    averaged: Mapping[str, int] = field(default_factory=dict)
    search: Search | None = None
    make: Callable[[Mapping[str, Choice]], Trial] | None = None
    base: Pipeline | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Those of all its pipelines, each once."""
        found = [text for trial in self.trials for pipeline in trial.pipelines for text in pipeline.warnings]
        return tuple(dict.fromkeys(found))

    def incomparable(self, metric: str) -> str:
        """Say why a metric, such as "dev/loss/loss", is not the same in all trials; an empty string if it is."""
        _, _, rest = metric.partition("/")
        evaluator = rest.partition("/")[0]
        stages = [pipeline.stage() for trial in self.trials for pipeline in trial.pipelines]
        meanings = (stage.primary_depends_on(evaluator) for stage in stages if evaluator in stage.evaluators)
        return different_meanings(metric, meanings)
