"""Figures and a table of dreams.

Axes: B start images, C channels, S side of a dream.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from dlpipe.evaluation import write_csv
from dlpipe.figures import drawing, shortened
from dlpipe.messages import counted
from dlpipe.report_items import ReportItem
from dlpipe_vision.dream import Dream, sure_share
from dlpipe_vision.picture import to_pixels

#: Most targets in the figure; `dreams.png` has all of them.
ROWS = 10
#: Dreams in a row of `dreams.png` if there is one of each target.
COLUMNS = 5
#: White pixels between the dreams of `dreams.png`.
GAP = 2


def write_dreams(folder: Path, dreams: Sequence[Dream], notes: Sequence[str]) -> list[ReportItem]:
    """Write a figure of the octaves, all dreams pixel by pixel, and a table.

    Args:
        notes: what was done to the start image.
    """
    write_csv(folder / "deep_dream.csv", _table(dreams))
    _draw(folder / "deep_dream.png", dreams[:ROWS])
    Image.fromarray(to_pixels(_sheet(dreams))).save(folder / "dreams.png")
    side, count = dreams[0].start.shape[-1], len(dreams[0].start)
    of = f" (the first {ROWS} of {len(dreams)})" if len(dreams) > ROWS else ""
    prepared = f" The start image was {', '.join(notes)}." if notes else ""
    judge = " p is the mean probability that the judge gives to the class." if dreams[0].judged else ""
    grown = dreams[0].target.quantity
    return [
        ReportItem(
            "deep_dream.png",
            "Deep Dream",
            f"Each row is a target{of}; from left to right: the start image, what each octave makes of it, the last "
            "one being the dream, and the dream of the same layers with random weights. Below them is the "
            f"{grown}.{judge} What the network has learned shows in the dream, and not in that of the untrained one."
            f"{prepared}",
        ),
        ReportItem(
            "dreams.png",
            "Dreams, pixel by pixel",
            f"{side}×{side} pixels each, row by row as in the table; {counted(count, 'start image')} for each.",
            "image",
        ),
        ReportItem("deep_dream.csv", "Dreams", f"For each target the {grown}, before and after, and what it gained."),
    ]


def _table(dreams: Sequence[Dream]) -> Iterator[list[object]]:
    networks = ("", "_untrained")
    yield [
        "target",
        *(f"{column}{network}" for network in networks for column in ("start", "dream", "gain")),
        *(f"judge_{what}_{of}" for of in dreams[0].judged for what in ("probability", "sure")),
    ]
    for dream in dreams:
        ours, theirs = dream.trained, dream.untrained
        judged = [value for crops in dream.judged.values() for value in (float(crops.mean()), sure_share(crops))]
        gains = [ours.before, ours.after, dream.gain, theirs.before, theirs.after, dream.gain_untrained]
        yield [str(dream.target), *gains, *judged]


def _draw(path: Path, dreams: Sequence[Dream]) -> None:
    """Draw a row for each dream: the first start image, its octaves, and the dream of the untrained network."""
    sides = [images.size(-1) for images in dreams[0].trained.octaves]
    heads = ["start", *(f"octave {number}: {side} px" for number, side in enumerate(sides, 1)), "untrained network"]
    with drawing(path, 1.3 * len(heads), 1.62 * len(dreams) + 0.2) as figure:
        rows = figure.subplots(len(dreams), len(heads), squeeze=False)
        for axes in rows.flatten():
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        for axes, head in zip(rows[0], heads, strict=True):
            axes.set_title(head, fontsize=8)
        for cells, dream in zip(rows, dreams, strict=True):
            pictures = [dream.start, *dream.trained.octaves, dream.untrained.octaves[-1]]
            for axes, picture in zip(cells, pictures, strict=True):
                axes.imshow(to_pixels(_bytes(picture[0])), cmap="gray", vmin=0, vmax=255)
            lines = str(dream.target).split(" of ")
            cells[0].set_ylabel("\nof ".join(shortened(line, 22) for line in lines), fontsize=8)
            for axes, text in zip((cells[0], cells[-2], cells[-1]), _captions(dream), strict=True):
                axes.set_xlabel(text, fontsize=7)


def _captions(dream: Dream) -> Iterator[str]:
    """Yield what is below the start image, the dream, and that of the untrained network."""
    ours, theirs = dream.trained, dream.untrained
    values = (f"{ours.before:.3g}", f"{ours.after:.3g}", f"{theirs.before:.3g} → {theirs.after:.3g}")
    for of, value in zip(("start", "trained", "untrained"), values, strict=True):
        yield f"{value}, p {float(dream.judged[of].mean()):.2f}" if dream.judged else value


def _sheet(dreams: Sequence[Dream]) -> Tensor:
    """Return all dreams as bytes (C, height, width): a row for each target, or rows of targets with one dream each."""
    tiles = torch.cat([F.pad(_bytes(dream.trained.octaves[-1]), (0, GAP, 0, GAP), value=255) for dream in dreams])
    count = len(dreams[0].start)
    across = count if count > 1 else min(len(tiles), COLUMNS)
    tiles = F.pad(tiles, (0, 0, 0, 0, 0, 0, 0, -len(tiles) % across), value=255)
    rows = [torch.cat(list(row), dim=2) for row in tiles.split(across)]
    return torch.cat(rows, dim=1)[:, :-GAP, :-GAP]


def _bytes(images: Tensor) -> Tensor:
    return images.mul(255).round().byte()
