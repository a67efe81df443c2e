"""The keys of a pipeline file that belong to dlpipe itself: settings of the run, options of the loop.

As for components, these signatures are the schema: `Settings` for the top of the file, `ModelOptions` for every
``[model]``, `LoopOptions` for every ``[trainer]`` and `EvaluatorOptions` for every ``[evaluators.NAME]``, in addition
to the parameters of the component.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, Strict
from typing_extensions import TypedDict

from dlpipe.fields import NonNegative, NonNegativeFloat, OnlyWith, Positive, PositiveFloat

#: Former names of the settings and options below, and their current names: a former name works, with a
#: warning that gives the current one.
RENAMED: Mapping[str, Mapping[str, str]] = {"pipeline": {}, "model": {}, "trainer": {}, "evaluator": {}}


@dataclass(frozen=True)
class Settings:
    """Settings at the top of a pipeline file.

    Args:
        name: of the pipeline, and of the folder that its runs are stored in.
        seed: of all random numbers; the same pipeline and seed give the same results.
        device: "auto" (the first accelerator, else the CPU), "cpu", "cuda", "cuda:1" or "mps".
        precision: of the forward pass; "bfloat16" and "float16" are autocast, and the weights stay float32. With
            "float16", for GPUs without bfloat16, the loss is scaled and a step whose gradients overflow is skipped.
        tf32: let matrix products and convolutions of float32 on a CUDA GPU round their factors to TF32, with 10 bits of
            mantissa instead of 23: faster, and less exact.
        threads: CPU threads of a computation; one per core if not given.
        deterministic: on a GPU, use only algorithms that give the same bits every time.
        offline: never use the network; missing data is an error.
        parallel: "ddp" trains one model with all processes that ``torchrun`` or ``srun`` started: each has a copy of
            the model and works on its part of every batch. "fsdp" does the same with a part of the weights, gradients
            and optimizer state in each process. A single process trains alone.
        compile: compile the model that is trained with `torch.compile`; on a CPU, that needs a C++ compiler.
        evaluation_batch_size: examples that are evaluated or predicted together. Less needs less memory; the metrics
            are the same but for rounding. Where an evaluation draws random numbers per batch (the noise of data, the
            codes of a variational auto-encoder), they are other ones, and its metrics change a little.
    """

    name: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="a name of letters, digits, '-', '_' and '.'"),
    ]
    seed: NonNegative = 0
    device: Annotated[
        str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description='"auto", "cpu", "cuda", "cuda:N" or "mps"')
    ] = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    tf32: bool = False
    # More threads than that make torch crash.
    threads: Annotated[int, Strict(), Field(ge=1, le=1024)] | None = None
    deterministic: bool = False
    offline: bool = False
    parallel: Literal["none", "ddp", "fsdp"] = "none"
    compile: bool = False
    evaluation_batch_size: Positive = 256

    def plain(self) -> dict[str, Any]:
        """Return them as values that TOML can hold."""
        return {key: value for key, value in vars(self).items() if value is not None}


class StartTable(TypedDict, total=False):
    """Where a model gets its first weights from; exactly one of ``run``, ``stage``, ``file`` and ``url``.

    Keys:
        run: folder of a run, whose best checkpoint is used.
        stage: an earlier stage of the same pipeline.
        file: weights by name, in a .safetensors, .pth or .pt file.
        url: such a file to download once into the cache.
        sha256: hex digest of the file at ``url``.
        skip: parts of the model that do not start from these weights, by name.
    """

    run: Path
    stage: str
    file: Path
    url: Annotated[str, Field(pattern=r"^https?://", description='an address, such as "https://…/weights.pth"')]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="64 hexadecimal digits")]
    skip: Annotated[Sequence[str], Field(min_length=1)]


@dataclass(frozen=True)
class ModelOptions:
    """Options in the ``[model]`` table of every model.

    ``dlpipe show RUN --layers`` lists the names of layers and parameters.

    Args:
        start: trained weights to start from: ``{ run = "runs/…" }``, ``{ stage = "pretrain" }``,
            ``{ file = "weights.safetensors" }`` or ``{ url = "https://…", sha256 = "…" }``. What the data decides
            (such as the layer that scores other classes) starts untrained; ``skip = ["head"]`` leaves out other parts.
        freeze: names of layers or parameters, or patterns such as "layers.*", that are not trained. Frozen layers stay
            in evaluation mode: dropout is off, and batch normalization keeps its running statistics.
    """

    start: (
        Annotated[StartTable, Field(description='a table such as { run = "runs/…" } or { file = "weights.pth" }')]
        | None
    ) = None
    freeze: Annotated[Sequence[str], Field(min_length=1)] | None = None


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
    """Options of the training loop, in the ``[trainer]`` table of every trainer.

    A step is one optimizer update, or what the trainer's algorithm counts as one.

    Args:
        epochs: stop after this many passes over the training split.
        steps: stop after this many steps.
        minutes: stop after this much training time, summed over all resumed parts.
        log_every: steps between two log points.
        evaluate_every: steps between two evaluations on the dev split; once per epoch if not given.
        checkpoint_every: steps between two checkpoints; after each evaluation if not given.
        checkpoint_minutes: also save a checkpoint at the first log point after this many minutes.
        keep: number of most recent checkpoints to keep, in addition to the best one.
        monitor: metric that decides which checkpoint is best, such as "dev/slots/f1"; if not given, the primary metric
            of the first evaluator that has one.
        goal: whether the monitored metric should grow or fall; if not given, the evaluator decides.
        patience: stop after this many evaluations in a row without improvement; a tie is none.
        min_delta: an improvement counts for `patience` only if it is larger than this, compared with the last one that
            counted. Which checkpoint is best does not depend on it.
        ties: which of several checkpoints with the best value of the monitored metric counts: the one with the lowest
            "loss" on dev (of equal ones, the last), the "first" or the "last"; if not given, the lowest loss if an
            evaluator gives one, else the last.
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
    min_delta: Annotated[NonNegativeFloat, OnlyWith("patience")] = 0.0
    ties: Literal["loss", "first", "last"] | None = None

    @property
    def budget(self) -> Budget:
        """How long the run may train."""
        return Budget(self.epochs, self.steps, self.minutes)


@dataclass(frozen=True)
class EvaluatorOptions:
    """Options in the table of every evaluator.

    Args:
        splits: to evaluate during a run: "dev" and "train" at each evaluation of the training, "test" once at its end.
            Training examples are judged as those of dev are: without augmentation, with the model in evaluation mode.
            An expensive evaluator can leave out "dev".
        train_examples: judge at most this many training examples, drawn at random, always the same ones; of a stream,
            its first ones. All if not given.
        compare_baselines: also evaluate the simple predictors that the evaluator names, on the same split, at the end
            of a run.
    """

    splits: Annotated[Sequence[Literal["train", "dev", "test"]], Field(min_length=1)] = ("dev", "test")
    train_examples: Positive | None = None
    compare_baselines: bool = True
