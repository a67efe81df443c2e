from __future__ import annotations

import base64
import io
import os
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dlpipe.errors import InputError
from dlpipe_vision.error_gallery import ErrorGallery, shorten_start

LABELS = ["sad", "<i>", "glad"]


class Page(HTMLParser):
    """The links, sections, images and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.hints, self.sections, self.images, self.text, self.tags = [], [], [], [], "", set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.add(tag)
        if tag == "a":
            self.links.append(values["href"])
            self.hints.append(values.get("title"))
        if tag == "section":
            self.sections.append(values["id"])
        if tag == "img":
            self.images.append(values)

    def handle_data(self, data):
        self.text += data + "\n"


class Guesses(nn.Module):
    """Calls bright first pixels "glad" and all others "sad", the surer the higher the row."""

    def forward(self, images):
        first = images[:, 0, 0, 0]
        sure = 1 + images[:, 0, 1, 1]
        return torch.stack([(first < 0.7) * sure, first * 0, (first > 0.7) * sure], dim=1)


class Knows(nn.Module):
    """Is always right."""

    def forward(self, images):
        return nn.functional.one_hot((images[:, 0, 0, 0] * 2.55).round().long(), 3) * 9.0


def written(folder, examples, model, **options):
    gallery = ErrorGallery((1, 5, 7), LABELS, **options)
    assert gallery.evaluate(model, examples) == {}
    gallery.write(folder)
    return Page((folder / "confusion.html").read_text(encoding="utf-8"))


def pixels(image):
    name, _, data = image["src"].partition(",")
    assert name == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_each_cell_links_to_its_images(tmp_path, faces_examples):
    page = written(tmp_path, faces_examples, Guesses())

    assert page.links[:3] == ["#t0p0", "#t1p0", "#t2p2"]
    assert sorted(page.sections) == ["t0p0", "t1p0", "t2p2"]
    assert page.hints[:3] == [
        "true sad → predicted sad: 3 of 3",
        "true <i> → predicted sad: 3 of 3",
        "true glad → predicted glad: 3 of 3",
    ]
    assert len(page.images) == 9
    assert "test: 3 of 9 images are misclassified" in page.text
    assert "true <i> → predicted sad: 3 images" in page.text


class Confuses(nn.Module):
    """Calls the second class "glad", the third "sad" but for one image of it, which is the second to the model."""

    def forward(self, images):
        first = (images[:, 0, 0, 0] * 2.55).round().long()
        guess = torch.tensor([0, 2, 0])[first]
        guess[5] = 1
        return nn.functional.one_hot(guess, 3) * 9.0


def test_the_most_frequent_mistake_comes_first_and_correct_answers_last(tmp_path, faces_examples):
    page = written(tmp_path, faces_examples, Confuses())

    assert page.sections == ["t1p2", "t2p0", "t2p1", "t0p0"]
    assert "true glad → predicted <i>: 1 image\n" in page.text


def test_a_caption_has_the_name_and_the_confidence(tmp_path, faces_examples):
    page = written(tmp_path, faces_examples, Knows())

    assert "<face 0>.png (1.00)\n" in page.text
    assert page.images[0]["alt"] == "<face 0>.png (1.00)"


def test_the_end_of_a_long_name_is_shown():
    assert shorten_start("test/automobile/0694.jpg") == "…t/automobile/0694.jpg"
    assert shorten_start("test/cat/0694.jpg") == "test/cat/0694.jpg"


def test_the_page_needs_nothing_else_and_escapes_names(tmp_path, faces_examples):
    page = written(tmp_path, faces_examples, Guesses())

    assert not page.tags & {"i", "face", "script", "link"}
    assert all(link.startswith("#") for link in page.links)
    assert "<face 4>.png" in page.text


def test_at_most_worst_images_are_drawn_the_worst_first(tmp_path, faces, faces_examples):
    page = written(tmp_path, faces_examples, Guesses(), per_cell=2)
    pictures = faces.pictures("test", torch.tensor([1, 4, 7]))
    wrong = pictures[pictures[:, 0, 1, 1].argsort(descending=True)]

    assert len(page.images) == 6
    assert "true <i> → predicted sad: 2 of 3 images" in page.text
    assert [pixels(image).tolist() for image in page.images[:2]] == wrong[:2, 0].tolist()


def test_small_images_are_enlarged_by_a_whole_number(tmp_path, faces_examples):
    page = written(tmp_path, faces_examples, Guesses())

    assert {(image["width"], image["height"]) for image in page.images} == {("91", "65")}


def test_the_worst_mistakes_are_drawn(tmp_path, faces_examples):
    gallery = ErrorGallery((1, 5, 7), LABELS, worst=2)
    gallery.evaluate(Guesses(), faces_examples)

    worst, page = gallery.write(tmp_path)

    assert Image.open(tmp_path / worst.file).format == "PNG"
    assert worst.caption.startswith("2 of the 3 misclassified images of test, most confident first;")
    assert (page.file, page.caption[:49]) == ("confusion.html", "3 of the 9 images of test are misclassified. Rows")


def test_without_mistakes_there_is_no_worst_png(tmp_path, faces_examples):
    page = written(tmp_path, faces_examples, Knows())

    assert "test: 0 of 9 images are misclassified" in page.text
    assert not (tmp_path / "worst.png").exists()


def test_a_name_that_is_not_utf_8_is_shown_with_an_escape(tmp_path, faces, faces_examples):
    faces._sets["test"].names[1] = os.fsdecode(b"caf\xe9.png")

    page = written(tmp_path, faces_examples, Knows())

    assert "caf\\udce9.png" in page.text


def test_other_data_than_images_is_refused(other_examples):
    with pytest.raises(
        InputError, match=r"vision.error_gallery needs labeled images, such as vision.digits; the data is object"
    ):
        ErrorGallery((1, 5, 7), LABELS).evaluate(Knows(), other_examples)


def test_a_cell_of_the_matrix_is_as_dark_as_the_root_of_its_share():
    gallery = ErrorGallery((1, 5, 7), LABELS)

    assert "rgba(0, 70, 130, 0.50)" in gallery._cell(0, 2, 100, 25)
    assert gallery._cell(0, 2, 100, 0) == "<td></td>"
