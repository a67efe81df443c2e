"""Changes to a pipeline, each as a list with it or, where the pipeline has it already, an empty list.

They use the names that components of dlpipe share; what a component does not take is left out later.
"""

from __future__ import annotations

import math
from typing import Any

from dlpipe.coach.case import Case, Remedy

RATE = "trainer.optimizer.lr"
#: No larger rate is advised.
LARGEST_RATE = 1.0


def _set(case: Case, name: str, path: str, value: Any, *, unless: bool = False) -> list[Remedy]:
    return [] if unless or case.value(path) == value else [Remedy(name, {path: value})]


def lower_rate(case: Case) -> list[Remedy]:
    """Take a tenth of the learning rate."""
    return [Remedy("a tenth of the rate", {RATE: float(f"{case.rate / 10:.3g}")})] if case.rate else []


def higher_rate(case: Case) -> list[Remedy]:
    """Take ten times the learning rate."""
    return [Remedy("ten times the rate", {RATE: float(f"{case.rate * 10:.3g}")})] if case.rate else []


def rate_that_moves(case: Case, moved: float) -> list[Remedy]:
    """Take a rate with which as many steps move the weights by about a tenth of their size.

    Args:
        moved: how far they have moved, as a share of it.
    """
    if not case.rate or not moved:
        return []
    rate = min(case.rate * 10 ** round(math.log10(0.1 / moved)), LARGEST_RATE)
    return [Remedy("a larger rate", {RATE: float(f"{rate:.3g}")})] if rate > case.rate else []


def clipped(case: Case) -> list[Remedy]:
    """Limit the gradients."""
    return _set(
        case, "clipped gradients", "trainer.max_grad_norm", 1.0, unless=bool(case.value("trainer.max_grad_norm"))
    )


def adam(case: Case) -> list[Remedy]:
    """Take Adam, which has a rate for each weight, instead of plain gradient descent."""
    return _set(case, "Adam", "trainer.optimizer", {"use": "adam", "lr": 1e-3}, unless=case.optimizer != "sgd")


def falling_rate(case: Case) -> list[Remedy]:
    """Let the learning rate fall to 0 until the end."""
    return _set(
        case,
        "a falling rate",
        "trainer.schedule",
        {"use": "cosine_annealing"},
        unless=bool(case.value("trainer.schedule")),
    )


def longer(case: Case) -> list[Remedy]:
    """Take three times the steps."""
    options = case.stage.options
    values = {"epochs": options.epochs, "steps": options.steps, "minutes": options.minutes}
    values["timesteps"] = case.value("trainer.timesteps")  # of an agent
    longer = {f"trainer.{key}": 3 * value for key, value in values.items() if value}
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
    return _set(case, "batch normalization", "model.norm", "batch")


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


def weight_decay(case: Case) -> list[Remedy]:
    """Let the weights decay."""
    if case.optimizer == "adam":
        return [Remedy("weight decay", {"trainer.optimizer": {"use": "adamw", "lr": case.rate, "weight_decay": 0.1}})]
    return [Remedy("weight decay", {"trainer.optimizer.weight_decay": 1e-3})] if case.optimizer == "sgd" else []


def augmentation(case: Case) -> list[Remedy]:
    """Shift the images by a pixel."""
    return _set(case, "shifted images", "data.augment", {"shift": 1}, unless=bool(case.value("data.augment")))


def early_stopping(case: Case) -> list[Remedy]:
    """Stop if the score on dev does not get better for a fifth of the training."""
    patience = max(3, len(case.curves.dev.points) // 5)
    return [] if case.stage.options.patience else [Remedy("early stopping", {"trainer.patience": patience})]


def small_batches(case: Case) -> list[Remedy]:
    """Take batches of 32 examples."""
    return _set(case, "batches of 32", "trainer.batch_size", 32)


def cross_entropy(case: Case) -> list[Remedy]:
    """Take the loss for classes."""
    return _set(case, "cross-entropy", "trainer.loss", "cross_entropy")


def balanced_classes(case: Case) -> list[Remedy]:
    """Let all classes count the same."""
    return [
        *_set(case, "balanced weights", "trainer.class_weights", "balanced"),
        *_set(case, "balanced sampling", "trainer.sampling", "balanced"),
    ]


def _with_units(case: Case, name: str, change: Any) -> list[Remedy]:
    single, several = case.value("model.hidden_dim"), case.value("model.hidden")
    if isinstance(single, int):
        return [Remedy(name, {"model.hidden_dim": change(single)})]
    return [Remedy(name, {"model.hidden": [change(units) for units in several]})] if several else []
