"""A person's own picture: every kind of file becomes an image like those of the training, or an error says why not."""

from __future__ import annotations

import re
import struct
import zlib

import pytest
import torch
from PIL import Image

from dlpipe.errors import InputError
from dlpipe_vision.picture import SUFFIXES, open_image, read_picture, to_pixels

GREY, COLOUR = (1, 4, 6), (3, 4, 6)


@pytest.fixture
def read(tmp_path):
    """Save a picture and read it as one of a shape."""

    def read(image, shape=GREY, *, dark=False, name="picture.png", **options):
        image.save(tmp_path / name, **options)
        return read_picture(tmp_path / name, shape, dark=dark)

    return read


def plain(mode, colour):
    return Image.new(mode, (6, 4), colour)


def test_a_picture_of_the_right_kind_is_left_as_it_is(read):
    image = Image.frombytes("L", (6, 4), bytes(range(24)))

    pixels, done = read(image)

    assert pixels.flatten().tolist() == list(range(24))
    assert done == []


@pytest.mark.parametrize(
    ("image", "values"),
    [
        (plain("1", 1), [255] * 3),
        (plain("I;16", 200 * 256), [200] * 3),
        (plain("I;16", 255), [255] * 3),
        (plain("RGBA", (200, 10, 30, 0)), [255] * 3),
        (plain("RGBA", (200, 10, 30, 255)), [200, 10, 30]),
        (plain("LA", (40, 0)), [255] * 3),
    ],
    ids=["1 bit", "16 bits", "8 of 16 bits", "transparent", "opaque", "transparent grey"],
)
def test_every_kind_of_colour_is_understood(read, image, values):
    pixels, _ = read(image, COLOUR)

    assert pixels[:, 0, 0].tolist() == values


def test_transparency_of_a_palette_becomes_white(read):
    image = plain("P", 0)
    image.putpalette([10, 20, 30, 40, 50, 60])

    pixels, _ = read(image, COLOUR, transparency=0)

    assert pixels[:, 0, 0].tolist() == [255] * 3


def test_colours_of_print_are_understood(read):
    pixels, _ = read(plain("CMYK", (0, 255, 255, 0)), COLOUR, name="print.tif")

    assert pixels[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "bmp", "gif", "webp", "tif", "tiff", "pgm", "ppm"])
def test_every_kind_of_file_in_the_documentation_is_read(read, suffix):
    pixels, _ = read(
        plain("RGB" if suffix == "ppm" else "L", 200 if suffix != "ppm" else (200,) * 3), name=f"a.{suffix}"
    )

    assert pixels.float().mean() == pytest.approx(200, abs=2)
    assert f".{suffix}" in SUFFIXES


@pytest.mark.parametrize(
    ("mode", "colour", "expected"), [("1", 1, "L"), ("F", 9.0, "L"), ("CMYK", (0, 9, 9, 0), "RGB")]
)
def test_what_is_opened_is_grey_or_of_three_colours(tmp_path, mode, colour, expected):
    plain(mode, colour).save(tmp_path / "a.tif")

    assert open_image(tmp_path / "a.tif").mode == expected


def test_a_picture_is_turned_as_its_camera_was_held(read):
    image, exif = Image.frombytes("L", (4, 6), bytes(range(24))), Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees

    pixels, done = read(image, exif=exif)

    assert pixels[0, 0].tolist() == [20, 16, 12, 8, 4, 0]
    assert done == []


def test_the_first_picture_of_an_animation_counts(read):
    pixels, _ = read(plain("L", 9), name="moving.gif", save_all=True, append_images=[plain("L", 200)])

    assert pixels.unique().tolist() == [9]


@pytest.mark.parametrize(
    ("image", "shape", "expected"),
    [(plain("RGB", (9, 9, 9)), GREY, ["made grey"]), (plain("L", 9), COLOUR, ["made colour of grey"])],
)
def test_what_was_done_to_the_colours_is_said(read, image, shape, expected):
    assert read(image, shape)[1] == expected


@pytest.mark.parametrize(("value", "dark", "expected"), [(250, True, 5), (250, False, 250), (100, True, 100)])
def test_a_light_ground_is_inverted_where_training_images_are_dark(read, value, dark, expected):
    pixels, done = read(plain("L", value), dark=dark)

    assert pixels[0, 0, 0] == expected
    assert done == (["inverted, as the training images are light on dark"] if value != expected else [])


