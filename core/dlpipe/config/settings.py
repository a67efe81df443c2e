"""What a pipeline file can say beside its components: the settings of the run and of the loop.

Like a component's, these signatures are the schema: `Settings` of the top level of the file,
`LoopOptions` of what every ``[trainer]`` table takes beside the parameters of the trainer itself,
`EvaluatorOptions` likewise of ``[evaluators.NAME]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from dlpipe.fields import NonNegative, Positive, PositiveFloat

#: Former names of the settings and options below, and their current names: a file that uses a former name gets an
#: error that gives the current one.
RENAMED: Mapping[str, Mapping[str, str]] = {"pipeline": {}, "trainer": {}, "evaluator": {}}


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


@dataclass(frozen=True)
class EvaluatorOptions:
    """Options of the table of every evaluator.

    Args:
        splits: on which splits it judges during a run; what costs much need not be on "dev".
    """

    splits: Sequence[Literal["dev", "test"]] = ("dev", "test")
