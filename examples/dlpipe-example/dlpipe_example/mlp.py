"""A fully connected network that forecasts all values of the horizon at once.

Each window is normalized by its own mean and standard deviation, and the forecast is scaled back (Kim et al. 2022,
"Reversible Instance Normalization for Accurate Time-Series Forecasting against Distribution Shift",
https://openreview.net/forum?id=cGDAkQo1C0p). Departs from it: no learned scale and shift.
Axes: B windows, C values of the context, H values of the horizon.
"""

import torch
from dlpipe.fields import Fraction, Positive
from torch import Tensor, nn
from torch.nn import functional as F

#: Keeps the scale of a context without any variation above zero.
EPSILON = 1e-6


class MLP(nn.Module):
    """Forecast the next H values.

    Args:
        context_length: C.
        horizon: H.
        hidden_dim: units of each of the two hidden layers.
        dropout: probability of zeroing a hidden unit.
    """

    def __init__(
        self, context_length: int, horizon: int, *, hidden_dim: Positive = 64, dropout: Fraction = 0.0
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(context_length, hidden_dim),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, hidden_dim),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, horizon),
        )

    def forward(self, context: Tensor) -> Tensor:
        """Map contexts (B, C) to forecasts (B, H) in the unit of the series."""
        mean, scale = _normal(context)
        forecast: Tensor = self.layers((context - mean) / scale)
        return forecast * scale + mean

    def loss(self, outputs: Tensor, context: Tensor, targets: Tensor) -> Tensor:
        """Return the mean absolute error in units of the context's standard deviation."""
        _, scale = _normal(context)
        return F.l1_loss(outputs / scale, targets / scale)

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the forecast itself, which is no score of classes."""
        return outputs


def _normal(context: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and scale (B, 1) of each context."""
    deviation, mean = torch.std_mean(context, dim=1, keepdim=True, correction=0)
    return mean, deviation + EPSILON
