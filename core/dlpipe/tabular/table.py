"""``core.table``: rows of numbers and categories, and what is to be predicted from them.

Axes: N rows, F numbers, D categories, K classes, T targets.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from dlpipe.data.class_answers import class_answer
from dlpipe.data.columns import Columns
from dlpipe.data.split_report import in_both
from dlpipe.data.targets import SAMPLE_WEIGHTS
from dlpipe.errors import DataError, InputError
from dlpipe.fields import NonNegative, NotWith, OnlyWith, Positive
from dlpipe.messages import shown
from dlpipe.registry.targets import load_target
from dlpipe.splits import SPLITS
from dlpipe.tabular.cells import categories_of, numbers_of
from dlpipe.tabular.features import Features, Missing, Preparation, Scale
from dlpipe.tabular.reading import SEPARATORS, SKLEARN, DecimalSign, FileReader, RawTable, SklearnTable, listed
from dlpipe.tabular.splitting import HeldOut, by_column
from dlpipe.tabular.targets import Target, Task, task_of

Share = Annotated[float, Field(gt=0, lt=1)]
Folds = Annotated[int, Field(ge=2)]
#: What stands for a missing value in most files.
MISSING_VALUES = ("", "NA", "N/A", "NaN", "nan", "null", "NULL")


class Table:
    """Rows of a table: numbers (N, F), categories (N, D), and as targets (N,) classes or numbers, or (N, T) numbers.

    A column of numbers is used as numbers, one of texts as categories; what is learned about them (means, scales, the
    categories) comes from train alone.

    Args:
        path: a .csv or .tsv file with the names of the columns on its first line, or a .parquet file, with all rows or
            those of train; or a table that comes with scikit-learn.
        dev: a file with the rows of dev.
        test: a file with the rows of test.
        target: the column to predict, or several of numbers; by default those of scikit-learn's table.
        task: whether the target is a class or a quantity; needed for whole numbers only.
        columns: the columns to predict from; all others by default.
        exclude: columns that are left out.
        categorical: columns whose numbers are categories.
        split: column that names the split of each row (train, dev, test).
        test_size: share of the rows that is held out as test if there is none, of each class the same; 0.15 by default.
        dev_size: share of the other rows that is held out as dev if there is none; 0.15 by default.
        fold: for cross-validation: which part of the rows is the test split, from 1 to `folds`.
        folds: number of parts.
        seed: seed of the random choice of folds and of what is held out.
        missing: what stands in for a missing number: the mean, the median or the most frequent one of train. A missing
            category is a category of its own, or the most frequent one. "error" refuses missing values.
        missing_indicator: for a column of numbers that has missing values in train, add a number that is 1 where it is
            missing, else 0.
        missing_values: what stands for a missing value in a file.
        scale: numbers get mean 0 and standard deviation 1, or the range 0 to 1, or stay as they are.
        sample_weights: column with a number of at least 0 for each row of train: how often it is drawn in training with
            ``sampling = "sample_weights"`` of core.supervised. It is not predicted from.
        scale_target: in regression, the model learns targets of mean 0 and standard deviation 1. Metrics and
            predictions are in the units of the target all the same.
        separator: between the fields of a text file; a comma in .csv, a tab in .tsv by default.
        encoding: of text files, such as "cp1252".
        decimal: how decimals are written in texts. With a comma, points may separate thousands, as in 1.234,5. Such
            numbers are in quotation marks where commas separate fields, too.
    """

    splits = SPLITS
    text_items = True

    def __init__(
        self,
        *,
        path: SklearnTable | Path = "sklearn:iris",
        dev: Path | None = None,
        test: Path | None = None,
        target: str | Sequence[str] | None = None,
        task: Task | None = None,
        columns: Sequence[str] | None = None,
        exclude: Annotated[Sequence[str], NotWith("columns")] = (),
        categorical: Sequence[str] = (),
        split: str | None = None,
        test_size: Annotated[Share | None, NotWith("fold")] = None,
        dev_size: Share | None = None,
        fold: Positive | None = None,
        folds: Annotated[Folds, OnlyWith("fold")] = 5,
        seed: NonNegative = 0,
        missing: Missing = "error",
        missing_indicator: Annotated[bool, OnlyWith(missing=("mean", "median", "most_frequent"))] = False,
        missing_values: Sequence[str] = MISSING_VALUES,
        scale: Scale = "standard",
        sample_weights: str | None = None,
        scale_target: bool = True,
        separator: str | None = None,
        encoding: str = "utf-8",
        decimal: DecimalSign = ".",
    ) -> None:
        if fold is not None and fold > folds:
            raise InputError(f"fold = {fold}: there are {folds} folds; expected a whole number from 1 to {folds}")
        if separator is not None and len(separator) != 1:
            raise InputError(f'separator = {shown(separator)}: expected one character, such as ";"')
        if path in SKLEARN and not (dev or test):
            _refuse_options_of_files(missing_values, separator, encoding, decimal)
        self._path, self._files = path, {"dev": dev, "test": test}
        self._target, self._task = [target] if isinstance(target, str) else target, task
        self._columns, self._exclude, self._split_column = columns, exclude, split
        self._held_out = HeldOut(test_size, dev_size, fold, folds, seed)
        self._preparation = Preparation(missing, missing_indicator, scale, categorical)
        self._scale_target, self._weights_column = scale_target, sample_weights
        self._reader = FileReader(separator, encoding, missing_values, decimal)
        self._learned: tuple[Features, Target] | None = None
        self._splits: dict[str, Columns] = {}

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return what models and evaluators need to know.

        ``num_features`` (F), ``cardinalities`` (D: the categories of each column, and one for unknown ones),
        ``feature_names``; ``labels`` and ``num_classes`` (empty and 0 for regression); ``num_targets`` (0 for classes),
        ``target_names``, ``target_mean`` and ``target_scale``: a number is ``targets * target_scale + target_mean``.
        """
        features, target = self._known()
        return features.facts() | target.facts()

    def split(self, name: str) -> Columns:
        """Return ``numbers`` (N, F) and ``categories`` (N, D), those that there are, and ``targets``.

        That of train also has ``sample_weights`` (N,), if a column is named.
        """
        if name not in self._splits:
            features, target = self._known()
            table = self._tables[name]
            table.require(features.names, "columns")
            targets = target.encode(table, name)
            columns = {**features.encode(table, name), "targets": targets}
            self._splits[name] = Columns(columns | (self._sample_weights(table) if name == "train" else {}))
        return self._splits[name]

    def _sample_weights(self, train: RawTable) -> dict[str, Tensor]:
        """Return the column of weights (N,), if there is one."""
        if self._weights_column is None:
            return {}
        train.require([self._weights_column], SAMPLE_WEIGHTS)
        return {SAMPLE_WEIGHTS: torch.from_numpy(numbers_of(train, self._weights_column).to_numpy().copy())}

    def names(self, split: str) -> list[str]:
        """Return where each row of a split is, such as ``people.csv:17``."""
        table = self._tables[split]
        return [table.place(row) for row in range(len(table))]

    def copies(self, split: str, other: str) -> tuple[Tensor, Tensor]:
        """Return which rows of `split` have the features of one in `other`, in the cells of their files: (N,), twice.

        As numbers of a model, all categories that train does not have are the same.
        """
        features = self._known()[0]
        same = in_both(features.keys(self._tables[split]), features.keys(self._tables[other]))
        return same, same

    def encode(self, item: str) -> dict[str, Tensor]:
        """Convert a row, a JSON object such as ``{"age": 41, "city": "Oslo"}``; null is a missing value.

        Raises:
            InputError: it is none, a column is missing or unknown, or a value cannot be used.
        """
        return self._known()[0].encode_item(_row(item), self._reader.decimal)

    def present(self, item: str, prediction: Tensor, probabilities: Tensor | None, top: int = 0) -> dict[str, Any]:
        """Return the class with its probability, or the numbers in the units of their columns.

        Also the columns with a category that training did not have, ``unknown``.
        """
        features, target = self._known()
        unknown = {"unknown": features.unknown(_row(item))}
        if target.task == "regression":
            return {**target.decode(prediction), **unknown}
        return {**class_answer(target.labels, prediction, probabilities, top), **unknown}

    def read_items(self, path: Path) -> Iterator[tuple[str, str]] | None:
        """Return where each row of a table is, and the row; None for a file of another kind.

        Raises:
            InputError: it cannot be read, or has not the columns of training.
        """
        if path.suffix.lower() not in SEPARATORS:
            return None
        table, features = self._reader.read(path), self._known()[0]
        table.require(features.names)
        features.refuse_unknown(table.frame.columns, f"{table.source}: ")
        rows = table.frame.iter_rows(named=True)
        return (
            (table.place(number), json.dumps(row, default=str, ensure_ascii=False)) for number, row in enumerate(rows)
        )

    def state(self) -> dict[str, Any]:
        """Return what was learned about the columns."""
        features, target = self._known()
        return {"features": features.state(), "target": target.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set what `state` returned."""
        self._learned = Features.of_state(state["features"]), Target(**state["target"])

    def fingerprint(self) -> str:
        """Return a digest of all files."""
        digests = sorted({(name, self._tables[name].digest) for name in self.splits})
        return hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:16]

    def _known(self) -> tuple[Features, Target]:
        if self._learned is None:
            train = self._tables["train"]
            train.require(self._preparation.categorical, "categorical")
            target = Target.learn(train, self._targets, self._task_of_targets, self._scale_target)
            if not self._scale_target and target.task == "classification":
                raise InputError("scale_target = false has no effect: the target is a class; remove it")
            features = Features.learn(train, self._names_of_features(train), self._preparation)
            self._learned = features, target
        return self._learned

    @cached_property
    def _given(self) -> tuple[dict[str, RawTable], Sequence[str]]:
        """The splits that files give, at least train, and the names of the targets."""
        path, target = self._path, self._target
        if path in SKLEARN:
            table, names = load_target("dlpipe.tabular.sklearn_tables:read_sklearn")(path)
            target = target or names
        else:
            table = self._reader.read(Path(path))
        given = {"train": table}
        given |= {name: self._reader.read(file) for name, file in self._files.items() if file is not None}
        for name in ("dev", "test"):
            for other in ("train", "dev"):
                if name != other and name in given and other in given and given[name].digest == given[other].digest:
                    raise DataError(f"{given[name].source}: the same rows as {other}; expected others")
        if self._split_column is not None:
            parts = by_column(given["train"], self._split_column)
            if both := sorted(set(parts) & (set(given) - {"train"})):
                raise DataError(
                    f"{given[both[0]].source} has the rows of {both[0]}, but so has {table.source} by its column "
                    f"{shown(self._split_column)}; remove one of the two"
                )
            given = given | parts
        if not target:
            raise InputError(
                f"target is not given; name the column of {table.source} to predict: {listed(table.frame.columns)}"
            )
        return given, target

    @property
    def _targets(self) -> Sequence[str]:
        return self._given[1]

    @cached_property
    def _task_of_targets(self) -> Task:
        given, targets = self._given
        given["train"].require(targets, "target")
        return task_of(given["train"], targets, self._task)

    @cached_property
    def _tables(self) -> dict[str, RawTable]:
        """The rows of each split."""
        given, targets = self._given
        is_class = self._task_of_targets == "classification"

        def strata(table: RawTable) -> list[str]:
            return list(map(str, categories_of(table.frame[targets[0]]))) if is_class else [""] * len(table)

        return self._held_out.apply(given, strata)

    def _names_of_features(self, train: RawTable) -> list[str]:
        others = {*self._targets, self._split_column, self._weights_column}
        for key, names in (("columns", self._columns or ()), ("exclude", self._exclude)):
            train.require(names, key)
            if both := [name for name in names if name in others]:
                raise InputError(
                    f"{key} has {shown(both[0])}, which is the target, names the split or weighs rows; remove it there"
                )
        left = [name for name in train.frame.columns if name not in others and name not in self._exclude]
        chosen = left if self._columns is None else [name for name in left if name in self._columns]
        if not chosen:
            raise InputError(f"no column is left to predict {listed(self._targets)} from; expected at least one")
        if useless := [name for name in self._preparation.categorical if name not in chosen]:
            raise InputError(f"categorical has {shown(useless[0])}, which is not among the columns in use; remove it")
        return chosen


def _refuse_options_of_files(
    missing_values: Sequence[str], separator: str | None, encoding: str, decimal: DecimalSign
) -> None:
    given = {
        "missing_values": tuple(missing_values),
        "separator": separator,
        "encoding": encoding,
        "decimal": decimal,
    }
    defaults = {"missing_values": MISSING_VALUES, "separator": None, "encoding": "utf-8", "decimal": "."}
    for name, value in given.items():
        if value != defaults[name]:
            raise InputError(
                f"{name} = {shown(value)} has no effect: no file is read; remove it, or set path to a file"
            )


def _row(item: str) -> dict[str, Any]:
    try:
        row = json.loads(item)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f'{shown(item)} is not JSON ({error}); expected a row such as {{"age": 41, "city": "Oslo"}}'
        ) from None
    if not isinstance(row, dict):
        raise InputError(f'{shown(item)}: expected an object with a value for each column, such as {{"age": 41}}')
    return row