@pytest.mark.parametrize("edges", ["top and left", "bottom and right"])
def test_the_ground_is_what_most_of_the_four_edges_show(read, edges):
    image = Image.new("L", (8, 8), 0)
    image.paste(200, (0, 0, 8, 1))
    image.paste(200, (0, 0, 1, 8))
    if edges == "bottom and right":
        image = image.rotate(180)

    _, done = read(image, (1, 8, 8), dark=True)

    assert done == ["inverted, as the training images are light on dark"]


def test_people_look_at_three_channels_as_colours_and_at_others_as_grey():
    bytes_of = torch.arange(24, dtype=torch.uint8)

    assert to_pixels(bytes_of.view(3, 2, 4))[1, 2].tolist() == [6, 14, 22]
    assert to_pixels(bytes_of.view(2, 3, 4))[1, 2] == (6 + 18) / 2


def test_a_picture_of_another_shape_gets_a_border_of_its_ground(read):
    image = Image.new("L", (8, 8), 70)
    image.paste(0, (3, 3, 5, 5))

    pixels, done = read(image)

    assert done == ["resized from 8×8 to 6×4 with a border, to keep its shape"]
    assert pixels[0, :, [0, 5]].unique().tolist() == [70]


def test_the_border_of_a_coloured_picture_has_its_colour(read):
    pixels, _ = read(Image.new("RGB", (8, 8), (10, 200, 30)), COLOUR)

    assert pixels[:, 0, 0].tolist() == [10, 200, 30]


def test_a_larger_picture_of_the_same_shape_gets_no_border(read):
    assert read(Image.new("L", (12, 8), 70))[1] == ["resized from 12×8 to 6×4"]


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


BOMB = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
LARGE = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 12_000, 9_000, 8, 2, 0, 0, 0))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "picture.png: there is no such file"),
        (b"", "picture.png: the file is empty; expected an image"),
        (b"words, no picture", "picture.png cannot be read as an image: cannot identify image file"),
        (BOMB + chunk(b"IDAT", b"x"), "picture.png: too many pixels; expected 100,000,000 at most, make it smaller"),
        (LARGE + chunk(b"IDAT", b"x"), "picture.png: 12000×9000 pixels; expected 100,000,000 at most, make it smaller"),
    ],
    ids=["missing", "empty", "text", "bomb", "too large"],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_file_that_is_no_picture_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "picture.png").write_bytes(content)

    with pytest.raises(InputError, match=re.escape(message) + "$"):
        read_picture(tmp_path / "picture.png", GREY, dark=False)


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [("I;16", 200 * 256, 200), ("I;16B", 200 * 256, 200), ("I", 200 * 256, 200), ("I", 90_000, 255), ("I", 0, 0)],
)
def test_grey_of_more_than_8_bits_is_made_of_8(tmp_path, mode, value, expected):
    plain(mode, value).save(tmp_path / "a.tif")

    assert open_image(tmp_path / "a.tif").getpixel((0, 0)) == expected


def test_a_folder_is_no_picture(tmp_path):
    with pytest.raises(InputError, match="cannot be read as an image: Is a directory$"):
        open_image(tmp_path)


def test_a_picture_that_is_cut_off_is_refused(tmp_path):
    Image.effect_noise((60, 40), 50).save(tmp_path / "whole.png")
    (tmp_path / "part.png").write_bytes((tmp_path / "whole.png").read_bytes()[:500])

    with pytest.raises(InputError, match=r"part.png cannot be read as an image: .*truncated"):
        read_picture(tmp_path / "part.png", GREY, dark=False)


@pytest.mark.parametrize(
    "error", [OSError, EOFError, SyntaxError, ValueError, TypeError, KeyError, IndexError, struct.error, zlib.error]
)
def test_whatever_a_decoder_raises_is_said_with_the_file(tmp_path, monkeypatch, error):
    def fail(file):
        raise error("broken block")

    (tmp_path / "picture.png").write_bytes(b"x")
    monkeypatch.setattr(Image, "open", fail)

    with pytest.raises(InputError, match=r"picture.png cannot be read as an image: .*broken block"):
        open_image(tmp_path / "picture.png")
