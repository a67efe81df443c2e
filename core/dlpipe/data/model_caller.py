"""Calling a model with the columns of a batch that it names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from dlpipe.data.targets import count_targets
from dlpipe.errors import InputError
from dlpipe.protocols import Batch

#: The optional methods of a model; their parameters are columns of the data.
MODEL_METHODS = ("loss", "count_loss_terms", "predict", "probabilities", "fit")
#: The parameter of a model's ``loss`` that is not a column: the number of steps taken so far.
STEP = "step"
#: The parameter of a model's ``fit`` that is not a column: the seed of the run.
SEED = "seed"
#: Parameters of a model's ``loss`` with a default that are no columns either: what the trainer adds to it.
TRAINING_OPTIONS = ("label_smoothing", "class_weights")
#: Names that a column must not have, and what a model or an evaluator gets under them.
RESERVED = {
    "rows": "the numbers of the examples in their split",
    STEP: "the number of steps taken so far",
    SEED: "the seed of the run",
    **dict.fromkeys(TRAINING_OPTIONS, "an option of the trainer"),
}
#: A model's own loss, of its outputs, a batch, and the number of steps taken so far (None outside of training).
OwnLoss = Callable[[Any, Batch, int | None], Tensor]


def column_names(function: Callable[..., Any], *, skip: int = 0) -> tuple[list[str], list[str]]:
    """Return the names of (required, optional) parameters of `function`, without the first `skip`."""
    parameters = [
        parameter
        for parameter in list(inspect.signature(function).parameters.values())[skip:]
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    required = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
    return required, [parameter.name for parameter in parameters if parameter.default is not parameter.empty]


def takes_all_columns(function: Callable[..., Any]) -> bool:
    """Return whether ``function(**columns)`` takes all columns of a batch, whatever their names."""
    parameters = inspect.signature(function).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def own_method(model: nn.Module, name: str) -> Callable[..., Any] | None:
    """Return a method of a model, or None.

    A static method and a function stored as an attribute are methods too; a layer (``self.decode = nn.Linear(…)``) is
    not.
    """
    method = getattr(model, name, None)
    return method if callable(method) and not isinstance(method, nn.Module) else None


def reserved_name(columns: Iterable[str]) -> str:
    """Return which column has a name of `RESERVED`, and what to do; an empty string if none has."""
    taken = next((name for name in columns if name in RESERVED), None)
    return "" if taken is None else f"the name of column {taken!r} is reserved for {RESERVED[taken]}; rename it"


class ModelCaller:
    """Calls ``forward``, ``loss``, ``predict`` and the like of one model; their parameter names are looked up once.

    Args:
        columns: names of the columns that batches will have.
        omitted: names of other columns of the data, for messages.

    Raises:
        InputError: the model needs a column that the data does not have.
    """

    def __init__(self, model: nn.Module, columns: tuple[str, ...], omitted: tuple[str, ...] = ()) -> None:
        self.model = model
        self._columns, self._known = columns, ", ".join([*columns, *omitted])
        self._forward = self._names("forward", 0)
        self._predict = self._names("predict", 1) if own_method(model, "predict") else None
        self._probabilities = self._names("probabilities", 1) if own_method(model, "probabilities") else None
        self._loss_terms = self._names("count_loss_terms", 0) if own_method(model, "count_loss_terms") else None

    def outputs(self, batch: Batch) -> Any:
        """Run the model."""
        return self.model(**self.inputs(batch))

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return the columns that ``forward`` takes."""
        return {name: batch[name] for name in self._forward}

    def predictions(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the model's predictions: those of its own ``predict``, else the class with the highest score.

        Raises:
            InputError: there are none, or not one for each example.
        """
        name = type(self.model).__name__
        if self._predict is not None:
            predicted = self.model.predict(outputs, **{name: batch[name] for name in self._predict})  # type: ignore[operator]
        elif isinstance(outputs, Tensor):
            predicted = outputs.argmax(-1)
        else:
            raise InputError(
                f"{name} returns {type(outputs).__name__}; expected a tensor of scores, or a method predict(outputs, …)"
            )
        examples = next(iter(batch.values())).shape[0]  # an export has no number for it
        if self._predict is None and predicted.shape[:1] != (examples,):
            raise InputError(
                f"{name} returns outputs of shape {tuple(outputs.shape)} for {examples} examples, which are no scores "
                "of classes, and has no predict(); expected a method predict(outputs, …), or scores for each example"
            )
        if not isinstance(predicted, Tensor) or predicted.shape[:1] != (examples,):
            found = f"shape {tuple(predicted.shape)}" if isinstance(predicted, Tensor) else type(predicted).__name__
            raise InputError(
                f"{name}.predict returns {found} for {examples} examples; expected a tensor with a prediction for each"
            )
        return predicted

    def probabilities(self, outputs: Any, predictions: Tensor, batch: Batch) -> Tensor | None:
        """Return the probabilities of the K classes for predictions (B, …), as float64 (B, …, K).

        They are those of the model's own ``probabilities``, which may be None, else the softmax of its outputs. A model
        that has a ``predict`` of its own but no ``probabilities`` has none: its outputs need not be logits of what it
        predicts.

        Raises:
            InputError: there are not some for each prediction.
        """
        if self._probabilities is None:
            return softmax_of(outputs) if self._predict is None else None
        given = {name: batch[name] for name in self._probabilities}
        found = self.model.probabilities(outputs, **given)  # type: ignore[operator]
        if found is None:
            return None
        if not isinstance(found, Tensor) or found.shape[:-1] != predictions.shape:
            shown = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise InputError(
                f"{type(self.model).__name__}.probabilities returns {shown} for predictions of shape "
                f"{tuple(predictions.shape)}; expected the probability of each class for each of them"
            )
        return found.double()

    def own_loss(self, **options: Any) -> OwnLoss | None:
        """Return the model's own ``loss``, or None.

        Args:
            options: those of `TRAINING_OPTIONS` that its ``loss`` gets.
        """
        loss = own_method(self.model, "loss")
        if loss is None:
            return None
        names = self._names("loss", 1)
        if options:
            loss = partial(loss, **options)
        if not any(STEP in part for part in column_names(loss, skip=1)):
            return lambda outputs, batch, step: loss(outputs, **{name: batch[name] for name in names})
        return lambda outputs, batch, step: loss(outputs, **{name: batch[name] for name in names}, step=step)

    def count_loss_terms(self, batch: Batch, class_weights: Tensor | None = None) -> Tensor:
        """Return the number of terms in the mean that the model's own ``loss`` is for a batch, a float32 scalar.

        It is what its ``count_loss_terms`` returns, else `count_targets`.

        Args:
            class_weights: (K,), those that its ``loss`` gets.
        """
        if self._loss_terms is None or not batch:
            return count_targets(batch, class_weights)
        given = {name: batch[name] for name in self._loss_terms}
        count = cast("Callable[..., Tensor | float]", self.model.count_loss_terms)
        if class_weights is not None and "class_weights" in column_names(count)[1]:
            given["class_weights"] = class_weights
        return torch.as_tensor(count(**given), dtype=torch.float32)

    def fit(self, batch: Batch, seed: int) -> Mapping[str, float]:
        """Fit the model to a batch of all examples, and return its metrics."""
        fit = own_method(self.model, "fit")
        assert fit is not None
        seeds = {SEED: seed} if any(SEED in part for part in column_names(fit)) else {}
        return fit(**{name: batch[name] for name in self._names("fit", 0)}, **seeds) or {}

    def _names(self, method: str, skip: int) -> list[str]:
        """Return the columns that a method takes, after its first `skip` parameters."""
        function, name = getattr(self.model, method), f"{type(self.model).__name__}.{method}"
        required, optional = column_names(function, skip=skip)
        if missing := [column for column in required if column not in (*self._columns, STEP, SEED)]:
            raise InputError(
                f"{name} needs the column {missing[0]!r}, but the data has {self._known}; choose a data and a model "
                "that fit together"
            )
        if takes_all_columns(function):
            return list(self._columns)
        for parameter in list(inspect.signature(function).parameters.values())[skip:]:
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
                raise InputError(
                    f"{name} takes {parameter} by position, but the columns of a batch are passed by name; expected "
                    f"the names of columns ({self._known}), or **columns for all of them"
                )
        return [column for column in required + optional if column in self._columns]


def softmax_of(outputs: Any) -> Tensor | None:
    """Return the softmax of logits (…, K), as float64; None of other outputs."""
    return outputs.double().softmax(-1) if isinstance(outputs, Tensor) and outputs.is_floating_point() else None


def tensors_in(outputs: Any) -> Iterator[Tensor]:
    """Yield the tensors in what a module returned: a tensor, or lists and dicts of them."""
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, (list, tuple, dict)):
        for part in outputs.values() if isinstance(outputs, dict) else outputs:
            yield from tensors_in(part)


def outputs_of_example(outputs: Any, row: int, count: int) -> Any:
    """Return what a module returned for one of `count` examples, on the CPU: the row of each tensor, in its place.

    Raises:
        InputError: a part is neither None nor a tensor with a row for each example.
    """

    def part_of(part: Any) -> Any:
        if part is None:
            return None
        if not isinstance(part, Tensor) or part.shape[:1] != (count,):
            found = f"a tensor of shape {tuple(part.shape)}" if isinstance(part, Tensor) else type(part).__name__
            raise InputError(
                f"the outputs of the model have {found} for {count} examples; expected tensors whose first axis runs "
                "over the examples, or lists and dicts of them"
            )
        return (part[row].float() if part.is_floating_point() else part[row]).cpu()

    return tree_map(part_of, outputs)


def columns_needed(model: nn.Module) -> set[str]:
    """Return the names of all columns that a model may ask for, and the targets; an empty set if it takes any."""
    functions = [method for name in ("forward", *MODEL_METHODS) if (method := own_method(model, name))]
    if any(map(takes_all_columns, functions)):
        return set()
    return {"targets"}.union(*(names for function in functions for names in column_names(function))) - {
        STEP,
        SEED,
        *TRAINING_OPTIONS,
    }
