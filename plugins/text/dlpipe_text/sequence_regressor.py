"""Recurrent network that answers a sequence of numbers with one number.

Source: Elman 1990, "Finding Structure in Time"; Hochreiter & Schmidhuber 1997, "Long Short-Term Memory", with the
forget gate of Gers, Schmidhuber & Cummins 2000, "Learning to Forget"; Cho et al. 2014 (GRU),
https://arxiv.org/abs/1406.1078; Le, Jaitly & Hinton 2015 (IRNN), https://arxiv.org/abs/1504.00941
Axes: B sequences, T positions, F features, L layers, H hidden units.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.fields import OnlyWith, Positive, PositiveFloat
from dlpipe.recurrent import hidden_states, recurrent_layers

#: What is initialized as a recurrent network without gates: the matrix that maps a state to the next.
RECURRENT = "weight_hh"


class SequenceRegressor(nn.Module):
    """Predict a number from the hidden state after the last position.

    Args:
        num_features: F.
        cell: kind of recurrent network; "irnn" has ReLU units, the identity as recurrent matrix and no initial bias.
        num_layers: L.
        hidden_dim: H.
        forget_bias: initial bias of the forget gate; with 0, an LSTM at first forgets half of its cell per position.
        recurrent_scale: what the initial recurrent matrix is multiplied with, the identity ("irnn") or a random
            orthogonal one ("elman"). By default 1 for "irnn", and torch's uniform weights for "elman".
    """

    def __init__(
        self,
        num_features: int,
        *,
        cell: Literal["elman", "irnn", "gru", "lstm"] = "lstm",
        num_layers: Positive = 1,
        hidden_dim: Positive = 32,
        forget_bias: Annotated[float, OnlyWith(cell="lstm")] = 1.0,
        recurrent_scale: Annotated[PositiveFloat | None, OnlyWith(cell=("elman", "irnn"))] = None,
    ) -> None:
        super().__init__()
        if cell == "irnn":
            self.recurrent: nn.RNNBase = nn.RNN(
                num_features, hidden_dim, num_layers, nonlinearity="relu", batch_first=True
            )
        else:
            self.recurrent = recurrent_layers(cell, num_features, hidden_dim, num_layers)
        self.output = nn.Linear(hidden_dim, 1)
        with torch.no_grad():
            for name, parameter in self.recurrent.named_parameters():
                if cell == "lstm" and name.startswith("bias"):  # of the gates input, forget, cell and output, twice
                    parameter[hidden_dim : 2 * hidden_dim] = forget_bias / 2
                elif cell == "irnn" and name.startswith("bias"):
                    parameter.zero_()
                elif cell == "irnn" and name.startswith(RECURRENT):
                    parameter.copy_((recurrent_scale or 1.0) * torch.eye(hidden_dim))
                elif recurrent_scale and name.startswith(RECURRENT):
                    nn.init.orthogonal_(parameter, recurrent_scale)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Map features (B, T, F), lengths (B,) on the CPU to numbers (B,)."""
        hidden = hidden_states(self.recurrent, features, lengths)  # (B, T, H)
        rows, ends = torch.arange(len(hidden), device=hidden.device), lengths.to(hidden.device, non_blocking=True)
        return self._number(hidden[rows, ends - 1])

    def unroll(self, features: Tensor) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
        """Return the numbers (B,) and the states after each position, a tuple of tensors (L, B, H), of equal lengths.

        The states of an LSTM are its hidden state and its cell. They are those that the network continues from, which
        the layers of torch do not give when they run over all positions at once.
        """
        state: Tensor | tuple[Tensor, ...] | None = None
        states: list[tuple[Tensor, ...]] = []
        for position in features.split(1, dim=1):
            _, state = self.recurrent(position, state)
            states.append(state if isinstance(state, tuple) else (state,))
        return self._number(states[-1][0][-1]), states

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean squared error."""
        return F.mse_loss(outputs, targets)

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the numbers (B,)."""
        return outputs

    def _number(self, hidden: Tensor) -> Tensor:
        number: Tensor = self.output(hidden)
        return number[:, 0]
