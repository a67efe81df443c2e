"""The trainer for every model with a loss per batch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import torch
from pydantic import Field, Strict
from torch import Tensor, nn

from dlpipe.compute import Compute
from dlpipe.config.settings import Budget
from dlpipe.data.batches import Batches, EndlessBatches
from dlpipe.data.columns import Columns
from dlpipe.data.model_caller import ModelCaller, columns_needed
from dlpipe.data.parts import parts_of
from dlpipe.data.targets import count_targets
from dlpipe.errors import InputError, SplitBatchWarning
from dlpipe.fields import (
    Fraction,
    LossTable,
    NonNegative,
    OnlyWith,
    OpenFraction,
    OptimizerTable,
    Positive,
    PositiveFloat,
    ScheduleTable,
)
from dlpipe.protocols import Batch, Data
from dlpipe.registry.targets import load_target
from dlpipe.training.activation_checkpointing import checkpoint_activations, unchanged_buffers
from dlpipe.training.averaging import WeightAverage
from dlpipe.training.batch_norm import SyncedBatchNorm
from dlpipe.training.class_weights import ClassWeights, Sampling, example_weights
from dlpipe.training.class_weights import class_weights as class_weights_of
from dlpipe.training.gradients import GradientAverage
from dlpipe.training.last_batch import require_last_batch
from dlpipe.training.loss_scale import LossScale
from dlpipe.training.losses import BatchLoss, require_option
from dlpipe.training.optimizers import build_optimizer, load_optimizer
from dlpipe.training.part_rates import apply_factors, parameter_groups
from dlpipe.training.schedule import LearningRateSchedule
from dlpipe.training.stand_in import StandIn

if TYPE_CHECKING:
    from dlpipe.training.sharding import Sharding

#: Optimizers of torch that cannot compute with gradients which are cut over processes.
WHOLE_GRADIENTS = ("lbfgs", "adafactor", "rprop")
#: Of a part of the model.
RateFactor = Annotated[
    float, Strict(), Field(gt=0, description="a factor above 0; what is not trained belongs to `freeze` of [model]")
]


class Supervised:
    """Minimize a loss over the batches of the training split, once per epoch each.

    The loss of a step is the mean over all its targets, also when gradients are accumulated:
    ``batch_size = 8, gradient_accumulation_steps = 4`` takes the same step as ``batch_size = 32``, and so do several
    processes that share the batches of 32.

    Args:
        batch_size: examples per batch; "full" for all of them.
        optimizer: an optimizer of torch or of a plugin by name, with its own parameters.
        schedule: a learning rate schedule of torch or of a plugin by name; it counts steps, and
            lengths that are not given are those of the run.
        warmup_steps: steps over which the learning rate first grows linearly from near 0.
        loss: "auto" (the model's own loss if it has one, else cross-entropy), "cross_entropy", "mse", "l1", "huber",
            "binary_cross_entropy", or that of a plugin, by its name or as a table with its own parameters, such as
            { use = "huber", delta = 2.0 }. For targets that are classes, "mse" compares the softmax of the scores with
            one-hot targets, as a mean over all classes (as Keras does).
        label_smoothing: share of the target's probability that is spread over all classes.
        class_weights: how much the targets of each class count in the loss: "balanced" for all classes together the
            same, or weights by the name of the class, such as { cat = 2.0 }, where others have 1.
        sampling: which examples an epoch has: "uniform" for each once; "balanced" for as many examples, drawn with
            replacement, of which each class has the same share; or drawn with weights by the name of the class, or with
            those in the column "sample_weights" of the data.
        max_grad_norm: clip the norm of all gradients together to this value.
        gradient_accumulation_steps: batches per step.
        activation_checkpointing: names of layers, as a pattern such as "layers.*", that compute their inner outputs
            again in the backward pass instead of keeping them: less memory, more time, the same result.
        ema_decay: keep an exponential moving average of the weights with this decay per step; the average
            is what is evaluated and saved as the model.
        bucket_by_length: put sequences of similar length into one batch.
        drop_last: leave out the last batch of an epoch if it has fewer examples than the others, so that all have the
            same number. Which examples are left out differs between epochs.
        pad_to_multiple_of: pad the sequences of a batch to a multiple of this length, so that there are few different
            lengths: for `compile`, which compiles a model for each.
        num_workers: processes that read data which does not fit into memory; "auto" is one less than there are cores,
            at most 8, for data that is decoded from files, and 0 for other data. No result depends on it.
        rates: factors on the learning rate of parts of the model, by the name of a layer or parameter, such as
            ``{ backbone = 0.1, "backbone.layer1" = 0.01 }``; the longest name counts.
        sync_batch_norm: with several processes, batch normalization uses the statistics of the whole batch, not those
            of the part that a process has.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        compute: Compute,
        seed: int,
        budget: Budget = Budget(),  # noqa: B008  frozen
        *,
        batch_size: Positive | Literal["full"] = 32,
        optimizer: OptimizerTable = {"use": "adam"},  # noqa: B006  read only
        schedule: ScheduleTable | None = None,
        warmup_steps: NonNegative = 0,
        loss: LossTable = "auto",
        label_smoothing: Annotated[Fraction, OnlyWith(loss=("auto", "cross_entropy"))] = 0.0,
        class_weights: Annotated[ClassWeights | None, OnlyWith(loss=("auto", "cross_entropy"))] = None,
        sampling: Sampling = "uniform",
        max_grad_norm: PositiveFloat | None = None,
        gradient_accumulation_steps: Positive = 1,
        activation_checkpointing: str | None = None,
        ema_decay: OpenFraction | None = None,
        bucket_by_length: bool = True,
        drop_last: bool = False,
        pad_to_multiple_of: Positive | None = None,
        num_workers: NonNegative | Literal["auto"] = "auto",
        rates: Mapping[str, RateFactor] | None = None,
        sync_batch_norm: bool = False,
    ) -> None:
        _require_usable(model, data, loss, label_smoothing, class_weights)
        weights = class_weights_of("class_weights", class_weights, data).to(compute.device) if class_weights else None
        split = data.split("train")
        batches = Batches(
            split,
            batch_size,
            compute,
            seed=seed,
            columns=columns_needed(model),
            bucket=bucket_by_length,
            workers=num_workers,
            sample_weights=example_weights("sampling", sampling, data),
            drop_last=drop_last,
            pad_to_multiple_of=pad_to_multiple_of,
            ranks=compute.ranks,
        )
        if batches.per_epoch is not None:
            _require_last_batch(model, split, batches.batch_size, compute, sync_batch_norm, drop_last)
        self._omitted = batches.omitted
        self._length_names = split.length_names if isinstance(split, Columns) else {}
        self._parts = 1  # that each batch is computed in, since it does not fit into memory as a whole
        self._batches = EndlessBatches(batches, gradient_accumulation_steps)
        self.steps_per_epoch = self._batches.steps_per_epoch
        self._live, self._compute, self._step_number = model, compute, 0
        self._average = WeightAverage(model, ema_decay) if ema_decay else None
        self._sharding = _sharding(model, compute, self._average, optimizer) if compute.shards else None
        self._synced = SyncedBatchNorm(model, compute.ranks) if sync_batch_norm else None
        self._checkpointed: list[nn.Module] = []
        if activation_checkpointing is not None:
            self._checkpointed = checkpoint_activations(model, activation_checkpointing)
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._has_rates = bool(rates)
        groups = parameter_groups(model, rates) if rates else self._parameters
        self._optimizer = build_optimizer(groups, optimizer, closure=True)
        total = budget.total_steps(self.steps_per_epoch)
        self._loss_scale = LossScale(self._optimizer, compute.device) if compute.dtype is torch.float16 else None
        self._schedule = LearningRateSchedule(self._optimizer, schedule, warmup_steps=warmup_steps, total_steps=total)
        apply_factors(self._optimizer)
        several = compute.ranks.size > 1
        self._stand_in = StandIn(compute) if several and (compute.shards or sync_batch_norm) else None
        averages = several and not compute.shards  # cut gradients are averaged where they are cut
        self._gradient_average = GradientAverage(self._parameters, compute.ranks) if averages else None
        self._max_grad_norm = max_grad_norm
        self._loss_options = loss, label_smoothing, weights
        self._loss: BatchLoss | None = None  # built from the columns of the first batch

    @property
    def model(self) -> nn.Module:
        """The model to evaluate: the average of the weights if there is one, and whole if they are cut."""
        if self._sharding:
            return self._sharding.whole()
        return self._average.module if self._average else self._live

    def steps(self) -> Iterator[dict[str, Tensor]]:
        """Update the weights once and yield ``loss``, and ``grad_norm`` if gradients are clipped.

        In float16 also ``skipped``, 1 for a step that left the weights as they were.
        """
        for batches in self._batches:
            yield self._step(batches)

    def _step(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
        """Update the weights once."""
        if self._sharding:
            self._sharding.begin_step()
        if self._stand_in:
            batches = self._stand_in.fill(batches)
        if not self._live.training:  # the caller may have evaluated since
            self._live.train()
        if self._loss is None and (columns := tuple(next(filter(None, batches), ()))):
            self._loss = BatchLoss(self._live, columns, self._compute, *self._loss_options, omitted=self._omitted)
        if isinstance(self._optimizer, torch.optim.LBFGS):
            metrics = self._lbfgs_step(batches, self._loss)
        else:
            metrics = self._gradients(batches, self._loss)
            if self._loss_scale:
                metrics = self._loss_scale.step(metrics)
            else:
                self._optimizer.step()
        self._step_number += 1
        if "loss" in metrics:  # not if the step was skipped
            self._schedule.step()
            if self._has_rates:
                apply_factors(self._optimizer)
            if self._average:
                self._average.update()
        return metrics

    def _gradients(self, batches: Sequence[Batch], loss_of: BatchLoss | None) -> dict[str, Tensor]:
        """Compute the gradients of a step, in parts if the device has too little memory, and clip them."""
        while True:
            parts = batches
            if self._parts > 1:
                parts = [part for batch in batches for part in parts_of(batch, self._parts, self._length_names)]
            try:
                return self._gradients_of(parts, loss_of)
            except torch.OutOfMemoryError:
                largest = max(len(next(iter(part.values()), ())) for part in parts)
                if largest < 2 or self._compute.ranks.size > 1:  # several processes would have to agree
                    raise
            self._parts *= 2
            warnings.warn(
                f"{largest} examples at once do not fit into the memory of {self._compute.device}: from now on, each "
                f"batch is computed in {self._parts} parts, whose gradients are added",
                SplitBatchWarning,
                stacklevel=2,
            )
            torch.accelerator.empty_cache()

    def _gradients_of(self, batches: Sequence[Batch], loss_of: BatchLoss | None) -> dict[str, Tensor]:
        """Compute the gradients of a step, and clip them.

        With several processes, the loss is the one whose mean over them is the loss of the step.
        """
        # The same as optimizer.zero_grad(set_to_none=True), which takes a tenth of a small step.
        for parameter in self._parameters:
            parameter.grad = None
        losses = []
        shares = _shares(batches, loss_of, self._compute, self._stand_in)
        own = [(batch, share) for batch, share in zip(batches, shares, strict=True) if batch]
        for number, (batch, share) in enumerate(own, start=1):
            assert loss_of is not None
            if self._synced and self._stand_in:
                self._synced.counts = self._stand_in.is_own(batch)
            loss = loss_of(batch, self._step_number)
            if share is not None:  # the mean over no targets is NaN, and would stay NaN
                loss = loss.masked_fill(share == 0, 0.0) * share
            if self._gradient_average and number == len(own):
                self._gradient_average.begin()
            if self._sharding:
                self._sharding.communicate(number == len(own))
            with unchanged_buffers(self._checkpointed):
                (self._loss_scale.scaled(loss) if self._loss_scale else loss).backward()
            losses.append(loss.detach())
        if self._gradient_average:
            self._gradient_average.finish()
        self._compute.ranks.same_buffers(self._live)
        if self._loss_scale:
            self._loss_scale.unscale()
        if not losses:  # this process has none of the examples
            losses = [torch.zeros((), device=self._compute.device)]
        metrics = {"loss": losses[0] if len(losses) == 1 else torch.stack(losses).sum()}
        if self._max_grad_norm is not None:
            norm = nn.utils.clip_grad_norm_(self._parameters, self._max_grad_norm)
            metrics["grad_norm"] = self._sharding.whole_tensor(norm) if self._sharding else norm
        return metrics

    def _lbfgs_step(self, batches: Sequence[Batch], loss_of: BatchLoss | None) -> dict[str, Tensor]:
        """Take a step of L-BFGS, which evaluates the loss several times, and return the metrics from before it."""
        evaluations: list[dict[str, Tensor]] = []

        def closure() -> Tensor:
            evaluations.append(self._gradients(batches, loss_of))
            return self._compute.ranks.mean(evaluations[-1]["loss"])

        self._optimizer.step(closure)  # type: ignore[arg-type]  # LBFGS takes a tensor
        return evaluations[0]

    def close(self) -> None:
        """End the processes that read the data."""
        self._batches.close()

    def log_values(self) -> dict[str, float]:
        """Return the learning rate."""
        return {"lr": self._schedule.learning_rate}

    def on_score(self, score: float, goal: Literal["max", "min"]) -> None:
        """Pass the monitored metric on to the schedule."""
        self._schedule.on_score(score, goal)
        apply_factors(self._optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Return the step, optimizer, schedule, position in the data, and the live weights besides an average."""
        state: dict[str, Any] = {
            "step": self._step_number,
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "batches": self._batches.state_dict(),
            "parts": self._parts,
            "loss_scale": self._loss_scale.state_dict() if self._loss_scale else None,
        }
        if self._average:
            state["average"] = self._average.state_dict()
        return self._sharding.whole_state(state) if self._sharding else state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._step_number = state["step"]
        optimizer, average = state["optimizer"], state.get("average")
        if self._sharding:
            optimizer, average = self._sharding.load(self._optimizer, optimizer, average)
        load_optimizer(self._optimizer, optimizer)
        self._schedule.load_state_dict(state["schedule"])
        apply_factors(self._optimizer)
        self._batches.load_state_dict(state["batches"])
        self._parts = int(state.get("parts", 1))
        if self._average:
            self._average.load_state_dict(average)
        elif average:  # kept until now: the weights that have been loaded are the averaged ones
            self._live.load_state_dict(average["live"])
        if self._loss_scale and state["loss_scale"]:  # not if the run began with another precision
            self._loss_scale.load_state_dict(state["loss_scale"])


def _require_usable(
    model: nn.Module, data: Data, loss: Any, label_smoothing: float, class_weights: ClassWeights | None
) -> None:
    """Refuse what cannot be trained, or not with this loss."""
    if label_smoothing:
        require_option(model, loss, "label_smoothing", label_smoothing)
    if class_weights:
        require_option(model, loss, "class_weights", class_weights)
    if "train" not in data.splits:
        raise InputError(f'the data has no split "train"; it has {", ".join(data.splits) or "none"}')


def _require_last_batch(
    model: nn.Module, split: Any, batch_size: int, compute: Compute, synced: bool, drop_last: bool
) -> None:
    """Refuse a last batch of an epoch that is too small for batch normalization."""

    def run(copied: nn.Module) -> None:
        first = Batches(split, 1, compute, columns=columns_needed(model), training=False, only=torch.tensor([0]))
        (batch,) = first.epoch(0)
        with compute.autocast():
            ModelCaller(copied, tuple(batch)).outputs(batch)

    least = 2 if synced else 2 * compute.ranks.size
    require_last_batch(model, run, batch_size, len(split), least=least, drop_last=drop_last)


def _sharding(
    model: nn.Module, compute: Compute, average: WeightAverage | None, optimizer: Mapping[str, Any]
) -> Sharding:
    """Cut the weights of a model, and those of its average, over the processes."""
    if (name := optimizer["use"]) in WHOLE_GRADIENTS:
        raise InputError(
            f'parallel = "fsdp": optimizer = "{name}" needs whole gradients; expected another one, or parallel = "ddp"'
        )
    if compute.dtype is torch.float16:
        raise InputError(
            'parallel = "fsdp": precision = "float16" needs whole gradients; expected "bfloat16", or parallel = "ddp"'
        )
    if model._compiled_call_impl is not None:
        raise InputError(
            'parallel = "fsdp": compile = true is not supported; expected one of them, or parallel = "ddp"'
        )
    # Its import takes a second, which only its users pay.
    sharding = load_target("dlpipe.training.sharding:Sharding")(model, compute, average.module if average else None)
    return cast("Sharding", sharding)


def _shares(
    batches: Sequence[Batch], loss_of: BatchLoss | None, compute: Compute, stand_in: StandIn | None
) -> Sequence[Tensor | None]:
    """Return how much each batch of a step counts: its share of the terms in the loss (None for a single batch).

    With several processes, the shares of all of them are multiplied by their number, since their mean counts.
    """
    ranks = compute.ranks
    if len(batches) == 1 and ranks.size == 1:
        return [None]
    own = [batch if stand_in is None or stand_in.is_own(batch) else {} for batch in batches]
    count = loss_of.count_terms if loss_of else count_targets  # without a loss, this process has had no examples yet
    counts = torch.stack([count(batch).to(compute.device) for batch in own])
    return list(counts * ranks.size / ranks.total(counts.sum()))
