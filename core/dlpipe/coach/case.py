"""What is known of the training of a stage, and what the rules make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlpipe.coach.curves import Curves
from dlpipe.coach.examination import Examination
from dlpipe.coach.verdict import Scores, Verdict
from dlpipe.config.pipeline import ComponentConfig, Stage

#: A score on dev is worse than the best one if this share of the error without training has been added since, and the
#: best one was long before the end if it was in this share of the training.
WORSE, LONG_BEFORE = 0.02, 0.7
#: A training loss that ends above its start by this factor, and so many standard errors, diverges.
DIVERGED, STANDARD_ERRORS = 1.1, 3.0


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
        rule: its name.
        title: what is the matter, in a few words.
        evidence: the numbers that show it.
        reason: what they mean.
        remedies: what to try, the most promising one first.
        advice: it is no fault, but follows from the verdict.
    """

    rule: str
    title: str
    evidence: str
    reason: str
    remedies: Sequence[Remedy] = ()
    advice: bool = False


@dataclass(frozen=True)
class Case:
    """What is known of the training of a stage.

    Args:
        steps: that were taken.
        steps_per_epoch: None if there are no epochs.
        problem: why the run failed; empty if it did not.
        rate: the learning rate; None if the trainer has none.
        first: the model with its first weights; None if the trainer does not minimize a loss over batches.
        last: the model with the weights of the last checkpoint; None as for `first`, or without a checkpoint.
        moved: by parameter, how far training has moved it, as a share of its size at the start.
    """

    stage: Stage
    steps: int
    steps_per_epoch: int | None
    problem: str
    curves: Curves
    scores: Scores | None
    rate: float | None = None
    first: Examination | None = None
    last: Examination | None = None
    moved: Mapping[str, float] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """That of the scores, unless the score on dev was better before: then more training makes it worse."""
        if self.scores is None:
            return "unknown"
        return "overfitting" if self.is_late and self.scores.verdict == "underfitting" else self.scores.verdict

    @property
    def is_late(self) -> bool:
        """Whether the score on dev was best long before the end, and got worse since."""
        dev, goal, scores = self.curves.dev, self.curves.goal, self.scores
        if not dev.known or not scores or not scores.start > 0 or scores.verdict == "not learned" or self.diverged:
            return False
        step, best = dev.best(goal)
        lost = best - dev.end if goal == "max" else dev.end - best
        return lost > WORSE * scores.start and step < LONG_BEFORE * dev.points[-1][0]

    @property
    def is_poor_on_train(self) -> bool:
        """Whether the model is not good on its training examples."""
        return self.verdict in ("not learned", "underfitting")

    @property
    def diverged(self) -> bool:
        """Whether the training loss was larger at the end than at the start, by more than noise."""
        loss = self.curves.loss
        if not loss.known:
            return False
        first, *_, last = loss.tenths()
        return 0 < first * DIVERGED < last and last - first > STANDARD_ERRORS * loss.noise

    def value(self, path: str) -> Any:
        """Return the value of a key such as "model.dropout"; None if there is none."""
        table, _, key = path.partition(".")
        config: ComponentConfig[Any] | None = getattr(self.stage, table)
        return config.values.get(key) if config else None

    @property
    def optimizer(self) -> str:
        """The name of the optimizer; empty if there is none."""
        table = self.value("trainer.optimizer")
        return str(table.get("use", "")) if isinstance(table, Mapping) else ""
