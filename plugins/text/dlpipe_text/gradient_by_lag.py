"""How much a state of the past still matters: the gradient of the output with respect to it, by its distance.

Source: Bengio, Simard & Frasconi 1994, "Learning Long-Term Dependencies with Gradient Descent is Difficult"; Pascanu,
Mikolov & Bengio 2013, section 2, https://arxiv.org/abs/1211.5063
Axes: B sequences, T positions, L layers, H hidden units.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe.evaluation import Examples, write_csv
from dlpipe.fields import Positive
from dlpipe.figures import COLORS, drawing
from dlpipe.report_items import ReportItem


@runtime_checkable
class Unrollable(Protocol):
    """A recurrent model that shows its states; no inheritance is needed."""

    def unroll(self, features: Tensor) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
        """Map features (B, T, F) to numbers (B,) and the states after each position, a tuple of tensors (L, B, H).

        Each state is computed from the one before and from nothing earlier.
        """


class GradientByLag:
    """Norm of the gradient of the output with respect to the state `lag` positions before the end.

    The gradient of the loss is this times the derivative of the loss of each sequence. ``evaluate`` returns
    ``per_step``, the factor by which the norm changes per position, as a geometric mean over all lags (below 1 it
    vanishes, above 1 it explodes), and ``first_to_last``, the norm at the first position divided by that at the last.
    Norms are means over sequences, in double precision. ``write`` writes ``gradient_by_lag.csv`` and
    ``gradient_by_lag.png``, with the hidden state and the cell of an LSTM apart.

    Args:
        count: number of sequences, the first ones of the split.
    """

    primary = None
    goal: Literal["max"] = "max"

    def __init__(self, *, count: Positive = 32) -> None:
        self._count = count

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Return ``per_step`` and ``first_to_last``."""
        self._norms = gradients_by_lag(model, self._sequences(model, examples))
        whole = self._norms.square().sum(0).sqrt()
        ratio = float(whole[-1] / whole[0])
        return {"per_step": ratio ** (1 / max(1, len(whole) - 1)), "first_to_last": ratio}

    def _sequences(self, model: nn.Module, examples: Examples) -> Tensor:
        """Return the first sequences (B, T, F) of the split, all of one length."""
        parts: list[Tensor] = []
        lengths: set[int] = set()
        for batch, _, _ in examples.predictions(model):
            parts.append(batch["features"])
            lengths.update(map(int, batch.get("lengths", ())))
            if sum(map(len, parts)) >= self._count:
                break
        if len(lengths) > 1:
            raise InputError(
                f"text.gradient_by_lag got sequences of {min(lengths)} to {max(lengths)} positions; expected one "
                "length, such as that of text.adding_problem"
            )
        return torch.cat(parts)[: self._count]

    def write(self, folder: Path) -> list[ReportItem]:
        """Write the norms of the last `evaluate`, as a table and as a figure."""
        names = ["hidden state", "cell"][: len(self._norms)]
        lags = range(self._norms.size(1))
        write_csv(folder / "gradient_by_lag.csv", [("lag", *names), *zip(lags, *self._norms.tolist(), strict=True)])
        with drawing(folder / "gradient_by_lag.png", 6, 3.5) as figure:
            axes = figure.subplots()
            for name, norms, color in zip(names, self._norms, COLORS, strict=False):
                axes.semilogy(lags, norms.numpy(), color=color, label=name)
            axes.set(xlabel="lag: positions before the end", ylabel="norm of the gradient of the output")
            axes.legend(frameon=False)
        return [
            ReportItem(
                "gradient_by_lag.png",
                "Gradient by lag",
                "How strongly the output depends on what was read that many positions before the end.",
            ),
            ReportItem("gradient_by_lag.csv", "Norms of the gradient"),
        ]


def gradients_by_lag(model: nn.Module, features: Tensor) -> Tensor:
    """Return (S, T): mean norms over sequences, for each of the S tensors of a state (two of an LSTM) and each lag.

    Args:
        features: (B, T, F).

    Raises:
        InputError: the model does not show its states.
    """
    # On the CPU, since cuDNN has no gradients in evaluation mode; in double precision, since 0.8^1000 is 0 in single.
    precise = copy.deepcopy(model).cpu().double().eval()
    if not isinstance(precise, Unrollable):
        raise InputError(
            "text.gradient_by_lag needs a model that shows its states, such as text.sequence_regressor; the model is "
            f"{type(model).__name__}"
        )
    with torch.inference_mode(False), torch.enable_grad():
        # The first state may be the input itself.
        numbers, states = precise.unroll(features.cpu().double().requires_grad_())
        parts = [part for state in states for part in state]
        # Of the cell of the last position nothing depends: the output reads the hidden state.
        gradients = torch.autograd.grad(numbers.sum(), parts, allow_unused=True)
    norms = [
        torch.zeros(()) if gradient is None else gradient.pow(2).sum((0, 2)).sqrt().mean() for gradient in gradients
    ]
    return torch.stack([norm.double() for norm in norms]).view(len(states), -1).flip(0).T
