from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from dlpipe.compute import Compute
from dlpipe.data import FailedItem
from dlpipe.errors import InputError
from dlpipe_vision.picture import open_image, to_tensor
from dlpipe_vision.stylize import stylize

from .test_stylization import transfer

DATA = SimpleNamespace(facts={"image_shape": (3, 16, 16)})


@pytest.fixture
def folder(tmp_path):
    """Two pictures of 21 × 14 pixels and a style of 9 × 30, all noise."""
    generator = torch.Generator().manual_seed(0)
    for name, size in (("a", (14, 21)), ("b", (14, 21)), ("style", (30, 9))):
        pixels = torch.randint(256, (*size, 3), generator=generator, dtype=torch.uint8)
        place = tmp_path / ("styles" if name == "style" else "pictures")
        place.mkdir(exist_ok=True)
        Image.fromarray(pixels.numpy()).save(place / f"{name}.png")
    Image.new("RGB", (7, 9)).save(tmp_path / "styles" / "tiny.png")
    return tmp_path


def run(folder, *items, **options):
    options = {"style": folder / "styles" / "style.png", "output": folder / "out.png"} | options
    items = [str(folder / "pictures" / item) for item in items]
    return list(stylize(transfer().eval(), DATA, Compute(torch.device("cpu")), items=items, **options))


def pixels(path):
    return to_tensor(open_image(path))


def test_a_picture_is_drawn_in_its_own_size(folder):
    (answer,) = run(folder, "a.png")

    assert answer == {
        "item": str(folder / "pictures" / "a.png"),
        "written": str(folder / "out.png"),
        "width": 21,
        "height": 14,
    }
    image, style = (pixels(folder / part)[None] / 255 for part in ("pictures/a.png", "styles/style.png"))
    expected = transfer().eval().stylize(image, style)[0]
    assert_close(pixels(folder / "out.png") / 255, expected.detach(), atol=0.5 / 255 + 1e-6, rtol=0)


def test_pictures_may_be_resized(folder):
    (answer,) = run(folder, "a.png", size=10)

    assert (answer["width"], answer["height"]) == (15, 10)


@pytest.mark.parametrize("option", [{"strength": 0.0}, {"style_size": 20}])
def test_an_option_changes_the_picture(folder, option):
    run(folder, "a.png")
    run(folder, "a.png", output=folder / "other.png", **option)

    assert not pixels(folder / "out.png").equal(pixels(folder / "other.png"))


def test_several_pictures_are_written_to_a_folder(folder):
    answers = run(folder, ".", output=folder / "out")

    assert [answer["written"] for answer in answers] == [str(folder / "out" / f"{name}.png") for name in "ab"]
    assert pixels(folder / "out" / "b.png").shape == (3, 14, 21)


@pytest.mark.parametrize("name", ["v1.5", "drawn.of.june", "existing.png"])
def test_a_folder_may_have_a_dot_in_its_name(folder, name):
    (folder / "existing.png").mkdir()

    (answer,) = run(folder, "a.png", output=folder / name)

    assert answer["written"] == str(folder / name / "a.png")
    assert pixels(folder / name / "a.png").shape == (3, 14, 21)


def test_a_picture_that_takes_too_much_memory_is_refused(folder, monkeypatch):
    monkeypatch.setattr("dlpipe_vision.stylize.MAX_PIXELS", 270)  # 21 × 14 are 294, 9 × 30 are the 270 of the style

    large, enlarged = run(folder, "a.png") + run(folder, "a.png", size=4000)
    (drawn,) = run(folder, "a.png", size=12)

    expected = "expected at most 270, whose maps fit into memory; make the picture smaller: --size 12"
    assert f"a.png: 21×14 pixels; {expected}" in str(large.error)
    assert f"a.png: 6000×4000 pixels; {expected}" in str(enlarged.error)
    assert (drawn["width"], drawn["height"]) == (18, 12)
    with pytest.raises(InputError, match="style.png: 10×33 pixels; expected at most 270, .* smaller: --style-size 8"):
        run(folder, "a.png", style_size=10, output=folder / "other.png")


def test_a_bad_picture_does_not_stop_the_others(folder):
    (folder / "pictures" / "a.png").write_bytes(b"no picture")

    bad, good = run(folder, "a.png", "b.png", output=folder / "out")

    assert isinstance(bad, FailedItem)
    assert "a.png cannot be read as an image" in str(bad.error)
    assert good["written"] == str(folder / "out" / "b.png")


@pytest.mark.parametrize(
    ("items", "options", "message"),
    [
        ([], {}, "give a picture to draw in the style of --style, or a folder of pictures"),
        (["a.png", "b.png"], {}, "out.png is a file, and there are 2 pictures; name a folder: --output "),
        (["a.png"], {"output": "out.jpg"}, "out.jpg: expected a name that ends in .png, or a folder"),
        (["a.png"], {"output": "pictures"}, "pictures: expected a new or an empty folder; choose another name"),
        (["a.png"], {"output": "pictures/b.png"}, "b.png exists; remove it, or choose another name"),
        (["a.png", "a.png"], {"output": "out"}, "several pictures would be a.png, such as "),
        (["a.png"], {"style": "styles/none.png"}, "none.png: no such file; expected an image"),
        (
            ["a.png"],
            {"style": "styles/tiny.png"},
            "tiny.png: 7×9 pixels; expected at least 8×8, or a larger --style-size",
        ),
        (["a.png"], {"style": "pictures"}, "pictures is a folder; expected one picture"),
    ],
)
def test_what_cannot_be_written_or_read_is_refused(folder, items, options, message):
    options = {name: folder / value for name, value in options.items()}

    with pytest.raises(InputError, match=re.escape(message)):
        run(folder, *items, **options)
