"""A series from a column of a CSV file with a heading."""

import csv
from functools import partial
from pathlib import Path

import torch
from dlpipe import DataError
from dlpipe.fields import Positive
from dlpipe.messages import nearest
from torch import Tensor

from dlpipe_example.windows import Windows


def csv_column(
    path: Path,
    column: str,
    *,
    season: Positive = 12,
    context_length: Positive = 24,
    horizon: Positive = 6,
    dev_size: Positive = 12,
    test_size: Positive = 12,
) -> Windows:
    """Forecast a column of a CSV file, one value per line, the oldest first.

    Args:
        path: of the file (UTF-8, with a heading).
        column: its name in the heading.
        season: values per season, such as 12 for months.
        context_length: values that a forecast is made from.
        horizon: values that are forecast.
        dev_size: values of the dev split, behind those of training.
        test_size: values of the test split, at the end.
    """
    return Windows(
        partial(_read, path, column),
        context_length=context_length,
        horizon=horizon,
        season=season,
        dev_size=dev_size,
        test_size=test_size,
        origin=f"{path}, column {column!r},",
    )


def _read(path: Path, column: str) -> Tensor:
    """Return the column (T,).

    Raises:
        DataError: the file cannot be read, has no such column, or a cell is not a number.
    """
    values: list[float] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            heading = list(rows.fieldnames or ())
            if column not in heading:
                hint = nearest(column, heading) or f" It has {', '.join(heading) or 'no heading'}"
                raise DataError(f"{path}: no column {column!r}.{hint}")
            for row in rows:
                values.append(float(row[column] or ""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: {error}; expected a CSV file in UTF-8") from error
    except ValueError:
        raise DataError(f"{path}:{rows.line_num}: {column} = {row[column]!r}; expected a number") from None
    series = torch.tensor(values)
    if not bool(series.isfinite().all()):
        line = int((~series.isfinite()).nonzero()[0]) + 2
        raise DataError(f"{path}:{line}: {column} is not finite; expected a number")
    return series
