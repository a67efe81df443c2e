"""What is to be predicted: the class of a row, or one or several numbers.

Axes: N rows, K classes, T targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from dlpipe.errors import DataError, InputError
from dlpipe.messages import nearest, shown
from dlpipe.tabular.cells import categories_of, has_texts_only, numbers_of, refuse_decimal_commas, require_usable
from dlpipe.tabular.features import scaling
from dlpipe.tabular.reading import RawTable, listed

Task = Literal["classification", "regression"]


@dataclass(frozen=True)
class Target:
    """What was learned of the targets from the training split.

    Args:
        task: what they are.
        names: (T,) of their columns; one for classes.
        labels: (K,) the classes; empty for numbers.
        mean: (T,) what is subtracted from each number; empty for classes.
        scale: (T,) what they are divided by then; empty for classes.
    """

    task: Task
    names: Sequence[str]
    labels: Sequence[str] = ()
    mean: Sequence[float] = ()
    scale: Sequence[float] = ()

    @classmethod
    def learn(cls, table: RawTable, names: Sequence[str], task: Task, scales: bool) -> Target:
        """Learn it from the training split.

        Args:
            scales: whether numbers are scaled to mean 0 and standard deviation 1.

        Raises:
            DataError: a target is missing or the same in all rows, or not a number in regression.
        """
        _refuse_missing(table, names, "train")
        if task == "classification":
            labels = sorted({str(label) for label in categories_of(table.frame[names[0]])}, key=_order)
            if len(labels) < 2:
                raise DataError(
                    f"{table.source}: all {len(table):,} rows of train have the class {listed(labels)} in "
                    f"{shown(names[0])}; expected at least two classes. Check target, or add rows"
                )
            return cls(task, list(names), labels)
        found = [numbers_of(table, name).to_numpy() for name in names]
        for name, values in zip(names, found, strict=True):
            if values.min() == values.max():
                raise DataError(
                    f"{table.source}: the target {shown(name)} is {values[0]:g} in all {len(table):,} rows of train; "
                    "expected different numbers. Check target, or add rows"
                )
        learned = [scaling(values, "standard" if scales else "none") for values in found]
        return cls(task, list(names), [], [mean for mean, _ in learned], [scale for _, scale in learned])

    def encode(self, table: RawTable, split: str) -> Tensor:
        """Return classes (N,), or scaled numbers (N,) or, of several targets, (N, T).

        Raises:
            DataError: a target is missing, is a class that train does not have, or no number.
        """
        table.require(self.names, "target")
        _refuse_missing(table, self.names, split)
        if self.task == "regression":
            columns = [
                (numbers_of(table, name).to_numpy() - mean) / scale
                for name, mean, scale in zip(self.names, self.mean, self.scale, strict=True)
            ]
            return torch.from_numpy(np.stack(columns, axis=1) if len(columns) > 1 else columns[0]).float()
        numbers = {label: number for number, label in enumerate(self.labels)}
        found = [str(label) for label in categories_of(table.frame[self.names[0]])]
        if wrong := [row for row, label in enumerate(found) if label not in numbers]:
            raise DataError(
                f"{table.place(wrong[0])}: the class {shown(found[wrong[0]])} never occurs in train, as in "
                f"{len(wrong):,} rows of {split}; there are {listed(self.labels)}."
                f"{nearest(found[wrong[0]], self.labels)} Correct it, or add such rows to train"
            )
        return torch.tensor([numbers[label] for label in found])

    def decode(self, prediction: Tensor) -> dict[str, float]:
        """Return numbers, scaled as a model gives them, () or (T,), in the units of their columns, to six digits."""
        values = prediction.double().reshape(-1).tolist()
        scaled = zip(self.names, values, self.mean, self.scale, strict=True)
        return {name: float(f"{value * scale + mean:.6g}") for name, value, mean, scale in scaled}

    def facts(self) -> dict[str, Any]:
        """Return the facts about the targets; see `dlpipe.tabular.table.Table`."""
        return {
            "labels": list(self.labels),
            "num_classes": len(self.labels),
            "num_targets": len(self.mean),
            "target_names": list(self.names),
            "target_mean": list(self.mean),
            "target_scale": list(self.scale),
        }

    def state(self) -> dict[str, Any]:
        """Return all of it, JSON-serializable."""
        return asdict(self)


def task_of(table: RawTable, names: Sequence[str], task: Task | None) -> Task:
    """Return what targets are: texts and truth values are classes, numbers with decimals are numbers.

    Raises:
        InputError: they do not tell, or are not what `task` says.
    """
    for name in names:
        require_usable(table, name)
        if task != "classification":
            refuse_decimal_commas(table, name, 'set task = "classification"')
    texts = [name for name in names if has_texts_only(table, name)]
    if task == "classification" or (task is None and len(names) == 1 and texts):
        if len(names) > 1:
            raise InputError(
                f'task = "classification": target names {len(names)} columns, {listed(names)}; expected one'
            )
        if not texts and not (numbers := numbers_of(table, names[0])).equals(numbers.round()):
            raise InputError(
                f'task = "classification": the target {shown(names[0])} has numbers with decimals; expected classes. '
                'Set task = "regression", or target to another column'
            )
        return "classification"
    if texts:
        raise InputError(
            f"the target {shown(texts[0])} has {shown(str(table.frame[texts[0]].drop_nulls()[0]))}, which is not a "
            'number; expected numbers for regression. Set target to another column, or task = "classification"'
        )
    if task is None and len(names) == 1 and _is_whole(table, names[0]):
        count = table.frame[names[0]].n_unique()
        raise InputError(
            f"the target {shown(names[0])} has {count:,} different whole numbers, which may be classes or quantities; "
            'set task = "classification" or task = "regression"'
        )
    return "regression"


def _is_whole(table: RawTable, name: str) -> bool:
    """Return whether a column has whole numbers only, in a file that does not say that they have decimals."""
    values = table.frame[name]
    if values.dtype.is_float():
        return False
    numbers = numbers_of(table, name)
    return bool((numbers == numbers.round()).all())


def _refuse_missing(table: RawTable, names: Sequence[str], split: str) -> None:
    for name in names:
        missing = table.frame[name].is_null()
        if missing.any():
            rows = missing.arg_true()
            raise DataError(
                f"{table.place(int(rows[0]))}: the target {shown(name)} has no value, as in {len(rows):,} of "
                f"{len(table):,} rows of {split}; expected one in each. Complete or delete the rows"
            )


def _order(label: str) -> tuple[bool, float, str]:
    """Return by what classes are sorted: numbers by size, then texts."""
    try:
        return False, float(label), label
    except ValueError:
        return True, 0.0, label
