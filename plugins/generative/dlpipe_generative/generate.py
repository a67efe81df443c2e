"""What ``dlpipe predict`` does with a trained generative model: sample, interpolate, and reconstruct given images.

Axes: N images, C channels, H rows, W columns, Z latent dimensions.
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
from dlpipe.protocols import Data, SupportsExpand, SupportsItems
from dlpipe_generative.image_grid import image_grid
from dlpipe_generative.latent import encode_batched, linear_interpolation
from dlpipe_generative.pixels import to_unit
from dlpipe_generative.protocols import EncodingModel, GenerativeModel, require
from dlpipe_generative.samples import spherical_interpolation
from dlpipe_generative.sampling import cycled_classes, generate_samples
from dlpipe_generative.split_tensors import class_names, standard_normal

WHO = "predict"


def generate(
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
    output: Path = Path("samples.png"),
) -> Iterator[dict[str, Any]]:
    """Generate images and write them to a file; points are printed.

    Args:
        items: images to reconstruct, or folders of such, for models that encode images.
        count: number of samples; with --interpolate, number of interpolations.
        seed: of the latent vectors.
        label: the class to generate, for conditional models; by default all classes in turn.
        interpolate: interpolate between two samples, or from each of the given images to the next.
        steps: number of images of an interpolation.
        output: a .png file for a grid of all images, a .npz file for the arrays, or a folder for one file per image.
    """
    generative = require(model, GenerativeModel, WHO)  # type: ignore[type-abstract]
    chosen_class = _class_index(label, model, generative.num_classes, data, compute)
    columns = generative.num_classes if label is None else None
    originals = None
    items = _expanded(items, data)
    if items:
        latent, originals = _encode_items(model, data, compute, items, chosen_class)
        if interpolate:
            if len(items) < 2:
                raise InputError(
                    f"--interpolate goes from each image to the next, and {items[0]} is the only one; give at least two"
                )
            latent, columns = linear_interpolation(latent[:-1], latent[1:], steps), steps
        targets = None if chosen_class is None else chosen_class.expand(len(latent))
    else:
        latent = standard_normal(2 * count if interpolate else count, generative.latent_dim, seed, compute.device)
        if interpolate:
            latent, columns = spherical_interpolation(latent[:count], latent[count:], steps), steps
        repeats = steps if interpolate else 1
        targets = _targets(len(latent), repeats, generative.num_classes, chosen_class, compute)
    samples = generate_samples(model, latent, targets, WHO)
    if "pixel_range" not in data.facts:
        yield from ({"point": [round(number, 4) for number in point]} for point in samples.tolist())
        return
    images = to_unit(samples, data.facts["pixel_range"])
    if originals is not None and not interpolate:  # the originals above their reconstructions
        images, columns = torch.cat([to_unit(originals, data.facts["pixel_range"]), images]), len(originals)
    names = class_names(data, targets)
    _write(output, images, columns, names if len(names) == len(images) else [])
    shown = {} if targets is None or items else {"labels": names[::steps] if interpolate else names[:columns]}
    yield {"written": str(output), "images": len(samples), **({} if items else {"seed": seed}), **shown}


def _class_index(
    label: str | None, model: nn.Module, num_classes: int | None, data: Data, compute: Compute
) -> Tensor | None:
    """Return the index (1,) of the class named `label`."""
    if label is None:
        return None
    labels = [str(known) for known in data.facts.get("labels", [])]
    if num_classes is None:
        raise InputError(
            f"--label {label}: the model is an unconditional {type(model).__name__}; leave --label out, or train a "
            "model with conditional = true"
        )
    if label not in labels:
        raise InputError(f"--label {label}: expected one of {', '.join(labels)}.{nearest(label, labels)}")
    return torch.tensor([labels.index(label)], device=compute.device)


def _targets(
    count: int, repeats: int, num_classes: int | None, chosen_class: Tensor | None, compute: Compute
) -> Tensor | None:
    """Return the classes to generate: the chosen one, or all in turn, each repeated `repeats` times."""
    if chosen_class is not None:
        return chosen_class.expand(count)
    classes = cycled_classes(count // repeats, num_classes, compute.device)
    return None if classes is None else classes.repeat_interleave(repeats)


def _expanded(items: Sequence[str], data: Data) -> list[str]:
    """Return the single images that items stand for, such as those in a folder."""
    if not isinstance(data, SupportsExpand):
        return list(items)
    return [image for item in items for image in (data.expand(item) if item else [item])]  # "" is the current folder


def _encode_items(
    model: nn.Module, data: Data, compute: Compute, items: Sequence[str], chosen_class: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the codes (N, Z) of given images, and the images (N, C, H, W)."""
    if not isinstance(model, EncodingModel):
        raise InputError(
            f"{items[0]}: {type(model).__name__} cannot encode images; leave the items out to generate samples"
        )
    if model.num_classes is not None and chosen_class is None:
        raise InputError(f"{items[0]}: the model is conditional; give the class of the images with --label")
    if not isinstance(data, SupportsItems):
        raise InputError(f"{items[0]}: {type(data).__name__} cannot encode items; give none")
    images = torch.stack([data.encode(item)["images"] for item in items]).to(compute.device)
    targets = None if chosen_class is None else chosen_class.expand(len(images))
    model.eval()
    return encode_batched(model, images, targets), images


def _write(output: Path, images: Tensor, columns: int | None, captions: Sequence[str]) -> None:
    """Write images (N, C, H, W) from 0 to 1, with captions below them in a picture of all."""
    if output.suffix == ".npz":
        np.savez(output, images=images.cpu().numpy())
    elif output.suffix:
        if output.suffix != ".png":
            raise InputError(f"--output {output}: expected a name that ends in .png or .npz, or a folder")
        image_grid(images, columns, captions=captions).save(output)
    else:
        output.mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(images):
            image_grid(image[None]).save(output / f"{number:05d}.png")
