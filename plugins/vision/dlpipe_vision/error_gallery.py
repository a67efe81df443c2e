"""The images that a classifier got wrong: the worst mistakes, and the images of each cell of the confusion matrix.

Axes: M chosen images, K classes.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Literal

from PIL import Image
from torch import Tensor, nn

from dlpipe.evaluation import Answers, Examples, collect, confusion_of
from dlpipe.fields import Positive
from dlpipe.figures import drawing, shortened
from dlpipe.report_items import ReportItem
from dlpipe_vision.labeled_images import LabeledImages, require_labeled_images
from dlpipe_vision.picture import to_pixels

#: Size of an image on the page: small ones are enlarged by a whole number, large ones are reduced.
PAGE_PIXELS = 96
#: Images in a row of ``worst.png``.
COLUMNS = 6
#: Letters of a name that fit above one of these images.
NAME_LENGTH = 22
STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 1.5rem; color: #222; background: #fff; }
.matrix { overflow: auto; max-height: 85vh; border: 1px solid #ccc; width: fit-content; max-width: 100%; }
table { border-collapse: separate; border-spacing: 0; }
th, td { text-align: center; border: 1px solid #eee; min-width: 2.4rem; }
th, td a { padding: .3rem .5rem; }
thead th { position: sticky; top: 0; background: #f6f6f6; }
tbody th { position: sticky; left: 0; background: #f6f6f6; text-align: right; }
tbody th { max-width: 12rem; overflow-wrap: anywhere; }
td a { color: inherit; display: block; }
td a:hover, td a:focus { outline: 3px solid #E69F00; }
td.right { outline: 2px solid #777; outline-offset: -2px; }
.dark { color: #fff; }
section { border-top: 1px solid #ccc; margin-top: 1.5rem; scroll-margin-top: 1rem; }
section:target h2 { background: #fff3c4; }
h2 { font-size: 1.1rem; }
ul { display: flex; flex-wrap: wrap; gap: .8rem; list-style: none; padding: 0; }
figure { margin: 0; width: 8rem; overflow-wrap: anywhere; font-size: .85rem; }
img { image-rendering: pixelated; border: 1px solid #ccc; }
"""


