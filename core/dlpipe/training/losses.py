"""The loss of a batch: the model's own, one of a few by name, or that of a plugin."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.compute import Compute
from dlpipe.config.tables import target_of
from dlpipe.config.torch_names import LOSSES
from dlpipe.data.model_caller import ModelCaller, own_method
from dlpipe.data.targets import IGNORE_INDEX, count_targets, cross_entropies, cross_entropy, require_targets
from dlpipe.errors import InputError
from dlpipe.fields import PositiveFloat
from dlpipe.messages import nearest, shown
from dlpipe.protocols import Batch
from dlpipe.registry.targets import load_target

#: Maps outputs and targets to a scalar, the mean over everything that has a target.
LossFunction = Callable[[Any, Tensor], Tensor]
#: Losses between numbers: the mean over all of them.
ELEMENTWISE: dict[str, Callable[..., Tensor]] = {
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "huber": F.huber_loss,
    "binary_cross_entropy": F.binary_cross_entropy_with_logits,
}
#: What a message about outputs that do not fit the targets says at its end.
OWN_LOSS = 'for a model with a loss of its own, such as an auto-encoder, loss = "auto"'


def loss_function(
    loss: str | Mapping[str, Any],
    label_smoothing: float = 0.0,
    device: torch.device | None = None,
    class_weights: Tensor | None = None,
) -> LossFunction:
    """Return a loss by its name, or the one that a table selects; "auto" is cross-entropy here.

    Args:
        device: for a loss with tensors of its own, such as weights of classes.
        class_weights: (K,), for cross-entropy.

    Raises:
        InputError: there is no such loss; or that of a plugin refuses a value, or has parameters, which nothing would
            train.

    Except for cross-entropy and for "mse" of classes, which need a score for each class, it raises an `InputError`
    unless outputs and targets are numbers of the same shape.
    """
    if not isinstance(loss, str):
        return _from_table(loss, device)
    if loss in ("auto", "cross_entropy"):
        return lambda logits, targets: cross_entropy(logits, targets, label_smoothing, class_weights)
    if loss == "mse":
        return squared_error
    if loss not in ELEMENTWISE:
        raise InputError(
            f"loss = {shown(loss)}: expected one of {', '.join(map(shown, LOSSES))}.{nearest(loss, LOSSES)} An "
            "evaluator of the loss follows that of the trainer; set another one in its table"
        )
    return _elementwise(loss, ELEMENTWISE[loss])


class Huber:
    """Half the squared error up to `delta`, and a line of the same slope beyond it, so that outliers count less.

    Source: Huber 1964, "Robust Estimation of a Location Parameter", https://doi.org/10.1214/aoms/1177703732; as
    ``torch.nn.HuberLoss``.

    Args:
        delta: the error at which the parabola ends, in the units of the targets that the model gets.
    """

    def __init__(self, *, delta: PositiveFloat = 1.0) -> None:
        self._function = _elementwise("huber", partial(F.huber_loss, delta=delta))

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of outputs and targets of the same shape."""
        return self._function(outputs, targets)


