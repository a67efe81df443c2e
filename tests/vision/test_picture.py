"""A user's picture: every type of file is converted into the format of the training images, or refused with the reason."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image

from dlpipe.errors import InputError
from dlpipe_vision.picture import SUFFIXES, open_image, read_picture, to_pixels

GREY, COLOR = (1, 4, 6), (3, 4, 6)


@pytest.fixture
def read(tmp_path):
    """Save a picture and read it as one of a shape."""

    def read(image, shape=GREY, *, light_on_dark=False, name="picture.png", **options):
        image.save(tmp_path / name, **options)
        return read_picture(tmp_path / name, shape, light_on_dark=light_on_dark)

    return read


def uniform(mode, color):
    return Image.new(mode, (6, 4), color)


def test_a_picture_in_the_right_format_is_not_changed(read):
    image = Image.frombytes("L", (6, 4), bytes(range(24)))

    pixels, done = read(image)

    assert pixels.flatten().tolist() == list(range(24))
    assert done == []


@pytest.mark.parametrize(
    ("image", "values"),
    [
        (uniform("1", 1), [255] * 3),
        (uniform("I;16", 200 * 257), [200] * 3),
        (uniform("I;16", 514), [2] * 3),
        (uniform("RGBA", (200, 10, 30, 0)), [255] * 3),
        (uniform("RGBA", (200, 10, 30, 255)), [200, 10, 30]),
        (uniform("LA", (40, 0)), [255] * 3),
    ],
    ids=["1 bit", "16 bits", "dark of 16 bits", "transparent", "opaque", "transparent grey"],
)
def test_every_color_mode_is_converted(read, image, values):
    pixels, _ = read(image, COLOR)

    assert pixels[:, 0, 0].tolist() == values


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_with_a_transparent_value_stays_grey(tmp_path, mode):
    uniform(mode, 0).save(tmp_path / "a.png", transparency=0)

    image = open_image(tmp_path / "a.png")

    assert (image.mode, image.getpixel((0, 0))) == ("L", 255)


def test_transparency_of_a_palette_becomes_white(read):
    image = uniform("P", 0)
    image.putpalette([10, 20, 30, 40, 50, 60])

    pixels, _ = read(image, COLOR, transparency=0)

    assert pixels[:, 0, 0].tolist() == [255] * 3


def test_cmyk_is_converted(read):
    pixels, _ = read(uniform("CMYK", (0, 255, 255, 0)), COLOR, name="print.tif")

    assert pixels[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "bmp", "gif", "webp", "tif", "tiff", "pgm", "ppm"])
def test_every_documented_file_type_is_read(read, suffix):
    pixels, _ = read(
        uniform("RGB" if suffix == "ppm" else "L", 200 if suffix != "ppm" else (200,) * 3), name=f"a.{suffix}"
    )

    assert pixels.float().mean() == pytest.approx(200, abs=2)
    assert f".{suffix}" in SUFFIXES


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("1", 1, "L"),
        ("F", 0.5, "F"),
        ("I;16", 9, "F"),
        ("CMYK", (0, 9, 9, 0), "RGB"),
        ("LA", (40, 128), "L"),
        ("RGBA", (40, 40, 40, 128), "RGB"),
    ],
)
def test_an_opened_image_is_grey_or_rgb(tmp_path, mode, color, expected):
    uniform(mode, color).save(tmp_path / "a.tif")

    assert open_image(tmp_path / "a.tif").mode == expected


@pytest.mark.parametrize("name", ["picture.png", "picture.tif"])
def test_a_picture_is_rotated_as_its_exif_data_says(read, name):
    image, exif = Image.frombytes("L", (4, 6), bytes(range(24))), Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees

    pixels, done = read(image, name=name, exif=exif)

    assert pixels[0, 0].tolist() == [20, 16, 12, 8, 4, 0]
    assert done == []


def test_the_first_frame_of_an_animation_is_read(read):
    pixels, _ = read(uniform("L", 9), name="moving.gif", save_all=True, append_images=[uniform("L", 200)])

    assert pixels.unique().tolist() == [9]


@pytest.mark.parametrize(
    ("image", "shape", "expected"),
    [
        (uniform("RGB", (9, 9, 9)), GREY, ["converted to grey"]),
        (uniform("L", 9), COLOR, ["converted from grey to color"]),
    ],
)
def test_conversions_of_colors_are_noted(read, image, shape, expected):
    assert read(image, shape)[1] == expected


@pytest.mark.parametrize(("value", "light_on_dark", "expected"), [(250, True, 5), (250, False, 250), (100, True, 100)])
def test_a_light_background_is_inverted_if_training_images_are_light_on_dark(read, value, light_on_dark, expected):
    pixels, done = read(uniform("L", value), light_on_dark=light_on_dark)

    assert pixels[0, 0, 0] == expected
    assert done == (["inverted, as the training images are light on dark"] if value != expected else [])


@pytest.mark.parametrize("edges", ["top and left", "bottom and right"])
def test_the_background_is_the_median_of_the_four_edges(read, edges):
    image = Image.new("L", (8, 8), 0)
    image.paste(200, (0, 0, 8, 1))
    image.paste(200, (0, 0, 1, 8))
    if edges == "bottom and right":
        image = image.rotate(180)

    _, done = read(image, (1, 8, 8), light_on_dark=True)

    assert done == ["inverted, as the training images are light on dark"]


def test_people_look_at_three_channels_as_colors_and_at_others_as_grey():
    bytes_of = torch.arange(24, dtype=torch.uint8)

    assert to_pixels(bytes_of.view(3, 2, 4))[1, 2].tolist() == [6, 14, 22]
    assert to_pixels(bytes_of.view(2, 3, 4))[1, 2] == (6 + 18) / 2


def test_a_picture_of_another_shape_gets_a_border_of_its_ground(read):
    image = Image.new("L", (8, 8), 70)
    image.paste(0, (3, 3, 5, 5))

    pixels, done = read(image)

    assert done == ["resized from 8×8 to 6×4 with a border, to keep its aspect ratio"]
    assert pixels[0, :, [0, 5]].unique().tolist() == [70]


@pytest.mark.parametrize(("size", "counts"), [((600, 10), [0, 0, 6, 0]), ((10, 600), [1, 1, 1, 1])])
def test_a_long_strip_keeps_a_line_of_pixels(read, size, counts):
    image = Image.new("L", size, 70)
    image.paste(0, (2, 2, size[0] - 2, size[1] - 2))

    pixels, _ = read(image)

    assert (pixels[0] < 40).sum(1).tolist() == counts


def test_the_border_of_a_colored_picture_has_its_color(read):
    pixels, _ = read(Image.new("RGB", (8, 8), (10, 200, 30)), COLOR)

    assert pixels[:, 0, 0].tolist() == [10, 200, 30]


def test_a_larger_picture_of_the_same_aspect_ratio_gets_no_border(read):
    assert read(Image.new("L", (12, 8), 70))[1] == ["resized from 12×8 to 6×4"]


def chunk(chunk_type, content):
    return struct.pack(">I", len(content)) + chunk_type + content + struct.pack(">I", zlib.crc32(chunk_type + content))


BOMB = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
LARGE = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 12_000, 9_000, 8, 2, 0, 0, 0))


UNKNOWN = "picture.png cannot be read as an image: unknown format; expected PNG, JPEG, BMP, GIF, WebP, TIFF, PGM or PPM"


UNKNOWN = "picture.png cannot be read as an image: unknown format; expected PNG, JPEG, BMP, GIF, WebP, TIFF, PGM or PPM"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "picture.png: no such file; expected an image"),
        (b"", "picture.png: the file is empty; expected an image"),
        (b"words, no picture", UNKNOWN),
        (BOMB + chunk(b"IDAT", b"x"), "picture.png: too many pixels; expected at most 100,000,000; make it smaller"),
        (LARGE + chunk(b"IDAT", b"x"), "picture.png: 12000×9000 pixels; expected at most 100,000,000; make it smaller"),
    ],
    ids=["missing", "empty", "text", "bomb", "too large"],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_file_that_is_not_a_picture_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "picture.png").write_bytes(content)

    with pytest.raises(InputError, match=re.escape(message) + "$"):
        read_picture(tmp_path / "picture.png", GREY, light_on_dark=False)


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("I;16", 200 * 257, 200),
        ("I;16", 100, 100 / 257),
        ("I;16B", 200 * 257, 200),
        ("F", 0.0, 0),
        ("F", 0.25, 63.75),
        ("F", 1.0, 255),
    ],
)
def test_grey_of_more_than_8_bits_keeps_its_precision(tmp_path, mode, value, expected):
    uniform(mode, value).save(tmp_path / "a.tif")

    assert open_image(tmp_path / "a.tif").getpixel((0, 0)) == pytest.approx(expected)


@pytest.mark.parametrize(("mode", "value", "expected"), [("I;16", 200 * 257, 55), ("F", 0.25, 191.25)])
def test_a_tiff_in_which_0_is_white_is_inverted(tmp_path, mode, value, expected):
    uniform(mode, value).save(tmp_path / "a.tif", tiffinfo={262: 0})

    assert open_image(tmp_path / "a.tif").getpixel((0, 0)) == pytest.approx(expected)


def test_grey_of_12_bits_is_divided_by_its_own_range(tmp_path):
    tags = [(256, 4, 2), (257, 4, 1), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (279, 4, 3)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    content = b"II*\0" + struct.pack("<I", 12) + bytes.fromhex("fff000") + b"\0" + struct.pack("<H", 8) + entries
    (tmp_path / "a.tif").write_bytes(content + bytes(4))

    image = open_image(tmp_path / "a.tif")

    assert [image.getpixel((column, 0)) for column in (0, 1)] == [255, 0]


@pytest.mark.parametrize(
    ("mode", "values", "message"),
    [
        (
            "F",
            (0.0, 9.0),
            "a.tif: floating-point pixels from 0 to 9; expected 0 to 1; scale all images of the data set",
        ),
        ("F", (-1.0, 0.5), "a.tif: floating-point pixels from -1 to 0.5; expected 0 to 1"),
        ("F", (0.0, float("nan")), "a.tif: floating-point pixels from nan to nan; expected 0 to 1"),
        ("I", (0, 9), "a.tif: signed or 32-bit whole numbers; expected 8 or 16 bits without sign, or floating point"),
    ],
)
def test_pixels_of_unknown_range_are_refused(tmp_path, mode, values, message):
    image = uniform(mode, values[0])
    image.putpixel((3, 2), values[1])
    image.save(tmp_path / "a.tif")

    with pytest.raises(InputError, match=re.escape(message)):
        open_image(tmp_path / "a.tif")


SHADES = (0, 51, 204, 255)
DEEP = ("I;16", "I;16B", "I", "F")
MODES = ("1", "L", "P", "RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr", "HSV", "LAB", *DEEP)


def shaded(mode, shade):
    """Return a grey image of some mode; `shade` is from 0 to 255."""
    if mode in DEEP:
        return uniform(mode, shade / 255 if mode == "F" else shade * 257)
    return uniform("L", shade).convert("RGB").convert(mode) if mode != "1" else uniform("1", shade > 127)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_in_every_format_is_read_as_its_shade_or_refused(tmp_path, mode):
    for suffix in sorted(SUFFIXES):
        for shade in SHADES:
            path = tmp_path / f"{shade}{suffix}"
            try:
                shaded(mode, shade).save(path)
            except (OSError, ValueError, KeyError):
                continue  # Pillow does not write this mode in this format
            with Image.open(path) as image:
                if mode in DEEP and image.mode not in DEEP:
                    continue  # Pillow has clipped it to 8 bits
            try:
                pixels, _ = read_picture(path, GREY, light_on_dark=False)
            except InputError as error:
                assert str(error).startswith(str(path))
                assert mode in ("LAB", "I")
            else:
                expected = (shade > 127) * 255 if mode == "1" else shade
                assert pixels.float().mean() == pytest.approx(expected, abs=2), (mode, suffix)


@pytest.mark.parametrize("suffix", [".eps", ".pdf", ".tga", ".icns", ".sgi"])
def test_only_the_documented_formats_are_read_whatever_the_name(tmp_path, suffix):
    uniform("RGB", (9, 9, 9)).save(tmp_path / f"a{suffix}")
    (tmp_path / f"a{suffix}").rename(tmp_path / "a.png")

    with pytest.raises(InputError, match=r"a.png cannot be read as an image: unknown format; expected PNG, JPEG"):
        open_image(tmp_path / "a.png")


def test_no_image_is_opened_without_a_list_of_formats():
    root = Path(__file__).resolve().parents[2]
    calls = [
        line
        for folder in ("core", "plugins")
        for path in (root / folder).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "Image.open(" in line
    ]

    assert len(calls) >= 2
    assert [line for line in calls if "formats=" not in line] == []


def test_a_photograph_of_a_telephone_with_two_pictures_is_read(tmp_path):
    uniform("RGB", (9, 9, 9)).save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[uniform("RGB", (200,) * 3)])

    assert open_image(tmp_path / "a.jpg").getpixel((0, 0)) == (9, 9, 9)


def test_a_folder_is_refused_as_a_picture(tmp_path):
    with pytest.raises(InputError, match="cannot be read as an image: Is a directory$"):
        open_image(tmp_path)


def test_a_truncated_picture_is_refused(tmp_path):
    Image.effect_noise((60, 40), 50).save(tmp_path / "whole.png")
    (tmp_path / "part.png").write_bytes((tmp_path / "whole.png").read_bytes()[:500])

    with pytest.raises(InputError, match=r"part.png cannot be read as an image: .*truncated"):
        read_picture(tmp_path / "part.png", GREY, light_on_dark=False)


@pytest.mark.parametrize(
    "error", [OSError, EOFError, SyntaxError, ValueError, TypeError, KeyError, IndexError, struct.error, zlib.error]
)
def test_any_error_of_a_decoder_is_reported_with_the_file(tmp_path, monkeypatch, error):
    def fail(file, formats):
        raise error("broken block")

    (tmp_path / "picture.png").write_bytes(b"x")
    monkeypatch.setattr(Image, "open", fail)

    with pytest.raises(InputError, match=r"picture.png cannot be read as an image: .*broken block"):
        open_image(tmp_path / "picture.png")