class ErrorGallery:
    """Show misclassified images; it has no metrics.

    ``write`` writes ``confusion.html``, a self-contained page: the confusion matrix, with a link from each cell to its
    images. Mistakes are sorted by confidence, highest first, and correct answers by confidence, lowest first. The
    most frequent mistake comes first. It also writes ``worst.png``, the most confident mistakes of all, if there are
    any.

    Args:
        image_shape: (C, H, W) of the images.
        labels: the name of each class.
        per_cell: most images shown per cell of the confusion matrix.
        worst: most images in ``worst.png``.
    """

    primary = None
    goal: Literal["max"] = "max"

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        labels: Sequence[str],
        *,
        per_cell: Positive = 20,
        worst: Positive = 36,
    ) -> None:
        self._shape, self._labels, self._per_cell, self._worst = image_shape, list(labels), per_cell, worst
        self._last: tuple[LabeledImages, str, Answers] | None = None

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Collect the answers of the model; there are no metrics."""
        data = require_labeled_images(examples.data, "vision.error_gallery")
        self._last = data, examples.split, collect(examples.predictions(model), len(self._labels), model)
        return {}

    def write(self, folder: Path) -> list[ReportItem]:
        """Write the page and the figure of the last `evaluate`."""
        assert self._last is not None
        data, split, answers = self._last
        content = "\n".join(self._page(data, split, answers))
        # The name of an image need not be UTF-8.
        (folder / "confusion.html").write_text(content, encoding="utf-8", errors="backslashreplace")
        page = ReportItem(
            "confusion.html",
            "Images by true and predicted class",
            f"{int((~answers.right).sum())} of the {len(answers.right)} images of {split} are misclassified. Rows are "
            "true classes, columns predicted ones; each number links to its images, "
            f"up to {self._per_cell} per cell.",
        )
        order = answers.worst_first()
        wrong = order[~answers.right[order]][: self._worst]
        if not len(wrong):
            return [page]
        self._draw_worst(folder / "worst.png", data, split, answers, wrong)
        return [_describe_worst(answers, split, len(wrong)), page]

    def _draw_worst(self, path: Path, data: LabeledImages, split: str, answers: Answers, wrong: Tensor) -> None:
        down = math.ceil(len(wrong) / COLUMNS)
        names, pictures = data.names(split), data.pictures(split, answers.rows[wrong])
        with drawing(path, COLUMNS * 1.55, down * 2.05 + 0.4) as figure:
            kind = "misclassified" if answers.confidence is None else "most confidently wrong"
            figure.suptitle(f"{split}: {kind}, {len(wrong)} of {int((~answers.right).sum())}")
            cells = figure.subplots(down, COLUMNS, squeeze=False).flatten()
            for axes in cells:
                axes.set_axis_off()
            for axes, number, picture in zip(cells, wrong.tolist(), pictures, strict=False):
                axes.imshow(to_pixels(picture), cmap="gray", vmin=0, vmax=255)
                name = shorten_start(names[int(answers.rows[number])])
                axes.set_title(f"{name}\n{describe(answers, number, self._labels)}", fontsize=7.5)

    def _page(self, data: LabeledImages, split: str, answers: Answers) -> Iterator[str]:
        wrong = int((~answers.right).sum())
        title = f"{split}: {wrong} of {len(answers.right)} images are misclassified"
        yield f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>'
        yield f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>"
        yield (
            "<p>Rows are true classes, columns are predicted classes. Each number links to its images. Below: "
            "the most frequent mistake first, then correct answers; the confidence is in brackets.</p>"
        )
        confusion = confusion_of(answers, len(self._labels))
        yield from self._matrix(confusion)
        names, order = data.names(split), answers.worst_first()
        for true, predicted in _mistakes_first(confusion):
            cell = order[(answers.targets[order] == true) & (answers.predicted[order] == predicted)]
            shown = cell[: self._per_cell]
            pictures = data.pictures(split, answers.rows[shown])
            heading = f"{self._cell_name(true, predicted)}: {_count(len(shown), len(cell))}"
            yield f'<section id="t{true}p{predicted}">\n<h2>{escape(heading)}</h2>\n<ul>'
            for number, picture in zip(shown.tolist(), pictures, strict=True):
                yield _figure(picture, names[int(answers.rows[number])] + _confidence(answers, number))
            yield '</ul>\n<a href="#matrix">back to the matrix</a>\n</section>'
        yield "</body>\n</html>\n"

    def _matrix(self, confusion: Tensor) -> Iterator[str]:
        heads = "".join(f'<th scope="col">{escape(label)}</th>' for label in self._labels)
        yield '<div class="matrix" id="matrix"><table>'
        yield f"<thead><tr><th>true ↓ predicted →</th>{heads}</tr></thead><tbody>"
        for true, counts in enumerate(confusion.tolist()):
            cells = "".join(self._cell(true, predicted, sum(counts), count) for predicted, count in enumerate(counts))
            yield f'<tr><th scope="row">{escape(self._labels[true])}</th>{cells}</tr>'
        yield "</tbody></table></div>"

    def _cell(self, true: int, predicted: int, support: int, count: int) -> str:
        if not count:
            return "<td></td>"
        share = (count / support) ** 0.5  # the root keeps rare mistakes visible next to many correct answers
        classes = " ".join(name for name, applies in (("right", true == predicted), ("dark", share > 0.6)) if applies)
        color = f"background: rgba(0, 70, 130, {share:.2f})"
        hint = escape(f"{self._cell_name(true, predicted)}: {count} of {support}")
        link = f'<a href="#t{true}p{predicted}" title="{hint}">{count}</a>'
        return f'<td class="{classes}" style="{color}">{link}</td>'

    def _cell_name(self, true: int, predicted: int) -> str:
        return f"true {self._labels[true]} → predicted {self._labels[predicted]}"


def describe(answers: Answers, number: int, labels: Sequence[str]) -> str:
    """Return the true and the predicted class of an answer, in two short lines."""
    true, predicted = (shortened(labels[int(numbers[number])], 12) for numbers in (answers.targets, answers.predicted))
    return f"true {true}\npredicted {predicted}{_confidence(answers, number)}"


def _describe_worst(answers: Answers, split: str, shown: int) -> ReportItem:
    order, confidence = "", ""
    if answers.confidence is not None:
        order, confidence = ", most confident first", ", with the confidence in brackets"
    return ReportItem(
        "worst.png",
        "Misclassified images" if answers.confidence is None else "Most confident mistakes",
        f"{shown} of the {int((~answers.right).sum())} misclassified images of {split}{order}; above each, its name, "
        f"the true class and the predicted one{confidence}. A clear image shows what the model has not learned; one "
        "that a person would misread too is excusable, and some labels may be wrong.",
    )


def shorten_start(name: str) -> str:
    """Return the end of a long name, where files of one folder differ."""
    return name if len(name) <= NAME_LENGTH else f"…{name[1 - NAME_LENGTH :]}"


def _mistakes_first(confusion: Tensor) -> list[tuple[int, int]]:
    """Return the cells that are not empty: mistakes, most frequent first, then correct answers by class."""
    cells = [(true, predicted) for true, predicted in confusion.nonzero().tolist()]
    return sorted(cells, key=lambda cell: (0, -int(confusion[cell])) if cell[0] != cell[1] else (1, cell[0]))


def _count(shown: int, total: int) -> str:
    images = "1 image" if total == 1 else f"{total} images"
    return images if shown == total else f"{shown} of {images}"


def _figure(picture: Tensor, caption: str) -> str:
    image = Image.fromarray(to_pixels(picture))
    image.thumbnail((PAGE_PIXELS, PAGE_PIXELS), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "png")
    factor = max(PAGE_PIXELS // max(image.size), 1)
    return (
        f'<li><figure><img src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}" '
        f'width="{image.width * factor}" height="{image.height * factor}" alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure></li>"
    )


def _confidence(answers: Answers, number: int) -> str:
    return "" if answers.confidence is None else f" ({answers.confidence[number]:.2f})"
