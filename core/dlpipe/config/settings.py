"""What a pipeline file can say beside its components: the settings of the run and of the loop.

Like a component's, these signatures are the schema: `Settings` of the top level of the file,
`LoopOptions` of what every ``[trainer]`` table takes beside the parameters of the trainer itself,
`EvaluatorOptions` likewise of ``[evaluators.NAME]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from dlpipe.fields import NonNegative, Positive, PositiveFloat


@dataclass(frozen=True)
class Settings:
    """Settings of a pipeline, at the top of its file.

    Args:
        name: names the folder of its runs.
        seed: start of all randomness; the same pipeline and seed give the same numbers.
        device: "auto" (the first accelerator, else the CPU), "cpu", "cuda", "cuda:1", "mps".
        precision: of the forward pass; "bfloat16" is autocast, weights stay float32.
        threads: CPU threads of a computation; as many as the machine has cores if not given.
        deterministic: on a GPU, use only algorithms that give the same bits every time.
        offline: never touch the network; what is missing is an error.
    """

    name: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="a name of letters, digits, '-', '_' and '.'"),
    ]
    seed: NonNegative = 0
    device: Annotated[
        str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description='"auto", "cpu", "cuda", "cuda:N" or "mps"')
    ] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    threads: Positive | None = None
    deterministic: bool = False
    offline: bool = False


@dataclass(frozen=True)
class Budget:
    """How long a run may train; whatever is reached first ends it.

    Args:
        epochs: passes over the training split.
        steps: optimizer updates, or what counts as one.
        minutes: of training time.
    """

    epochs: int | None = None
    steps: int | None = None
    minutes: float | None = None

    def total_steps(self, steps_per_epoch: int | None, own: int | None = None) -> int | None:
        """Return the number of steps of the run, or None if only time ends it.

        Args:
            steps_per_epoch: None for data without epochs.
            own: the steps that the trainer's own budget allows, such as a number of timesteps.
        """
        epochs = self.epochs * steps_per_epoch if self.epochs and steps_per_epoch else None
        return min((end for end in (self.steps, epochs, own) if end is not None), default=None)


@dataclass(frozen=True)
class LoopOptions:
    """Options of the loop, in the ``[trainer]`` table of every trainer.

    A step is one optimizer update, or what counts as one for the trainer's algorithm.

    Args:
        epochs: stop after so many passes over the training split.
        steps: stop after so many steps.
        minutes: stop after so much training time, resumed parts added up.
        log_every: steps between two log points.
        evaluate_every: steps between two evaluations on the dev split; once per epoch if not given.
        checkpoint_every: steps between two checkpoints; after each evaluation if not given.
        checkpoint_minutes: at the first log point after so many minutes, save in any case.
        keep: how many of the last checkpoints to keep beside the best one.
        monitor: metric that decides which checkpoint is best, such as "dev/slots/f1"; if not given,
            the first one of the first evaluator.
        goal: whether the monitored metric should grow or fall; the evaluator knows for its own.
        patience: stop when so many evaluations in a row brought no better one.
    """

    epochs: Positive | None = None
    steps: Positive | None = None
    minutes: PositiveFloat | None = None
    log_every: Positive = 50
    evaluate_every: Positive | None = None
    checkpoint_every: Positive | None = None
    checkpoint_minutes: PositiveFloat | None = None
    keep: Positive = 2
    monitor: str | None = None
    goal: Literal["max", "min"] | None = None
    patience: Positive | None = None

    @property
    def budget(self) -> Budget:
        """How long the run may train."""
        return Budget(self.epochs, self.steps, self.minutes)


@dataclass(frozen=True)
class EvaluatorOptions:
    """Options of the table of every evaluator.

    Args:
        splits: on which splits it judges during a run; what costs much need not be on "dev".
    """

    splits: Sequence[Literal["dev", "test"]] = ("dev", "test")
