"""What is known of the training of a stage, and what the rules make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlpipe.coach.curves import LEAST_EVALUATIONS, Curve, Curves, curve_of
from dlpipe.coach.examination import Examination
from dlpipe.coach.verdict import STANDARD_ERRORS as STANDARD_ERRORS_OF_SCORES
from dlpipe.coach.verdict import Scores, Verdict
from dlpipe.config.pipeline import ComponentConfig, Stage
from dlpipe.splits import DEV, TEST

#: A score on dev is worse than the best one if this share of the error without training has been added since, and the
#: best one was long before the end if it was in this share of the training.
WORSE, LONG_BEFORE = 0.02, 0.7
#: A training loss diverges if it has grown by this share of its first value, and by this number of standard errors.
DIVERGED, STANDARD_ERRORS = 0.1, 3.0


@dataclass(frozen=True)
class Remedy:
    """A change to the pipeline that may help.

    Args:
        name: in a few words.
        values: what to set, by paths such as ``trainer.optimizer.lr``; within the stage.
    """

    name: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """What a rule has found.

    Args:
        title: what is the matter, in a few words.
        evidence: the numbers that show it.
        reason: what they mean.
        remedies: what to try, the most promising one first. What the pipeline does not take is left out later.
        advice: it is no fault, but follows from the verdict.
        rule: the name of the rule, which dlpipe sets.
    """

    title: str
    evidence: str
    reason: str
    remedies: Sequence[Remedy] = ()
    advice: bool = False
    rule: str = ""


@dataclass(frozen=True)
class Case:
    """What is known of the training of a stage. A rule gets a copy, and fails if it changes that.

    Args:
        steps: that were taken.
        steps_per_epoch: None if there are no epochs.
        train_examples: None if they have no number.
        problem: why the run failed; empty if it did not.
        first: the model with its first weights; None if the trainer does not minimize a loss over batches.
        last: the model with the weights of the last checkpoint; None as for `first`, or without a checkpoint.
        moved: how far training has moved a parameter, as a share of its size at the start; the median of all that are
            trained, None without a checkpoint.
        records: the lines of ``metrics.jsonl``.
    """

    stage: Stage
    steps: int
    steps_per_epoch: int | None
    train_examples: int | None
    problem: str
    curves: Curves
    scores: Scores | None
    first: Examination | None = None
    last: Examination | None = None
    moved: float | None = None
    records: Sequence[Mapping[str, Any]] = ()

    @property
    def verdict(self) -> Verdict:
        """That of the scores; but a model that got better on its training examples only is overfitting."""
        if self.scores is None:
            return "unknown"
        return "overfitting" if self.is_late and self.scores.verdict == "underfitting" else self.scores.verdict

    @property
    def is_poor_on_train(self) -> bool:
        """Whether the model is not good on its training examples."""
        return self.verdict in ("not learned", "underfitting")

    @property
    def diverged(self) -> bool:
        """Whether the training loss was larger at the end than at the start, by more than noise."""
        loss = self.curves.loss
        return -loss.fall() > max(DIVERGED * abs(loss.tenths()[0]), STANDARD_ERRORS * loss.noise)

    @property
    def is_late(self) -> bool:
        """Whether the model got worse on dev since long before the end, while it got better on training examples."""
        dev, scores = self.curves.dev, self.scores
        if len(dev.points) < LEAST_EVALUATIONS or not scores or scores.train is None or scores.at_end is None:
            return False
        step, best = dev.best(self.curves.goal)
        lost = scores.error(dev.end) - scores.error(best)
        is_noise = lost <= max(WORSE * scores.start, STANDARD_ERRORS_OF_SCORES * scores.noise(best, scores.count))
        if is_noise or step >= LONG_BEFORE * dev.points[-1][0] or scores.verdict == "not learned":
            return False
        return scores.error(scores.at_end) < scores.error(scores.train)

    @property
    def evaluations_after_best(self) -> int:
        """How many evaluations on dev followed the best one."""
        step, _ = self.curves.dev.best(self.curves.goal)
        return sum(at > step for at, _ in self.curves.dev.points)

    def value(self, path: str) -> Any:
        """Return the value of a key such as "model.dropout", or of "model.use"; None if there is none.

        Raises:
            ValueError: it is not a key of the tables data, model or trainer.
        """
        table, _, key = path.partition(".")
        if table not in ("data", "model", "trainer") or not key:
            raise ValueError(f'"{path}": expected a key of data, model or trainer, such as "model.dropout"')
        config: ComponentConfig[Any] | None = getattr(self.stage, table)
        if config is None:
            return None
        return config.component.name if key == "use" else config.values.get(key)

    def metric(self, name: str) -> Curve:
        """Return the curve of a metric in ``metrics.jsonl``, such as "train/loss"; without points if there is none."""
        return curve_of(self.records, name)

    def evaluated(self, evaluator: str, metric: str) -> Curve:
        """Return the curve of a metric on dev, or on test if dev is not judged; without points if there is none.

        Args:
            evaluator: the component, such as "rl.returns", whatever the pipeline calls it.
            metric: such as "return_mean".
        """
        names = [name for name, config in self.stage.evaluators.items() if config.component.name == evaluator]
        curves = [self.metric(f"{split}/{name}/{metric}") for split in (DEV, TEST) for name in names]
        return next((curve for curve in curves if curve.points), Curve([]))

    @property
    def optimizer_table(self) -> Mapping[str, Any]:
        """The optimizer with its parameters; empty if the trainer has none."""
        return self._table("trainer.optimizer")

    @property
    def optimizer(self) -> str:
        """The name of the optimizer; empty if the trainer has none."""
        return str(self.optimizer_table.get("use", ""))

    @property
    def schedule(self) -> Mapping[str, Any]:
        """The schedule of the learning rate with its parameters; empty if there is none."""
        return self._table("trainer.schedule")

    def _table(self, path: str) -> Mapping[str, Any]:
        found = self.value(path)
        return found if isinstance(found, Mapping) else {}