def example_losses(loss: str | Mapping[str, Any], outputs: Any, targets: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the mean loss of each example (B,), NaN without targets, and the number of its targets (B,).

    None if the loss is known for batches only: that of a plugin, and "mse" of classes. The arguments are those that
    `loss_function` accepts.
    """
    name, options = (
        (loss, {}) if isinstance(loss, str) else (loss["use"], {k: v for k, v in loss.items() if k != "use"})
    )
    if name in ("auto", "cross_entropy"):
        return cross_entropies(outputs, targets)
    if name not in ELEMENTWISE or not targets.is_floating_point():
        return None
    each = ELEMENTWISE[name](outputs, targets, reduction="none", **options).double().reshape(len(targets), -1)
    return each.mean(1), torch.full((len(each),), each.size(1), device=each.device)


def _from_table(table: Mapping[str, Any], device: torch.device | None) -> LossFunction:
    options = {key: value for key, value in table.items() if key != "use"}
    target = load_target(target_of("loss", table))
    try:
        loss = target(**options)
    except (TypeError, ValueError) as error:
        raise InputError(f"loss {table['use']}: {error}") from error
    if not callable(loss):
        raise InputError(
            f"loss {table['use']} is {type(loss).__name__}; expected what maps outputs and targets to a loss"
        )
    if isinstance(loss, nn.Module):
        if names := [name for name, _ in loss.named_parameters()]:
            raise InputError(
                f"loss {table['use']} has the parameter {names[0]!r}, which nothing trains; make it a buffer"
            )
        loss = loss.to(device)
    return loss  # type: ignore[no-any-return]


def _elementwise(name: str, function: LossFunction) -> LossFunction:
    """Return a loss that refuses what torch would broadcast: 10 scores per example against one class each."""

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        _require_same_shape(name, outputs, targets)
        return function(outputs, targets)

    return loss


def _require_same_shape(name: str, outputs: Tensor, targets: Tensor) -> None:
    if outputs.shape != targets.shape or not targets.is_floating_point():
        kind = "are classes" if not targets.is_floating_point() else f"have shape {tuple(targets.shape)}"
        raise InputError(
            f'loss = "{name}": the outputs have shape {tuple(outputs.shape)}, but the targets {kind}; expected numbers '
            f'of the same shape. For classes use loss = "cross_entropy" or "mse"; {OWN_LOSS}'
        )


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared error; for targets that are classes (…), of softmax (…, K) against one-hot targets.

    Of classes that are all ignored it is 0.

    Raises:
        InputError: the outputs are neither numbers of the shape of the targets, nor a score for each class.
    """
    if targets.is_floating_point():
        _require_same_shape("mse", outputs, targets)
        return F.mse_loss(outputs, targets)
    if outputs.shape[:-1] != targets.shape:  # torch would broadcast them
        shape = ", ".join(map(str, targets.shape))
        raise InputError(
            f'loss = "mse": the outputs have shape {tuple(outputs.shape)}, but the targets are classes of shape '
            f"{tuple(targets.shape)}; expected a score for each class, ({shape}, K). If they are no scores, use "
            f"another loss; {OWN_LOSS}"
        )
    one_hot = F.one_hot(targets.clamp(min=0), outputs.size(-1)).to(outputs.dtype)
    errors = (outputs.softmax(-1) - one_hot).square().mean(-1)
    known = targets != IGNORE_INDEX
    return (errors * known).sum() / known.sum().clamp(min=1)


class BatchLoss:
    """The loss of a model on a batch.

    Args:
        columns: names of the columns that every batch has.
        omitted: names of other columns of the data, for messages.
        loss: by name, or a table that selects that of a plugin; "auto" is the model's own ``loss`` if it has one,
            else cross-entropy.
        label_smoothing: of cross-entropy, or of the model's own loss if it takes it.
        class_weights: (K,) of cross-entropy, or of the model's own loss if it takes them.

    Raises:
        InputError: the data lacks a column that the loss needs.
    """

    def __init__(
        self,
        model: nn.Module,
        columns: tuple[str, ...],
        compute: Compute,
        loss: str | Mapping[str, Any],
        label_smoothing: float,
        class_weights: Tensor | None = None,
        *,
        omitted: tuple[str, ...] = (),
    ) -> None:
        self._caller = ModelCaller(model, columns, omitted)
        self._is_checked = False
        self._compute, self._class_weights = compute, class_weights
        options: dict[str, Any] = {"label_smoothing": label_smoothing} if label_smoothing else {}
        if class_weights is not None:
            options["class_weights"] = class_weights
        self._own = self._caller.own_loss(**options) if loss == "auto" else None
        self._function = loss_function(loss, label_smoothing, compute.device, class_weights)
        self._name = (
            f"{type(model).__name__}.loss" if self._own else f"loss {loss if isinstance(loss, str) else loss['use']}"
        )
        if self._own is None:
            require_targets(columns, "the loss")

    def __call__(self, batch: Batch, step: int) -> Tensor:
        """Return the loss (a scalar) of a batch; `step` is the number of steps taken before this one."""
        with self._compute.autocast():
            outputs = self._caller.outputs(batch)
        # Outside of autocast: sums (those of a CRF, for example) are unstable in bfloat16.
        outputs = self._compute.in_float32(outputs)
        loss = self._function(outputs, batch["targets"]) if self._own is None else self._own(outputs, batch, step)
        if not self._is_checked:  # once: what a loss is does not change
            self._check(loss)
            self._is_checked = True
        return loss

    def count_terms(self, batch: Batch) -> Tensor:
        """Return how many terms the mean has that the loss of a batch is, a float32 scalar."""
        count = count_targets if self._own is None else self._caller.count_loss_terms
        return count(batch, self._class_weights)

    def _check(self, loss: Any) -> None:
        """Refuse what has no gradient or is not a number."""
        name = type(self._caller.model).__name__
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            found = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise InputError(f"{self._name} returns {found}; expected a tensor with one number")
        if torch.is_grad_enabled() and not loss.requires_grad:
            raise InputError(
                f"the loss of {name} does not depend on a parameter that can be trained; expected one with "
                "requires_grad, and a loss that is computed from the outputs without detach() or numpy"
            )


def require_option(model: nn.Module, loss: str | Mapping[str, Any], option: str, value: Any) -> None:
    """Refuse an option of `TRAINING_OPTIONS` if the loss is a model's own that does not take it."""
    own = own_method(model, "loss") if loss == "auto" else None
    if own is not None and option not in inspect.signature(own).parameters:
        raise InputError(
            f"{option} = {shown(value)}: the loss of {type(model).__name__} does not support it; leave it out, or set "
            'loss = "cross_entropy"'
        )
