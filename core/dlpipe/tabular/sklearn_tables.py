"""The tables that come with scikit-learn: nothing is downloaded."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import polars as pl
from sklearn import datasets

from dlpipe.tabular.reading import RawTable, SklearnTable

#: The column of the target; linnerud has three, with names of their own.
TARGET = "target"


def read_sklearn(path: SklearnTable) -> tuple[RawTable, list[str]]:
    """Return a data set, and the names of its target columns.

    Classes are texts: the names that scikit-learn gives them. The measurements of diabetes are in their own units, not
    scaled over all examples, as scikit-learn does unless it is told otherwise.
    """
    name = path.removeprefix("sklearn:")
    options: dict[str, Any] = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(datasets, f"load_{name}")(**options)
    columns = dict(zip(map(str, bunch.feature_names), bunch.data.T, strict=True))
    if name == "linnerud":
        targets = dict(zip(bunch.target_names, bunch.target.T, strict=True))
    elif name == "diabetes":
        targets = {TARGET: bunch.target}
    else:
        targets = {TARGET: np.asarray(bunch.target_names).astype(str)[bunch.target]}
    digest = hashlib.sha256(name.encode() + np.ascontiguousarray(bunch.data).tobytes() + bunch.target.tobytes())
    frame = pl.DataFrame({key: np.ascontiguousarray(values) for key, values in (columns | targets).items()})
    lines = pl.Series(range(1, frame.height + 1))
    return RawTable(path, frame, lines, False, digest.hexdigest()), list(targets)
