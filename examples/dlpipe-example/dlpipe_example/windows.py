"""A series cut into windows: some values to look at, and those that follow them.

Axes: T values of the series, N windows, C values of the context, H values of the horizon.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from dlpipe import DataError, InputError
from dlpipe.data import Columns
from torch import Tensor


class Windows:
    """Forecasting on one series; the splits follow each other in time, and no target is in two of them.

    Args:
        read: returns the series (T,) float32; called once, when a split is first needed.
        context_length: C, values that a forecast is made from.
        horizon: H, values that are forecast.
        season: values per season, such as 12 for months.
        dev_size: values of the dev split, behind those of training.
        test_size: values of the test split, at the end.
        origin: what the series is, for messages.
    """

    splits = ("train", "dev", "test")
    text_items = True

    def __init__(
        self,
        read: Callable[[], Tensor],
        *,
        context_length: int,
        horizon: int,
        season: int,
        dev_size: int,
        test_size: int,
        origin: str,
    ) -> None:
        if context_length < season:
            raise InputError(
                f"context_length = {context_length}: expected at least one season ({season}), which the seasonal naive "
                "forecast repeats"
            )
        for name, size in (("dev_size", dev_size), ("test_size", test_size)):
            if size < horizon:
                raise InputError(f"{name} = {size}: expected at least one horizon ({horizon})")
        self._read, self._origin = read, origin
        self._context, self._horizon, self._season = context_length, horizon, season
        self._dev, self._test = dev_size, test_size
        self._values: Tensor | None = None
        self._naive_error: float | None = None

    @property
    def facts(self) -> Mapping[str, Any]:
        """``context_length``, ``horizon``, ``season``, and ``naive_error``, the unit of MASE.

        The latter is the mean absolute difference between each value of the training split and the value one season
        earlier (Hyndman & Koehler 2006, "Another look at measures of forecast accuracy", section 3).
        """
        if self._naive_error is None:
            train = self._series()[: self._end_of_training()]
            self._naive_error = float((train[self._season :] - train[: -self._season]).abs().mean())
            if not self._naive_error:
                raise DataError(f"{self._origin}: each season is as the one before; there is nothing to forecast")
        return {
            "context_length": self._context,
            "horizon": self._horizon,
            "season": self._season,
            "naive_error": self._naive_error,
        }

    def split(self, name: str) -> Columns:
        """Return ``context`` (N, C) and ``targets`` (N, H); a context may reach into the split before."""
        series, start, end = self._series(), *self._range(name)
        windows = series[max(0, start - self._context) : end].unfold(0, self._context + self._horizon, 1)
        return Columns({"context": windows[:, : self._context].clone(), "targets": windows[:, self._context :].clone()})

    def encode(self, item: str) -> dict[str, Tensor]:
        """Turn the newest C values, "112 118 132 …", into one example."""
        try:
            values = [float(part) for part in item.split()]
        except ValueError:
            raise InputError(f"{item!r}: expected numbers, separated by spaces") from None
        if len(values) != self._context:
            raise InputError(f"{len(values)} numbers: expected {self._context}, the newest values of the series")
        return {"context": torch.tensor(values)}

    def present(self, item: str, prediction: Tensor) -> dict[str, Any]:
        """Return the H values that follow those of the item."""
        return {"forecast": [round(value, 4) for value in prediction.tolist()]}

    def state(self) -> dict[str, Any]:
        """Return the unit of MASE, which is learned from the training split."""
        return {"naive_error": self.facts["naive_error"]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set the unit of MASE."""
        self._naive_error = float(state["naive_error"])

    def fingerprint(self) -> str:
        """Return a digest of the series."""
        return hashlib.sha256(self._series().numpy().tobytes()).hexdigest()

    def _series(self) -> Tensor:
        if self._values is None:
            series = self._read()
            needed = self._season + self._context + self._horizon + self._dev + self._test
            if len(series) < needed:
                raise DataError(
                    f"{self._origin} has {len(series)} values; expected at least {needed}: a season, a context and a "
                    "horizon to train on, and those of dev and test"
                )
            self._values = series
        return self._values

    def _end_of_training(self) -> int:
        return len(self._series()) - self._dev - self._test

    def _range(self, name: str) -> tuple[int, int]:
        """Return the positions of the first target of a split and behind its last one."""
        train, end = self._end_of_training(), len(self._series())
        return {"train": (0, train), "dev": (train, end - self._test), "test": (end - self._test, end)}[name]
