"""Measuring a stage that has been built: its steps, an evaluation, a checkpoint, the largest batch."""

from __future__ import annotations

import gc
import statistics
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dlpipe.compute import available_memory
from dlpipe.config.pipeline import Stage
from dlpipe.config.settings import Settings
from dlpipe.data.model_caller import tensors_in
from dlpipe.engine.build import FindModel, StageComponents, TrainingComponents, build_for_training
from dlpipe.engine.flops import count_flops
from dlpipe.engine.judged_splits import judged_on
from dlpipe.engine.memory import kept_for_backward
from dlpipe.errors import PluginError, RunFolderError, SplitBatchWarning, errors_in, is_out_of_memory
from dlpipe.evaluation.evaluate import evaluate
from dlpipe.messages import relative
from dlpipe.protocols import Batch, Data, Trainer
from dlpipe.runs.checkpoint import Checkpoints
from dlpipe.runs.files import nearest_existing
from dlpipe.splits import TRAIN
from dlpipe.training.judging import Judged
from dlpipe.training.losses import BatchLoss
from dlpipe.training.step_parts import BACKWARD, StepParts, replaced
from dlpipe.training.trainer_state import state_blocks_of

#: Steps before those that are measured, and how many are measured: at least, at most, and for how many seconds.
WARM_UP, LEAST, MOST, SECONDS = 3, 3, 40, 5.0
#: Seconds of an evaluation that is measured as a whole; of a longer one, only a part is.
EVALUATION_SECONDS = 5.0


@dataclass(frozen=True)
class Steps:
    """The steps that were measured.

    Args:
        seconds: median of a step.
        mean_seconds: mean of a step, which the duration of a run follows from.
        parts: seconds of each part of a step; None for one that cannot be told from the rest.
        metrics: of the last step.
        flops: of one more step; None if the trainer has no backward pass.
        kept_bytes: what its forward passes kept for the backward passes, or, if it computes the loss of batches, what
            the forward pass of one of them kept, the most of all; None as for `flops`.
        kept_examples: of this batch; None if the step does not compute the loss of batches.
    """

    seconds: float
    mean_seconds: float
    measured: int
    warm_up: int
    parts: Mapping[str, float | None]
    metrics: Mapping[str, float]
    flops: int | None = None
    kept_bytes: int | None = None
    kept_examples: int | None = None


def stepper(stage: Stage, trainer: Trainer) -> Callable[[], Mapping[str, Any]]:
    """Return a function that takes the next step of a trainer and returns its metrics."""
    steps = trainer.steps()

    def take_step() -> Mapping[str, Any]:
        with errors_in(stage.trainer.table, data_table=stage.data.table):
            metrics = next(steps, None)
        if metrics is None:
            raise PluginError(f"{stage.trainer.table} steps() ended; expected an endless iterator")
        return metrics

    return take_step


def measure_steps(stage: Stage, components: TrainingComponents, timer: StepParts, total: int | None) -> Steps:
    """Take some steps and measure them; `timer` has been entered.

    On an accelerator, the parts come from every second step and the time from the others, since they are waited for.

    Args:
        total: steps of the whole run; no more are taken.
    """
    trainer, device = components.trainer, components.compute.device
    take_step = stepper(stage, trainer)
    warm_up = min(WARM_UP, (total or MOST) - 1)
    for _ in range(warm_up):
        take_step()
    times: list[float] = []
    measured_parts: list[float] = []
    metrics: Mapping[str, Any] = {}
    most = min(MOST, (total or MOST + warm_up) - warm_up)
    while len(times) < most and (len(times) < LEAST or sum(times) < SECONDS):
        if device.type == "cpu" or most == 1:
            metrics, seconds = timer.measure(take_step)
        else:
            metrics, seconds = timer.time(take_step)
            measured_parts.append(timer.measure(take_step)[1])
        times.append(seconds)
    median = statistics.median(times)
    shares = timer.shares()
    return Steps(
        median,
        statistics.fmean(times),
        len(times),
        warm_up,
        {name: None if share is None else share * median for name, share in shares.items()},
        {name: float(value) for name, value in metrics.items()},
    )


