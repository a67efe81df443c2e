"""Changes to a pipeline, each as a list with it or, where the pipeline has it already, an empty list.

They use the names that components of dlpipe share; what a component does not take is left out later.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from dlpipe.coach.case import Case, Remedy

#: No larger rate is advised.
LARGEST_RATE = 1.0
#: How far weights should move, as a share of their size, in a training in which they have hardly moved.
USUAL_MOVE = 0.1


def lower_rate(case: Case) -> list[Remedy]:
    """Take a tenth of the learning rate."""
    return _with_rate(case, "a tenth of the rate", 0.1)


def higher_rate(case: Case) -> list[Remedy]:
    """Take ten times the learning rate."""
    return _with_rate(case, "ten times the rate", 10.0)


def rate_that_moves(case: Case) -> list[Remedy]:
    """Take a rate with which as many steps move the weights as far as usual."""
    if not case.moved:
        return []
    return _with_rate(case, "a larger rate", 10.0 ** max(1, round(math.log10(USUAL_MOVE / case.moved))))


def clipped(case: Case) -> list[Remedy]:
    """Limit the gradients."""
    has = bool(case.value("trainer.max_grad_norm"))
    return [] if has else [Remedy("clipped gradients", {"trainer.max_grad_norm": 1.0})]


def adam(case: Case) -> list[Remedy]:
    """Take Adam, which has a rate for each weight, instead of plain gradient descent."""
    if case.optimizer != "sgd" or case.schedule.get("max_lr"):  # which is the rate of another optimizer
        return []
    return [Remedy("Adam", {"trainer.optimizer": {"use": "adam", "lr": 1e-3}})]


def falling_rate(case: Case) -> list[Remedy]:
    """Let the learning rate fall to 0 until the end."""
    return [] if case.schedule else [Remedy("a falling rate", {"trainer.schedule": {"use": "cosine_annealing"}})]


def longer(case: Case) -> list[Remedy]:
    """Take three times the steps."""
    options = case.stage.options
    values = {"epochs": options.epochs, "steps": options.steps, "minutes": options.minutes}
    values["timesteps"] = case.value("trainer.timesteps")  # of an agent
    longer = {f"trainer.{key}": _short(3 * value) for key, value in values.items() if value}
    return [Remedy("three times as long", longer)] if longer else []


def relu(case: Case) -> list[Remedy]:
    """Take rectified units."""
    return _set(case, "ReLU", "model.activation", "relu")


def leaky_relu(case: Case) -> list[Remedy]:
    """Take units that are like rectified ones, but never silent."""
    return _set(case, "leaky ReLU", "model.activation", "leaky_relu")


def he_weights(case: Case) -> list[Remedy]:
    """Take initial weights for rectified units."""
    return _set(case, "initial weights of He", "model.init", "he_normal")


def batch_normalization(case: Case) -> list[Remedy]:
    """Normalize units over the batch."""
    return [] if _starts(case) else _set(case, "batch normalization", "model.norm", "batch")


def scaled_inputs(case: Case) -> list[Remedy]:
    """Scale inputs, of images or of tables, to mean 0 and standard deviation 1."""
    return [
        *_set(case, "standardized images", "data.normalize", "standardize"),
        *_set(case, "standardized numbers", "data.scale", "standard"),
    ]


def larger(case: Case) -> list[Remedy]:
    """Take a model with twice the units."""
    return _with_units(case, "twice the units", lambda units: 2 * units)


def smaller(case: Case) -> list[Remedy]:
    """Take a model with half the units."""
    return _with_units(case, "half the units", lambda units: max(1, units // 2))


def dropout(case: Case) -> list[Remedy]:
    """Drop half of the units."""
    now = case.value("model.dropout")
    return [] if now is None or now >= 0.5 else [Remedy("dropout", {"model.dropout": 0.5})]


def less_regularization(case: Case) -> list[Remedy]:
    """Drop fewer units, and let the weights not decay."""
    dropout, decay = case.value("model.dropout"), case.optimizer_table.get("weight_decay")
    found = [Remedy("less dropout", {"model.dropout": _short(dropout / 3)})] if dropout else []
    return [*found, *([Remedy("no weight decay", {"trainer.optimizer.weight_decay": 0.0})] if decay else [])]


def weight_decay(case: Case) -> list[Remedy]:
    """Let the weights decay, or more than they do."""
    table, now = case.optimizer_table, case.optimizer_table.get("weight_decay") or 0.0
    if case.optimizer == "adam" and "lr" in table:  # of which weight decay is none, but a part of the gradient
        same = {key: table[key] for key in ("lr", "betas", "eps") if key in table}
        return [Remedy("weight decay", {"trainer.optimizer": {"use": "adamw", **same, "weight_decay": 0.1}})]
    first = {"sgd": 1e-3, "adamw": 0.1}.get(case.optimizer)
    if first is None:
        return []
    return [Remedy("weight decay", {"trainer.optimizer.weight_decay": _short(max(first, 10 * now))})]


def early_stopping(case: Case) -> list[Remedy]:
    """Stop if the score on dev does not get better for a fifth of the training."""
    patience = max(3, len(case.curves.dev.points) // 5)
    if case.stage.options.patience or patience >= case.evaluations_after_best:
        return []
    return [Remedy("early stopping", {"trainer.patience": patience})]


def small_batches(case: Case) -> list[Remedy]:
    """Take batches of 32 examples."""
    return _set(case, "batches of 32", "trainer.batch_size", 32)


def cross_entropy(case: Case) -> list[Remedy]:
    """Take the loss for classes."""
    return _set(case, "cross-entropy", "trainer.loss", "cross_entropy")


def balanced_classes(case: Case) -> list[Remedy]:
    """Let all classes count the same, in one of two ways."""
    if case.value("trainer.class_weights") or case.value("trainer.sampling") != "uniform":
        return []
    return [
        Remedy("balanced weights", {"trainer.class_weights": "balanced"}),
        Remedy("balanced sampling", {"trainer.sampling": "balanced"}),
    ]


def _set(case: Case, name: str, path: str, value: Any) -> list[Remedy]:
    return [] if case.value(path) == value else [Remedy(name, {path: value})]


def _with_rate(case: Case, name: str, factor: float) -> list[Remedy]:
    """Change the learning rate: that of the optimizer, or the largest one of a schedule that begins elsewhere."""
    tables: Mapping[str, tuple[Mapping[str, Any], str]] = {
        "trainer.schedule.max_lr": (case.schedule, "max_lr"),
        "trainer.optimizer.lr": (case.optimizer_table, "lr"),
    }
    for path, (table, key) in tables.items():
        now = table.get(key)
        if isinstance(now, (int, float)):
            rate = _short(min(now * factor, max(LARGEST_RATE, now)))
            return [] if rate == now else [Remedy(name, {path: rate})]
    return []


def _with_units(case: Case, name: str, change: Callable[[int], int]) -> list[Remedy]:
    """Change the sizes of a model, unless it starts from weights, which would not fit."""
    single, several = case.value("model.hidden_dim"), case.value("model.hidden")
    if _starts(case):
        return []
    if isinstance(single, int):
        return [Remedy(name, {"model.hidden_dim": change(single)})]
    return [Remedy(name, {"model.hidden": [change(units) for units in several]})] if several else []


def _starts(case: Case) -> bool:
    """Return whether a model starts from trained weights."""
    return bool(case.stage.model and "start" in case.stage.model.references)


def _short(value: float) -> Any:
    """Return a number without errors of rounding, a whole one as it is."""
    return value if isinstance(value, int) else float(f"{value:.3g}")
