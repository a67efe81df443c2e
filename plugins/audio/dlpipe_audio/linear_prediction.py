"""Linear prediction of waveforms: the simplest model of speech that looks back.

Source: Makhoul 1975, "Linear Prediction: A Tutorial Review", sections II (autocorrelation method) and III.
Axes: N recordings, B recordings of a batch, S samples of the longest, K levels of a sample, P order, Q sizes of errors.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.fields import Positive
from dlpipe_audio.mu_law import NUM_LEVELS, to_wave
from dlpipe_audio.real_samples import is_real

#: Q, and how many errors before a sample say how large the next one will be.
SIZES, RECENT = 16, 32
#: Recordings that are fitted to at a time, so that memory is enough for many.
AT_A_TIME = 64
#: Share of the probability that is spread over all levels, since none is impossible.
SPREAD = 1e-3


class LinearPrediction(nn.Module):
    """Predict each sample as a weighted sum of those before it, with errors that are as large as the last ones.

    The error has a Laplace distribution, whose scale depends on the mean absolute value of the last errors.

    Args:
        order: P, samples before a sample that its prediction is a sum of.
    """

    coefficients: Tensor
    bounds: Tensor
    scales: Tensor
    edges: Tensor

    def __init__(self, *, order: Positive = 32) -> None:
        super().__init__()
        self.register_buffer("coefficients", torch.zeros(order, dtype=torch.float64))
        self.register_buffer("bounds", torch.zeros(SIZES - 1, dtype=torch.float64))
        self.register_buffer("scales", torch.ones(SIZES, dtype=torch.float64))
        self.register_buffer("edges", _edges(), persistent=False)

    def fit(self, samples: Tensor, lengths: Tensor) -> None:
        """Learn the coefficients and the sizes of errors from levels (N, S) and how many belong to each recording."""
        order, lags = len(self.coefficients), torch.arange(len(self.coefficients))
        products = torch.zeros(order + 1, dtype=torch.float64)
        for wave, _ in _parts(samples, lengths):
            silence = F.pad(wave, (0, order))
            products += torch.stack([(silence[:, lag : lag + wave.size(1)] * wave).sum() for lag in range(order + 1)])
        # A little white noise, since the equations for silence alone have no solution.
        matrix = products[(lags.unsqueeze(1) - lags).abs()] + 1e-9 * (1 + products[0]) * torch.eye(order)
        self.coefficients = torch.linalg.solve(matrix, products[1:])
        errors, recent = [], []
        for wave, real in _parts(samples, lengths):
            found = (wave - self._predicted(wave)).abs()
            errors.append(found[real].float())
            recent.append(_recent(found)[real].float())
        sizes, before = torch.cat(errors), torch.cat(recent).double()
        some = before[:: 1 + len(before) // 100_000]
        self.bounds = some.quantile(torch.linspace(0, 1, SIZES + 1, dtype=some.dtype)[1:-1])
        size = torch.bucketize(before, self.bounds)
        sums = torch.zeros(SIZES, dtype=torch.float64).index_add(0, size, sizes.double())
        self.scales = (sums / size.bincount(minlength=SIZES).clamp_min(1)).clamp_min(1e-5)

    def forward(self, samples: Tensor, lengths: Tensor) -> Tensor:
        """Return the negative log-likelihood in nats of each sample (B, S); that of padding is 0.

        Args:
            samples: (B, S) levels.
            lengths: (B,) on the CPU, how many of them belong to each recording.
        """
        wave = _waves(samples, lengths)
        predicted = self._predicted(wave)
        scale = self.scales[torch.bucketize(_recent((wave - predicted).abs()), self.bounds)]
        below, above = (
            _laplace((self.edges[level] - predicted) / scale) for level in (samples.long(), samples.long() + 1)
        )
        probabilities = (1 - SPREAD) * (above - below) + SPREAD / NUM_LEVELS
        return -(probabilities.log() * is_real(samples, lengths)).float()

    def loss(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        """Return the negative log-likelihood in nats, mean over all samples."""
        return outputs.sum() / lengths.sum()

    def count_loss_terms(self, lengths: Tensor) -> Tensor:
        """Return the number of samples."""
        return lengths.sum()

    def _predicted(self, wave: Tensor) -> Tensor:
        """Map waves (B, S) to what is predicted of each sample."""
        order = len(self.coefficients)
        padded = F.pad(wave, (order, 0))[:, :-1].unsqueeze(1)
        return F.conv1d(padded, self.coefficients.flip(0).to(wave)[None, None]).squeeze(1)


def _edges() -> Tensor:
    """Return where each level begins, and where the last one ends, (K + 1,)."""
    between = to_wave(torch.arange(NUM_LEVELS - 1, dtype=torch.float64) + 0.5)
    return F.pad(F.pad(between, (1, 0), value=-torch.inf), (0, 1), value=torch.inf)


def _parts(samples: Tensor, lengths: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield waves (B, S) of levels (N, S), and which of their samples are no padding, some recordings at a time."""
    for some, their_lengths in zip(samples.split(AT_A_TIME), lengths.split(AT_A_TIME), strict=True):
        cut = some[:, : int(their_lengths.max())]
        yield _waves(cut, their_lengths), is_real(cut, their_lengths)


def _waves(samples: Tensor, lengths: Tensor) -> Tensor:
    """Map levels (B, S) to samples from -1 to 1, 0 for padding."""
    return to_wave(samples.long()).double() * is_real(samples, lengths)


def _laplace(distance: Tensor) -> Tensor:
    """Return the cumulative distribution function of the Laplace distribution."""
    return torch.where(distance < 0, 0.5 * distance.clamp(max=0).exp(), 1 - 0.5 * (-distance.clamp(min=0)).exp())


def _recent(errors: Tensor) -> Tensor:
    """Map the sizes of errors (B, S) to the mean of the `RECENT` before each."""
    return F.avg_pool1d(F.pad(errors, (RECENT, 0))[:, :-1].unsqueeze(1), RECENT, stride=1).squeeze(1)
