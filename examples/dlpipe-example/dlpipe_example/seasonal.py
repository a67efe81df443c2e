"""A generated series: trend, seasons of two frequencies, and noise that remembers its last value."""

import torch
from dlpipe.fields import Fraction, NonNegative, NonNegativeFloat, Positive
from torch import Tensor

from dlpipe_example.windows import Windows


def seasonal(
    *,
    num_values: Positive = 2000,
    season: Positive = 24,
    trend: float = 2.0,
    noise: NonNegativeFloat = 0.3,
    memory: Fraction = 0.7,
    series_seed: NonNegative = 0,
    context_length: Positive = 48,
    horizon: Positive = 12,
    dev_size: Positive = 300,
    test_size: Positive = 300,
) -> Windows:
    """Forecast a series of hours with a daily and a weekly pattern.

    Args:
        num_values: length of the series.
        season: values per day; a week has seven.
        trend: rise over the whole series; the daily pattern has an amplitude of 1.
        noise: standard deviation of the noise.
        memory: share of the noise of one value that the next one has, too.
        series_seed: another number is another series.
        context_length: values that a forecast is made from.
        horizon: values that are forecast.
        dev_size: values of the dev split, behind those of training.
        test_size: values of the test split, at the end.
    """

    def draw() -> Tensor:
        generator = torch.Generator().manual_seed(series_seed)
        time = torch.arange(num_values)
        day, week = (2 * torch.pi * time / period for period in (season, 7 * season))
        values = trend * time / num_values + day.sin() + 0.4 * (2 * day).cos() + 0.5 * week.sin()
        fresh = (1 - memory**2) ** 0.5 * noise * torch.randn(num_values, generator=generator)
        remembered = torch.zeros(())
        for position in range(num_values):
            remembered = memory * remembered + fresh[position]
            values[position] += remembered
        return values

    return Windows(
        draw,
        context_length=context_length,
        horizon=horizon,
        season=season,
        dev_size=dev_size,
        test_size=test_size,
        origin="the generated series",
    )
