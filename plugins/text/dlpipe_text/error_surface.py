"""The error surface of a recurrent network of one unit, with the path of its training.

Source: Pascanu, Mikolov & Bengio 2013, "On the difficulty of training recurrent neural networks", figure 6,
https://arxiv.org/abs/1211.5063
Axes: P values of the weight, Q values of the bias, N training steps.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import Field, Strict
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

from dlpipe.errors import InputError
from dlpipe.evaluation import Examples, write_csv
from dlpipe.figures import BLUE, VERMILION, drawing
from dlpipe.protocols import Batch
from dlpipe.report_items import ReportItem
from dlpipe_text.one_unit import OneUnit

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ErrorSurface:
    """Mean squared error of ``text.one_unit`` as a function of its weight and bias, with the path of the training.

    ``evaluate`` returns the ``loss``, the mean ``output``, and its derivatives ``weight_gradient`` and
    ``bias_gradient``, in double precision, and ``inside``, 1 if weight and bias are in the range of the figure and 0
    if not: over seeds, the share of runs that were not thrown out of it. ``write`` writes ``surface.csv``, ``path.csv``
    (as many steps as the model keeps, and the place where the training ended, without a step if that may be a later
    one) and ``surface.png``.

    Args:
        weight: range of the weight.
        bias: range of the bias.
        resolution: number of values of each.
    """

    primary = "loss"
    goal: Literal["min"] = "min"

    def __init__(
        self,
        *,
        weight: tuple[float, float] = (3.0, 7.0),
        bias: tuple[float, float] = (-3.5, -1.0),
        resolution: Annotated[int, Strict(), Field(ge=2)] = 121,
    ) -> None:
        for name, (low, high) in (("weight", weight), ("bias", bias)):
            if low >= high:
                raise InputError(f"{name} = [{low:g}, {high:g}]: expected a range, the smaller number first")
        self._weights = torch.linspace(*weight, resolution, dtype=torch.double)
        self._biases = torch.linspace(*bias, resolution, dtype=torch.double)
        self._surface = self._path = torch.empty(0, 0)
        self._steps: list[int | None] = []

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Return the loss, the output and its derivatives, at the weight and bias of the model."""
        if not isinstance(model, OneUnit):
            raise InputError(
                "text.error_surface draws the loss over one weight and one bias; the model is "
                f"{type(model).__name__}, expected text.one_unit"
            )
        precise = copy.deepcopy(model).cpu().double().eval()
        batch = {name: values.cpu().double() for name, values in next(iter(examples.predictions(model)))[0].items()}
        weights, biases = torch.meshgrid(self._weights, self._biases, indexing="ij")
        self._surface = losses(precise, batch, weights.flatten(), biases.flatten()).view_as(weights)
        visited = precise.path[precise.path.isfinite().all(1)]
        last = torch.stack([precise.weight, precise.bias]).detach()[None]
        places = torch.cat([visited, last])  # (N + 1, 2)
        self._steps = [*range(len(visited)), len(visited) if len(visited) < len(precise.path) else None]
        self._path = torch.cat([places, losses(precise, batch, *places.T)[:, None]], dim=1)
        with torch.inference_mode(False), torch.enable_grad():
            output = precise.requires_grad_()(batch["features"]).mean()
            gradients = torch.autograd.grad(output, (precise.weight, precise.bias), allow_unused=True)
        weight, bias = (0.0 if gradient is None else float(gradient) for gradient in gradients)
        return {
            "loss": float(self._path[-1, 2]),
            "output": float(output.detach()),
            "weight_gradient": weight,
            "bias_gradient": bias,
            "inside": float(self._inside()[-1]),
        }

    def write(self, folder: Path) -> list[ReportItem]:
        """Write the losses of the grid and of the path, and draw both."""
        heading = ("weight", *(f"bias {bias:.6g}" for bias in self._biases.tolist()))
        rows = zip(self._weights.tolist(), self._surface.tolist(), strict=True)
        write_csv(folder / "surface.csv", [heading, *((weight, *row) for weight, row in rows)])
        path = [(step, *row) for step, row in zip(self._steps, self._path.tolist(), strict=True)]
        write_csv(folder / "path.csv", [("step", "weight", "bias", "loss"), *path])
        with drawing(folder / "surface.png", 9, 4) as figure:
            self._draw(figure)
        return [
            ReportItem(
                "surface.png", "Error surface", "The loss over both parameters, and the path of gradient descent on it."
            ),
            ReportItem("path.csv", "Path of gradient descent"),
            ReportItem("surface.csv", "Loss on the grid", "Rows are weights, columns biases."),
        ]

    def _inside(self) -> Tensor:
        """Return which places of the path (N + 1,) are in the range of the figure."""
        first, last = (torch.stack([self._weights[end], self._biases[end]]) for end in (0, -1))
        places = self._path[:, :2]
        return ((first <= places) & (places <= last)).all(1)

    def _draw(self, figure: Figure) -> None:
        """Draw the surface in perspective and from above, with the path; it leaves the figure where it is outside."""
        weights, biases, surface = (part.numpy() for part in (self._weights, self._biases, self._surface))
        inside = self._path.where(self._inside()[:, None], torch.nan).numpy()
        style: dict[str, Any] = {"color": VERMILION, "marker": ".", "markersize": 4, "linewidth": 1}
        space = figure.add_subplot(1, 2, 1, projection="3d")
        space.plot_surface(biases[None], weights[:, None], surface, cmap="viridis", alpha=0.7)
        space.plot(inside[:, 1], inside[:, 0], inside[:, 2], **style, zorder=9)
        space.set_box_aspect(None, zoom=0.8)  # else the labels do not fit
        space.locator_params(nbins=4)
        space.set(xlabel="bias", ylabel="weight", zlabel="loss")
        above = figure.add_subplot(1, 2, 2)
        shading = above.pcolormesh(biases, weights, surface, cmap="viridis", shading="nearest")
        figure.colorbar(shading, ax=above, label="loss")
        path = self._path.numpy()
        above.plot(path[:, 1], path[:, 0], **style)
        above.plot(path[0, 1], path[0, 0], "o", color=BLUE, label="start")
        above.set(xlabel="bias", ylabel="weight", xlim=biases[[0, -1]], ylim=weights[[0, -1]])
        above.legend(loc="upper right", frameon=False, labelcolor="white")


def losses(model: OneUnit, batch: Batch, weights: Tensor, biases: Tensor) -> Tensor:
    """Return the mean squared error (P,) of a model on a batch, with each of P pairs of weight and bias."""

    def loss(parameters: Mapping[str, Tensor]) -> Tensor:
        outputs: Tensor = functional_call(model, dict(parameters), (batch["features"],))
        return F.mse_loss(outputs, batch["targets"])

    with torch.no_grad():
        found: Tensor = vmap(loss)({"weight": weights, "bias": biases})
    return found