def examine_step(stage: Stage, components: TrainingComponents, steps: Steps) -> Steps:
    """Add what one more step computes and one more keeps in memory, if the trainer has a backward pass."""
    if steps.parts[BACKWARD] is None:
        return steps
    take_step = stepper(stage, components.trainer)
    take_step()  # a trainer may prepare something in the first step of an iterator
    flops = count_flops(take_step)
    live = components.live_model
    batches: list[tuple[int, int]] = []  # bytes that each kept, and its examples

    def measured(loss_of: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def loss(self: BatchLoss, batch: Batch, step: int) -> Tensor:
            found: list[Tensor] = []
            kept = kept_for_backward(live, lambda: found.append(loss_of(self, batch, step)))
            batches.append((kept, len(next(iter(batch.values())))))
            return found[0]

        return loss

    with replaced(BatchLoss, "__call__", measured):
        kept = kept_for_backward(live, take_step)
    most, examples = max(batches, default=(kept, None))
    return replace(steps, flops=flops, kept_bytes=most, kept_examples=examples)


@dataclass(frozen=True)
class Evaluation:
    """An evaluation of all evaluators on one split.

    Args:
        seconds: of all examples.
        examples: None for a split without a number of examples, such as an environment.
        measured: how many of them were evaluated; `seconds` is scaled accordingly.
        metrics: of what was measured.
    """

    seconds: float
    examples: int | None
    measured: int | None
    metrics: Mapping[str, float]


def measure_evaluation(stage: Stage, components: StageComponents, split: str, timer: StepParts) -> Evaluation | None:
    """Evaluate on a split, or on a part of it if that takes long; None if the pipeline has no such evaluation.

    Evaluators that judge different numbers of training examples are measured one after the other, and added.
    """
    if split not in components.data.splits and split != TRAIN:
        return None
    found = [_measured(stage, components, judged, timer) for judged in judged_on(split, stage, components)]
    if not found:
        return None
    examples, measured = (
        None if None in counts else sum(filter(None, counts))
        for counts in ([each.examples for each in found], [each.measured for each in found])
    )
    metrics = {name: value for each in found for name, value in each.metrics.items()}
    return Evaluation(sum(each.seconds for each in found), examples, measured, metrics)


def _measured(stage: Stage, components: StageComponents, judged: Judged, timer: StepParts) -> Evaluation:
    examples = judged.examples

    def run(limit: int | None) -> tuple[Mapping[str, float], float]:
        examples.limit = limit
        return timer.time(lambda: evaluate(components.trained_model, judged.evaluators, examples, stage=stage.name))

    count = examples.count
    if count is None:
        metrics, seconds = run(None)
        return Evaluation(seconds, None, None, metrics)
    size = examples.compute.evaluation_batch_size
    batches = -(-count // size)
    _, first = run(1)
    limit = batches if first * batches <= EVALUATION_SECONDS else max(1, int(EVALUATION_SECONDS / first))
    metrics, seconds = run(None if limit == batches else limit)
    return Evaluation(seconds * batches / limit, count, min(count, limit * size), metrics)


def count_examples(data: Data, split: str) -> int | None:
    """Return the number of examples of a split; None for a stream, and for what is no list of examples."""
    found = data.split(split)
    return len(found) if hasattr(found, "__len__") and not isinstance(found, Mapping) else None


def state_bytes(components: TrainingComponents) -> int:
    """Return the bytes of all tensors that a checkpoint holds now."""
    trainer = components.trainer
    blocks = state_blocks_of(trainer).values()
    held = [trainer.model.state_dict(), trainer.state_dict(), *(dict(block.tensors) for block in blocks)]
    return sum(tensor.nbytes for tensor in tensors_in(held))


def measure_checkpoint(components: TrainingComponents, runs: Path, timer: StepParts) -> tuple[float, int]:
    """Save two checkpoints on the disk of the run folders; return the seconds of the second one and its bytes.

    Raises:
        RunFolderError: nothing can be written there.
    """
    trainer = components.trainer
    place = nearest_existing(runs)
    try:
        folder = tempfile.TemporaryDirectory(prefix=".dlpipe-plan-", dir=place)
    except OSError as error:
        raise RunFolderError(
            f"{relative(place)} cannot be written: {error.strerror}; choose another place with --runs DIR"
        ) from error
    with folder as name:
        checkpoints = Checkpoints(Path(name), keep=1)

        def save(step: int) -> Path:
            state = {"loop": {}, "trainer": trainer.state_dict()}
            return checkpoints.save(step, trainer.model, state, best=False, blocks=state_blocks_of(trainer))

        save(1)  # this one is read back, too
        path, seconds = timer.time(lambda: save(2))
        return seconds, sum(file.stat().st_size for file in path.iterdir())


@dataclass(frozen=True)
class LargestBatch:
    """The largest batch that fits into memory.

    Args:
        method: "doubling" if steps with it were taken, else "estimate".
        limited_by: "memory", or "examples" if there are no more in the training split.
        bytes_per_example: what the estimate uses.
    """

    batch_size: int
    method: str
    limited_by: str
    bytes_per_example: float | None = None


def largest_batch(
    settings: Settings, stage: Stage, find_model: FindModel, data: Data, device: torch.device, steps: Steps
) -> LargestBatch | None:
    """Return the largest batch: found by doubling on a GPU, estimated elsewhere; None if the trainer has no batches.

    There is no estimate for a trainer that does not compute the loss of batches: it may run several models.

    Args:
        data: of the stage; no other components of it should hold memory any more.
    """
    size = stage.trainer.values.get("batch_size")
    if not isinstance(size, int) or "train" not in data.splits or not steps.kept_bytes:
        return None
    count = count_examples(data, "train")
    if device.type == "cuda":
        return by_doubling(size, count, lambda more: _fits(settings, with_batch_size(stage, more), find_model, data))
    if steps.kept_examples is None:
        return None
    per_example = steps.kept_bytes / steps.kept_examples
    fits = int(available_memory(device) / per_example)
    if count is not None and fits >= count:
        return LargestBatch(count, "estimate", "examples", per_example)
    return LargestBatch(max(size, fits), "estimate", "memory", per_example)


def with_batch_size(stage: Stage, size: int) -> Stage:
    """Return a stage whose trainer has batches of another size."""
    return replace(stage, trainer=replace(stage.trainer, values=stage.trainer.values | {"batch_size": size}))


def by_doubling(size: int, count: int | None, fits: Callable[[int], bool]) -> LargestBatch:
    """Return the largest batch that fits, among `size`, which does, and its doubles up to all `count` examples."""
    while count is None or size < count:
        more = 2 * size if count is None else min(2 * size, count)
        if not fits(more):
            return LargestBatch(size, "doubling", "memory")
        size = more
    return LargestBatch(size, "doubling", "examples")


def _fits(settings: Settings, stage: Stage, find_model: FindModel, data: Data) -> bool:
    """Return whether two steps of a stage fit into the memory of the GPU; the second one has the optimizer's state."""
    fits = True
    try:
        _take_two_steps(settings, stage, find_model, data)
    except Exception as error:
        if not _is_too_large(error):
            raise
        fits = False
    gc.collect()  # only now, as the error kept alive what the step had in memory
    torch.cuda.empty_cache()
    return fits


def _take_two_steps(settings: Settings, stage: Stage, find_model: FindModel, data: Data) -> None:
    with (
        build_for_training(settings, stage, find_model, data=data) as components,
        warnings.catch_warnings(action="error", category=SplitBatchWarning),
    ):
        take_step = stepper(stage, components.trainer)
        take_step()
        take_step()
        torch.cuda.synchronize()


def _is_too_large(error: Exception) -> bool:
    cause = error.__cause__ or error
    return is_out_of_memory(cause) or isinstance(cause, SplitBatchWarning)


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Return the number of parameters, how many of them are trained, and the bytes of all weights that are saved."""
    parameters = list(model.parameters())
    return {
        "total": sum(parameter.numel() for parameter in parameters),
        "trainable": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        "bytes": sum(tensor.nbytes for tensor in tensors_in(model.state_dict())),
    }
