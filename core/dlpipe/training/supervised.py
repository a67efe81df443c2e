"""The trainer for every model with a loss per batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from dlpipe.compute import Compute
from dlpipe.config.settings import Budget
from dlpipe.data.batches import Batches, EndlessBatches
from dlpipe.data.model_caller import columns_needed
from dlpipe.data.targets import count_targets
from dlpipe.errors import InputError
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
from dlpipe.training.averaging import WeightAverage
from dlpipe.training.gradients import GradientAverage
from dlpipe.training.losses import BatchLoss, has_own_loss
from dlpipe.training.optimizers import build_optimizer
from dlpipe.training.schedule import LearningRateSchedule


class Supervised:
    """Minimise a loss over the batches of the training split, once per epoch each.

    The loss of a step is the mean over all its targets, also when gradients are accumulated:
    ``batch_size = 8, gradient_accumulation_steps = 4`` takes the same step as ``batch_size = 32``, and so do several
    processes that share the batches of 32.

    Args:
        batch_size: examples per batch; "full" for all of them.
        optimizer: an optimizer of torch or of a plugin by name, with its own parameters.
        schedule: a learning rate schedule of torch or of a plugin by name; it counts steps, and
            lengths that are not given are those of the run.
        warmup_steps: steps over which the learning rate first grows linearly from near 0.
        loss: "auto" (the model's own loss if it has one, else cross-entropy), "cross_entropy", "mse", "l1",
            "binary_cross_entropy", or that of a plugin, by its name or as a table with its own parameters. For targets
            that are classes, "mse" compares the softmax of the scores with one-hot targets, as a mean over all classes
            (as Keras does).
        label_smoothing: share of the target's probability that is spread over all classes.
        max_grad_norm: clip the norm of all gradients together to this value.
        gradient_accumulation_steps: batches per step.
        ema_decay: keep an exponential moving average of the weights with this decay per step; the average
            is what is evaluated and saved as the model.
        bucket_by_length: put sequences of similar length into one batch.
        num_workers: processes that read data which does not fit into memory; "auto" is one less than there are cores,
            at most 8, for data that is decoded from files, and 0 for other data. No result depends on it.
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
        max_grad_norm: PositiveFloat | None = None,
        gradient_accumulation_steps: Positive = 1,
        ema_decay: OpenFraction | None = None,
        bucket_by_length: bool = True,
        num_workers: NonNegative | Literal["auto"] = "auto",
    ) -> None:
        if label_smoothing and loss == "auto" and has_own_loss(model):
            raise InputError(
                f"label_smoothing = {label_smoothing}: the loss of {type(model).__name__} does not support label "
                'smoothing; leave it out, or set loss = "cross_entropy"'
            )
        if "train" not in data.splits:
            raise InputError(f'the data has no split "train"; it has {", ".join(data.splits) or "none"}')
        batches = Batches(
            data.split("train"),
            batch_size,
            compute,
            seed=seed,
            columns=columns_needed(model),
            bucket=bucket_by_length,
            workers=num_workers,
            ranks=compute.ranks,
        )
        self._omitted = batches.omitted
        self._batches = EndlessBatches(batches, gradient_accumulation_steps)
        self.steps_per_epoch = self._batches.steps_per_epoch
        self._live, self._compute, self._step_number = model, compute, 0
        self._optimizer = build_optimizer(model.parameters(), optimizer)
        total = budget.total_steps(self.steps_per_epoch)
        self._schedule = LearningRateSchedule(self._optimizer, schedule, warmup_steps=warmup_steps, total_steps=total)
        self._average = WeightAverage(model, ema_decay) if ema_decay else None
        self._gradient_average = GradientAverage(model.parameters(), compute.ranks) if compute.ranks.size > 1 else None
        self._max_grad_norm = max_grad_norm
        self._loss_options = loss, label_smoothing
        self._loss: BatchLoss | None = None  # built from the columns of the first batch

    @property
    def model(self) -> nn.Module:
        """The model to evaluate: the average of the weights if there is one."""
        return self._average.module if self._average else self._live

    def steps(self) -> Iterator[dict[str, Tensor]]:
        """Update the weights once and yield ``loss``, and ``grad_norm`` if gradients are clipped."""
        for batches in self._batches:
            yield self._step(batches)

    def _step(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
        """Update the weights once."""
        if not self._live.training:  # the caller may have evaluated since
            self._live.train()
        if self._loss is None and (columns := tuple(next(filter(None, batches), ()))):
            self._loss = BatchLoss(self._live, columns, self._compute, *self._loss_options, omitted=self._omitted)
        if isinstance(self._optimizer, torch.optim.LBFGS):
            metrics = self._lbfgs_step(batches, self._loss)
        else:
            metrics = self._gradients(batches, self._loss)
            self._optimizer.step()
        self._schedule.step()
        if self._average:
            self._average.update()
        self._step_number += 1
        return metrics

    def _gradients(self, batches: Sequence[Batch], loss_of: BatchLoss | None) -> dict[str, Tensor]:
        """Compute the gradients of a step, and clip them.

        With several processes, the loss is the one whose mean over them is the loss of the step.
        """
        self._optimizer.zero_grad(set_to_none=True)
        losses = []
        shares = _shares_of_targets(batches, self._compute)
        own = [(batch, share) for batch, share in zip(batches, shares, strict=True) if batch]
        for number, (batch, share) in enumerate(own, start=1):
            assert loss_of is not None
            loss = loss_of(batch, self._step_number)
            loss = loss if share is None else loss * share
            if self._gradient_average and number == len(own):
                self._gradient_average.begin()
            loss.backward()
            losses.append(loss.detach())
        if self._gradient_average:
            self._gradient_average.finish()
            self._compute.ranks.same_buffers(self._live)
        if not losses:  # this process has none of the examples
            losses = [torch.zeros((), device=self._compute.device)]
        metrics = {"loss": losses[0] if len(losses) == 1 else torch.stack(losses).sum()}
        if self._max_grad_norm is not None:
            metrics["grad_norm"] = nn.utils.clip_grad_norm_(self._live.parameters(), self._max_grad_norm)
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

    def state_dict(self) -> dict[str, Any]:
        """Return the step, optimizer, schedule, position in the data, and the live weights besides an average."""
        return {
            "step": self._step_number,
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "batches": self._batches.state_dict(),
            "average": self._average.state_dict() if self._average else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._step_number = state["step"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._batches.load_state_dict(state["batches"])
        if self._average:
            self._average.load_state_dict(state["average"])


def _shares_of_targets(batches: Sequence[Batch], compute: Compute) -> Sequence[Tensor | None]:
    """Return how much each batch of a step counts: its share of all targets (None for a single batch, which is all).

    With several processes, the shares of all of them are multiplied by their number, since their mean counts.
    """
    ranks = compute.ranks
    if len(batches) == 1 and ranks.size == 1:
        return [None]
    counts = torch.stack([count_targets(batch).to(compute.device) for batch in batches])
    return list(counts * ranks.size / ranks.total(counts.sum()))
