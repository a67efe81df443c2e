"""What ``dlpipe predict`` does with a trained model that draws: draw, walk from image to image, draw a picture again.

Axes: N images, C channels, H rows, W columns, Z numbers an image is drawn from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dlpipe.compute import Compute
from dlpipe.errors import InputError
from dlpipe.fields import NonNegative, Positive
from dlpipe.messages import nearest
from dlpipe.protocols import Data
from dlpipe_generative.contracts import Draws, Encodes, require
from dlpipe_generative.drawn import classes_in_turn, drawn
from dlpipe_generative.latent import encoded, interpolated
from dlpipe_generative.pixels import to_unit
from dlpipe_generative.samples import spherical
from dlpipe_generative.sheets import sheet
from dlpipe_generative.things import normal

WHO = "predict"


def draw(
    model: nn.Module,
    data: Data,
    compute: Compute,
    *,
    items: Sequence[str] = (),
    count: Positive = 64,
    seed: NonNegative = 0,
    label: str | None = None,
    interpolate: bool = False,
    steps: Positive = 10,
    output: Path = Path("drawn.png"),
) -> Iterator[dict[str, Any]]:
    """Draw images and write them; points are told.

    Args:
        items: pictures to draw again from their codes, for models that encode.
        count: how many to draw; with --interpolate, how many walks.
        seed: of the numbers that they are drawn from.
        label: the class to draw, for models that can be told one; all of them in turn if not given.
        interpolate: walk from one image to another, or from each of the given pictures to the next.
        steps: images of a walk.
        output: a .png file for all of them side by side, a .npz file for the numbers, or a folder for single files.
    """
    draws = require(model, Draws, WHO)  # type: ignore[type-abstract]
    wish = _class_of(label, draws.num_classes, data, compute)
    across = draws.num_classes if label is None else None
    if items:
        latent, given = _codes(model, data, compute, items, wish)
        if interpolate:
            latent, across = interpolated(latent[:-1], latent[1:], steps), steps
        targets = None if wish is None else wish.expand(len(latent))
    else:
        latent, given = normal(2 * count if interpolate else count, draws.latent_dim, seed, compute.device), None
        if interpolate:
            latent, across = spherical(latent[:count], latent[count:], steps), steps
        targets = _targets(len(latent), steps if interpolate else 1, draws.num_classes, wish, compute)
    images = drawn(model, latent, targets, WHO)
    if "pixel_range" not in data.facts:
        yield from ({"point": [round(number, 4) for number in point]} for point in images.tolist())
        return
    shown = to_unit(images, data.facts["pixel_range"])
    if given is not None and not interpolate:  # above what was made of them
        shown, across = torch.cat([to_unit(given, data.facts["pixel_range"]), shown]), len(given)
    _write(output, shown, across)
    labels = data.facts.get("labels", [])
    told = {} if targets is None or items else {"labels": [labels[number] for number in targets[:across].tolist()]}
    yield {"written": str(output), "images": len(images), **({} if items else {"seed": seed}), **told}


def _class_of(label: str | None, num_classes: int | None, data: Data, compute: Compute) -> Tensor | None:
    """Return the number (1,) of a class that is asked for."""
    if label is None:
        return None
    labels = [str(known) for known in data.facts.get("labels", [])]
    if num_classes is None:
        raise InputError(
            f"--label {label}: this model cannot be told a class; train it with [model] conditional = true"
        )
    if label not in labels:
        raise InputError(f"--label {label}: expected one of {', '.join(labels)}.{nearest(label, labels)}")
    return torch.tensor([labels.index(label)], device=compute.device)


def _targets(count: int, each: int, num_classes: int | None, wish: Tensor | None, compute: Compute) -> Tensor | None:
    """Return the classes of what is drawn: the one that is asked for, or all in turn, `each` so many times."""
    if wish is not None:
        return wish.expand(count)
    turns = classes_in_turn(count // each, num_classes, compute.device)
    return None if turns is None else turns.repeat_interleave(each)


def _codes(
    model: nn.Module, data: Data, compute: Compute, items: Sequence[str], wish: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return codes (N, Z) of a person's pictures, and these (N, C, H, W)."""
    if not isinstance(model, Encodes):
        raise InputError(f"{items[0]}: {type(model).__name__} draws, but cannot tell the code of a picture; give none")
    if model.num_classes is not None and wish is None:
        raise InputError(f"{items[0]}: this model must be told of which class the pictures are: --label")
    images = torch.stack([data.encode(item)["images"] for item in items]).to(compute.device)
    targets = None if wish is None else wish.expand(len(images))
    model.eval()
    return encoded(model, images, targets), images


def _write(output: Path, images: Tensor, across: int | None) -> None:
    """Write images (N, C, H, W) from 0 to 1."""
    if output.suffix == ".npz":
        np.savez(output, images=images.cpu().numpy())
    elif output.suffix:
        if output.suffix != ".png":
            raise InputError(f"--output {output}: expected a name that ends in .png or .npz, or a folder")
        sheet(images, across).save(output)
    else:
        output.mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(images):
            sheet(image[None]).save(output / f"{number:05d}.png")
