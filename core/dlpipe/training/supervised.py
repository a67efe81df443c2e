"""The trainer for everything that is "batch in, loss out"."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dlpipe.compute import Compute
from dlpipe.data.batches import Batches, EndlessBatches
from dlpipe.data.model_caller import ModelCaller, columns_needed, own_method
from dlpipe.data.targets import IGNORE_INDEX, count_targets
from dlpipe.errors import InputError
from dlpipe.fields import Fraction, NonNegative, OpenFraction, OptimizerTable, Positive, PositiveFloat, ScheduleTable
from dlpipe.protocols import Batch, Data
from dlpipe.training.optimizers import after_evaluation, after_step, build_optimizer, build_schedule, schedule_state


class Supervised:
    """Minimise a loss over the batches of the training split, once per epoch each.

    The loss of a step is the mean over everything in it that has a target, also when gradients are
    accumulated: ``batch_size = 8, accumulate = 4`` takes the same step as ``batch_size = 32``.

    Args:
        batch_size: examples per step (and per part of it, with `accumulate`); "full" for all.
        optimizer: one of torch's by name, with its own parameters.
        schedule: of the learning rate, one of torch's by name; it counts steps, and what it needs
            to know of the length of the run is filled in.
        warmup_steps: steps over which the learning rate first grows from near 0.
        loss: "auto" is the model's own loss where it has one, else cross-entropy. Where the targets are
            classes, "mse" compares softmax of the scores with 1 for the right class and 0 for the others,
            as a mean over all classes (as Keras does).
        label_smoothing: share of the target's probability that is spread over all classes.
        max_grad_norm: clip the norm of all gradients together to this value.
        accumulate: batches whose gradients make one step.
        ema_decay: keep an exponential moving average of the weights with this decay per step; it is
            what is evaluated and saved as the model.
        bucket: put sequences of like length into one batch.
        workers: processes that read data which does not fit into memory.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        compute: Compute,
        seed: int,
        *,
        batch_size: Positive | Literal["full"] = 32,
        optimizer: OptimizerTable = {"use": "adam"},  # noqa: B006  read only
        schedule: ScheduleTable | None = None,
        warmup_steps: NonNegative = 0,
        loss: Literal["auto", "cross_entropy", "mse", "l1", "binary_cross_entropy"] = "auto",
        label_smoothing: Fraction = 0.0,
        max_grad_norm: PositiveFloat | None = None,
        accumulate: Positive = 1,
        ema_decay: OpenFraction | None = None,
        bucket: bool = True,
        workers: NonNegative = 0,
        epochs: Positive | None = None,
        steps: Positive | None = None,
    ) -> None:
        self._live = model
        batches = Batches(
            data.split("train"),
            batch_size,
            compute,
            seed=seed,
            columns=columns_needed(model),
            bucket=bucket,
            workers=workers,
        )
        self._batches = EndlessBatches(batches, accumulate)
        self.steps_per_epoch = self._batches.steps_per_epoch
        ends = [steps, epochs * self.steps_per_epoch if epochs and self.steps_per_epoch else None]
        total = min((end for end in ends if end is not None), default=None)
        self._optimizer = build_optimizer(model.parameters(), optimizer)
        self._schedule = build_schedule(self._optimizer, schedule, warmup_steps, total)
        self._average = (
            AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(ema_decay), use_buffers=True) if ema_decay else None
        )
        self._compute = compute
        self._max_grad_norm = max_grad_norm
        self._loss_name, self._label_smoothing = loss, label_smoothing
        self._loss: Callable[[Batch], Tensor] | None = None  # made when the first batch tells its columns
        own = own_method(model, "loss") is not None and loss == "auto"
        if label_smoothing and (own or loss not in ("auto", "cross_entropy")):
            whose = f"{type(model).__name__} has a loss of its own" if own else f'the loss is "{loss}"'
            raise InputError(
                f"[trainer] label_smoothing = {label_smoothing}: {whose}, which knows no smoothing; "
                'leave it out, or set loss = "cross_entropy"'
            )

    @property
    def model(self) -> nn.Module:
        """The model to evaluate: the average of the weights where there is one."""
        return self._average.module if self._average else self._live

    def steps(self) -> Iterator[dict[str, Tensor]]:
        """Update the weights once and yield ``loss``, and ``grad_norm`` where gradients are clipped."""
        for parts in self._batches:
            yield self._step(parts)

    def log_values(self) -> dict[str, float]:
        """Return the learning rate."""
        return {"lr": float(self._optimizer.param_groups[0]["lr"])}

    def on_score(self, score: float) -> None:
        """Tell a schedule that waits for plateaus; it expects a score that falls."""
        after_evaluation(self._schedule, score)

    def state_dict(self) -> dict[str, Any]:
        """Return optimizer, schedule, place in the data, and the live weights beside an average."""
        state: dict[str, Any] = {
            "optimizer": self._optimizer.state_dict(),
            **self._batches.state_dict(),
        }
        if self._schedule:
            state["schedule"] = schedule_state(self._schedule)
        if self._average:
            state["live"] = self._live.state_dict()
            state["averaged"] = self._average.n_averaged
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state; see `state_dict`."""
        self._optimizer.load_state_dict(state["optimizer"])
        self._batches.load_state_dict(state)
        if self._schedule:
            self._schedule.load_state_dict(state["schedule"])
        if self._average:
            self._live.load_state_dict(state["live"])
            self._average.n_averaged.copy_(state["averaged"])

    def _step(self, parts: list[Batch]) -> dict[str, Tensor]:
        model, optimizer = self._live, self._optimizer
        if not model.training:  # the caller may have evaluated since
            model.train()
        if isinstance(optimizer, torch.optim.LBFGS):  # asks for the loss several times a step
            first: list[dict[str, Tensor]] = []

            def closure() -> Tensor:
                first.append(self._backward(parts))
                return first[-1]["loss"]

            optimizer.step(closure)
            metrics = first[0]
        else:
            metrics = self._backward(parts)
            optimizer.step()
        after_step(self._schedule)
        if self._average:
            self._average.update_parameters(model)
        return metrics

    def _backward(self, parts: list[Batch]) -> dict[str, Tensor]:
        """Compute the gradients of a step."""
        loss_of = self._loss or self._choose_loss(parts[0])
        self._optimizer.zero_grad(set_to_none=True)
        if len(parts) == 1:
            loss = loss_of(parts[0])
            loss.backward()
            loss = loss.detach()
        else:
            loss = self._accumulated(loss_of, parts)
        if self._max_grad_norm is None:
            return {"loss": loss}
        norm = nn.utils.clip_grad_norm_(self._live.parameters(), self._max_grad_norm)
        return {"loss": loss, "grad_norm": norm}

    def _accumulated(self, loss_of: Callable[[Batch], Tensor], parts: list[Batch]) -> Tensor:
        # A part counts by its number of targets; equal parts would not be one large batch.
        counts = torch.stack([count_targets(part) for part in parts])
        losses = []
        for part, weight in zip(parts, counts / counts.sum(), strict=True):
            loss = loss_of(part) * weight
            loss.backward()
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def _choose_loss(self, batch: Batch) -> Callable[[Batch], Tensor]:
        caller = ModelCaller(self._live, tuple(batch))
        own = caller.own_loss() if self._loss_name == "auto" else None
        autocast = self._compute.autocast
        if own is not None:

            def loss_of(batch: Batch) -> Tensor:
                with autocast():
                    outputs = caller.outputs(batch)
                # Outside: what a model does in its own loss (the sums of a CRF, say) may not bear bfloat16.
                return own(outputs, batch)

        else:
            if "targets" not in batch:
                raise InputError(f"the data has no column 'targets' to learn (it has {', '.join(batch)})")
            measure = self._measure()

            def loss_of(batch: Batch) -> Tensor:
                with autocast():
                    return measure(caller.outputs(batch), batch["targets"])

        self._loss = loss_of
        return loss_of

    def _measure(self) -> Callable[[Tensor, Tensor], Tensor]:
        if self._loss_name in ("auto", "cross_entropy"):
            smoothing = self._label_smoothing

            def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
                flat = logits if logits.dim() == 2 else logits.flatten(0, -2)
                return F.cross_entropy(flat, targets.view(-1), ignore_index=IGNORE_INDEX, label_smoothing=smoothing)

            return cross_entropy
        measures: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            "mse": squared_error,
            "l1": F.l1_loss,
            "binary_cross_entropy": F.binary_cross_entropy_with_logits,
        }
        return measures[self._loss_name]


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared error; of targets that are classes (…), outputs (…, K) being their scores."""
    if targets.is_floating_point():
        return F.mse_loss(outputs, targets)
    wanted = F.one_hot(targets.clamp(min=0), outputs.size(-1)).to(outputs.dtype)
    errors = (outputs.softmax(-1) - wanted).square().mean(-1)
    known = targets != IGNORE_INDEX
    return (errors * known).sum() / known.sum()
