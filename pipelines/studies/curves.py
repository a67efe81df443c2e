"""A curve, a network with one hidden layer that fits it, and the error of the fit: a plugin in one file.

Source: the curve is that of M. Nielsen, "Neural Networks and Deep Learning", chapter 4.
Axes: N points, W hidden units.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dlpipe import DataSpec, EvaluatorSpec, ModelSpec, hookimpl
from dlpipe.data import Columns
from dlpipe.evaluation import Examples
from dlpipe.fields import Positive
from dlpipe.figures import BLUE, GREY, ORANGE, drawing


def curve(x: Tensor) -> Tensor:
    """Return the curve at `x`, from 0 to 1."""
    return 0.2 + 0.4 * x**2 + 0.3 * x * torch.sin(15 * x) + 0.05 * torch.cos(50 * x)


class Points:
    """Evenly spaced points of the curve; the test split is denser.

    Args:
        count: N, number of training points.
    """

    splits = ("train", "test")
    facts: Mapping[str, Any] = {}

    def __init__(self, *, count: Positive = 500) -> None:
        self._count = count

    def split(self, name: str) -> Columns:
        """Return ``x`` (N, 1) and ``targets`` (N, 1)."""
        x = torch.linspace(0, 1, self._count if name == "train" else 4 * self._count + 1)[:, None]
        return Columns({"x": x, "targets": curve(x)})

    def encode(self, item: str) -> dict[str, Tensor]:
        """Map a number to ``x`` (1,)."""
        return {"x": torch.tensor([float(item)])}

    def present(self, item: str, prediction: Tensor) -> dict[str, Any]:
        """Return the values of the network and of the curve."""
        return {"x": item, "net": float(prediction), "curve": float(curve(torch.tensor(float(item))))}

    def state(self) -> dict[str, Any]:
        """Return an empty state: nothing is learned from the data."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Do nothing."""

    def fingerprint(self) -> str:
        """Return a string that determines the points."""
        return str(self._count)


class OneHiddenLayer(nn.Module):
    """A network of W ReLU units whose kinks are initialized uniformly between 0 and 1.

    Args:
        width: W.
    """

    def __init__(self, *, width: Positive = 100) -> None:
        super().__init__()
        self.hidden = nn.Linear(1, width)
        self.output = nn.Linear(width, 1)
        # With Glorot weights and zero biases, all kinks would be at 0, the left end of the curve.
        with torch.no_grad():
            self.hidden.weight.copy_(torch.where(torch.rand(width, 1) < 0.5, -1.0, 1.0))
            self.hidden.bias.copy_(-self.hidden.weight[:, 0] * torch.rand(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, 1) to values (N, 1)."""
        value: Tensor = self.output(torch.relu(self.hidden(x)))
        return value

    def predict(self, outputs: Tensor) -> Tensor:
        """Return values (N,)."""
        return outputs[:, 0]


class Fit:
    """Largest error of a network, compared with that of a staircase that needs no training.

    The staircase has as many steps as the network has units; each step has the height of the curve at
    its middle. It is the network of the universality theorem, whose error falls like 1 / W.

    Args:
        width: W, number of steps of the staircase.
    """

    primary = "largest_error"
    goal: Literal["min"] = "min"

    def __init__(self, *, width: Positive = 100) -> None:
        self._width = width
        self._points: tuple[Tensor, Tensor, Tensor] | None = None

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Return ``largest_error`` and ``staircase_error``."""
        passed = [(batch["x"][:, 0].cpu(), values.cpu()) for batch, _, values in examples.predictions(model)]
        x, values = (torch.cat(parts) for parts in zip(*passed, strict=True))
        steps = ((x * self._width).floor().clamp(max=self._width - 1) + 0.5) / self._width
        self._points = x, values, curve(steps)
        return {
            "largest_error": float((values - curve(x)).abs().max()),
            "staircase_error": float((curve(steps) - curve(x)).abs().max()),
        }

    def write(self, folder: Path) -> None:
        """Draw the curve, the net and the staircase."""
        assert self._points is not None
        x, values, staircase = self._points
        with drawing(folder / "fit.png", 6, 3.5) as figure:
            axes = figure.subplots()
            axes.plot(x, staircase, color=GREY, linewidth=1, label=f"staircase of {self._width} steps")
            axes.plot(x, curve(x), color=BLUE, linewidth=3, alpha=0.5, label="curve")
            axes.plot(x, values, color=ORANGE, linewidth=1, label="net")
            axes.set(xlabel="x")
            axes.legend(frameon=False)


@hookimpl
def dlpipe_data():
    return [DataSpec("points", ":Points", "points of a curve")]


@hookimpl
def dlpipe_models():
    return [ModelSpec("one_hidden_layer", ":OneHiddenLayer", "a net of one hidden layer")]


@hookimpl
def dlpipe_evaluators():
    return [EvaluatorSpec("fit", ":Fit", "how far a net is from the curve")]
