"""What the numbers of a code mean: pictures of their space, and how well they tell classes apart.

Axes: N images, C channels, H rows, W columns, Z numbers of a code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from dlpipe.evaluation import Examples
from dlpipe.fields import Positive
from dlpipe.figures import drawing
from dlpipe_generative.contracts import Encodes, require
from dlpipe_generative.drawn import drawn, drawn_at_random
from dlpipe_generative.pixels import PixelRange, to_unit
from dlpipe_generative.principal_components import Components
from dlpipe_generative.sheets import sheet
from dlpipe_generative.things import device_of, parts, things

WHO = "generative.latent"
#: Numbers that are changed one at a time, steps of each, images between two, and points of a scatter plot.
TRAVERSED, STEPS, PAIRS, POINTS = 10, 11, 6, 2000
#: How far one goes from 0: deviations of a normal distribution.
REACH = 2.5
#: Side of the map of a two-dimensional code.
MAP = 20


class Latent:
    """Look at the space of codes.

    ``evaluate`` gives ``knn_accuracy`` where images have classes: how often the nearest codes of training images, by
    vote, tell the class of an image. ``write`` gives ``interpolation.png`` (from image to image through their codes),
    ``traversal.png`` (each row changes one number of the code, those that vary most first), ``random.png`` (drawn from
    random codes), ``codes.png`` (a scatter plot, coloured by class), and for codes of two numbers ``map.png`` (what is
    drawn where).

    Args:
        pixel_range: what black and white are.
        neighbours: how many training images vote.
        limit: use so many training images.
    """

    primary = None
    goal: Literal["max"] = "max"

    def __init__(
        self, pixel_range: tuple[float, float], *, neighbours: Positive = 5, limit: Positive | None = 20_000
    ) -> None:
        self._range: PixelRange = pixel_range
        self._neighbours, self._limit = neighbours, limit
        self._sheets: dict[str, tuple[Tensor, int]] = {}
        self._codes = torch.empty(0)
        self._classes: Tensor | None = None

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Encode the split, and draw what is between and beyond its codes."""
        coder, device = require(model, Encodes, WHO), device_of(model)  # type: ignore[type-abstract]
        model.eval()
        images, classes = things(examples.data, examples.split, device, WHO, self._limit)
        told = classes if coder.num_classes else None
        codes = encoded(coder, images, told)
        self._sheets = self._pictures(model, codes, told)
        self._codes, self._classes = codes[:POINTS].cpu(), None if classes is None else classes[:POINTS].cpu()
        if classes is None:
            return {}
        known, known_classes = things(examples.data, "train", device, WHO, self._limit)
        assert known_classes is not None
        theirs = encoded(coder, known, known_classes if coder.num_classes else None)
        answers = nearest_classes(codes, theirs, known_classes, self._neighbours)
        return {"knn_accuracy": float((answers == classes).double().mean())}

    def write(self, folder: Path) -> None:
        """Write what the last `evaluate` drew."""
        for name, (images, across) in self._sheets.items():
            sheet(to_unit(images, self._range), across).save(folder / f"{name}.png")
        self._scatter(folder / "codes.png")

    def _pictures(self, model: nn.Module, codes: Tensor, told: Tensor | None) -> dict[str, tuple[Tensor, int]]:
        between = interpolated(codes[:PAIRS], codes[PAIRS : 2 * PAIRS], STEPS)
        wishes = None if told is None else told[: len(between) // STEPS].repeat_interleave(STEPS)
        order = codes.var(0, correction=0).argsort(descending=True)[:TRAVERSED]
        moved = traversed(codes[0], order, codes.std(0, correction=0))
        same = None if told is None else told[:1].expand(len(moved))
        pictures = {
            "interpolation": (drawn(model, between, wishes, WHO), STEPS),
            "traversal": (drawn(model, moved, same, WHO), STEPS),
            "random": (drawn_at_random(model, MAP * 5, 0, WHO)[0], MAP),
        }
        if codes.size(1) == 2:
            grid = torch.linspace(-REACH, REACH, MAP, device=codes.device)
            places = torch.cartesian_prod(-grid, grid).flip(1)  # up is more of the second, right more of the first
            first = None if told is None else told[:1].expand(len(places))
            pictures["map"] = (drawn(model, places, first, WHO), MAP)
        return pictures

    def _scatter(self, path: Path) -> None:
        codes, names = self._codes, ("first number", "second number")
        if codes.size(1) > 2:
            codes, names = Components.of(codes, 2).codes(codes).flip(1), ("first component", "second component")
        if codes.size(1) < 2:
            return
        with drawing(path, 6, 5) as figure:
            axes = figure.subplots()
            across, up = codes.T.numpy()
            dots = axes.scatter(across, up, s=5, c=None if self._classes is None else self._classes, cmap="tab10")
            axes.set(xlabel=names[0], ylabel=names[1], title="codes, coloured by class")
            if self._classes is not None:
                figure.colorbar(dots, label="class")


def encoded(coder: Encodes, images: Tensor, targets: Tensor | None) -> Tensor:
    """Return the codes (N, Z) of images (N, C, H, W)."""
    with torch.inference_mode():
        return torch.cat([coder.encode(some, wishes) for some, wishes in parts(images, targets)])  # type: ignore[arg-type]


def interpolated(starts: Tensor, ends: Tensor, steps: int) -> Tensor:
    """Return codes (N · steps, Z) on straight lines from starts (N, Z) to ends (M, Z), pair by pair."""
    count = min(len(starts), len(ends))
    shares = torch.linspace(0, 1, steps, device=starts.device)[None, :, None]
    lines = starts[:count, None] * (1 - shares) + ends[:count, None] * shares
    return lines.flatten(0, 1)


def traversed(code: Tensor, numbers: Tensor, deviations: Tensor) -> Tensor:
    """Return codes (M · steps, Z): a code (Z,) of which one of M numbers at a time goes from low to high."""
    moved = code.expand(len(numbers), STEPS, -1).clone()
    reach = torch.linspace(-REACH, REACH, STEPS, device=code.device)
    for row, number in enumerate(numbers.tolist()):
        moved[row, :, number] = reach * deviations[number]
    return moved.flatten(0, 1)


def nearest_classes(codes: Tensor, known: Tensor, classes: Tensor, neighbours: int) -> Tensor:
    """Return for codes (N, Z) the class (N,) that most of the nearest among known codes (M, Z) have."""
    answers = []
    for (some,) in parts(codes):
        assert some is not None
        nearest = torch.cdist(some, known).topk(min(neighbours, len(known)), largest=False).indices
        answers.append(classes[nearest].mode(1).values)
    return torch.cat(answers)
