"""What all the work on one stage in this process shares: its tables, its folder, and whom to tell."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlpipe.config.pipeline import Stage
from dlpipe.config.settings import LoopOptions, Settings
from dlpipe.engine.build import FindModel, StageComponents
from dlpipe.engine.judged_splits import evaluators_on, judged_on_train
from dlpipe.errors import PluginError
from dlpipe.evaluation.examples import Examples
from dlpipe.protocols import Data, Evaluator
from dlpipe.ranks import Ranks, current_ranks
from dlpipe.registry.hooks import hookimpl
from dlpipe.runs.checkpoint import Checkpoints
from dlpipe.runs.folder import DATA_STATE, METRICS, PROVENANCE, RunFolder
from dlpipe.runs.metrics_log import MetricsLog
from dlpipe.runs.signals import StopSignals
from dlpipe.training.judging import Judged
from dlpipe.training.progress import Progress

#: What ``run --fast`` leaves of a run.
FAST = {"epochs": None, "minutes": None, "steps": 4, "log_every": 1, "evaluate_every": 2, "checkpoint_every": 2}
FAST_BATCHES = 2
#: The entry of provenance with the step of the first checkpoint of each stage.
FIRST_CHECKPOINT = "first_checkpoint"


class StageContext:
    """One process working on one stage.

    Args:
        data: the data of the stage.
        fast: only a few steps of everything.
        title: name and number of the stage, for people.

    Attributes:
        folder: of the stage.
        shown: where evaluators write; other ranks than the leader draw too, since they may have to run the model for
            it, into a folder that `close` removes.
        options: of the loop.
        tested: whether a process that was stopped later has evaluated the stage after its training.
        limit: batches of an evaluation, None for all.
    """

    def __init__(
        self,
        settings: Settings,
        stage: Stage,
        run: RunFolder,
        find_model: FindModel,
        progress: Progress,
        signals: StopSignals,
        *,
        data: Data,
        fast: bool = False,
        title: str = "",
    ) -> None:
        self.settings, self.stage, self.run, self.find_model = settings, stage, run, find_model
        self.progress, self.signals, self.data, self.title = progress, signals, data, title
        # A fast run ends early; the trainer plans its learning rate for the whole run all the same.
        self.options = LoopOptions(**vars(stage.options) | FAST) if fast else stage.options
        self.limit = FAST_BATCHES if fast else None
        self.ranks = current_ranks()
        self.tested = False
        self.folder = run.stage(stage.name)
        self.checkpoints = Checkpoints(
            self.folder / "checkpoints", keep=self.options.keep, warn=progress.warning, writes=run.writes
        )
        self.log = MetricsLog(self.folder / METRICS, writes=run.writes)
        self._discarded = None if run.writes else tempfile.TemporaryDirectory(prefix="dlpipe-")
        self.shown = Path(self._discarded.name) if self._discarded else self.folder

    def close(self) -> None:
        """Remove what is not kept."""
        if self._discarded:
            self._discarded.cleanup()

    def record(self, key: str, value: Mapping[str, Any]) -> None:
        """Record something of this stage in the provenance of the run."""
        self.run.record(
            self.run.path / PROVENANCE,
            lambda recorded: recorded | {key: recorded.get(key, {}) | {self.stage.name: value}},
        )

    def phase(self, doing: str) -> None:
        """Show what is done for this stage before or after its training."""
        self.progress.phase(doing, self.stage.name)

    def examples(self, split: str, components: StageComponents) -> Examples | None:
        """Return a split for evaluators; None if the data has none of that name."""
        if split not in components.data.splits:
            return None
        examples = Examples(components.data, split, components.compute, limit=self.limit)
        self._let_stop(examples)
        return examples

    def judged_on_train(self, components: StageComponents) -> list[Judged]:
        """Return the training examples that evaluators are to judge: those that judge as many share a pass."""
        found = []
        for judged in judged_on_train(self.stage, components, limit=self.limit):
            self._let_stop(judged.examples)
            found.append(judged)
        return found

    def evaluators_on(self, split: str, components: StageComponents) -> dict[str, Evaluator]:
        """Return the evaluators that the pipeline wants on a split."""
        return evaluators_on(split, self.stage, components)

    def _let_stop(self, examples: Examples) -> None:
        if self.ranks.size == 1:  # several ranks stop together, at the next step that they all know of
            examples.check_stop = lambda: self.signals.check(f" during the evaluation on {examples.split}")


class FirstCheckpoint:
    """Records that a stage has saved a checkpoint, so that its loss is noticed."""

    def __init__(self, run: RunFolder, stage: str) -> None:
        self._run, self._stage = run, stage
        self._done = False

    @hookimpl
    def dlpipe_checkpoint_saved(self, step: int) -> None:
        """Record the first one."""
        if not self._done:
            self._run.record(
                self._run.path / PROVENANCE,
                lambda recorded: (
                    recorded | {FIRST_CHECKPOINT: {self._stage: step} | recorded.get(FIRST_CHECKPOINT, {})}
                ),
            )
            self._done = True


def record_data(run: RunFolder, stage: Stage, data: Data, ranks: Ranks) -> None:
    """Record the content of the data of a stage that begins, and what the data learned; it is the same on all ranks."""
    table, fingerprint = stage.data.table, data.fingerprint()
    if not isinstance(fingerprint, str):
        raise PluginError(f"{table} fingerprint() returns {type(fingerprint).__name__}; expected a string")
    ranks.require_same({table: fingerprint}, "content of the data")
    run.record(run.stage(stage.name) / DATA_STATE, lambda _: {"fingerprint": fingerprint, "state": data.state()})


def size_of(split: Any) -> int | None:
    """Return the number of examples of a split, or None for a stream."""
    return len(split) if hasattr(split, "__len__") else None
