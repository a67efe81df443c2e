"""Characters in figures that matplotlib's own font does not have."""

from __future__ import annotations

import warnings

import pytest

pytest.importorskip("matplotlib")
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from dlpipe import figures
from dlpipe.figures import drawing, missing_font, shortened


@pytest.fixture(autouse=True)
def only_its_own_fonts(monkeypatch):
    """Let matplotlib know no other fonts than those that it brings, whatever is installed."""
    own = [font for font in font_manager.fontManager.ttflist if "mpl-data" in font.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [])
    figures._fonts_for.cache_clear()
    yield
    figures._fonts_for.cache_clear()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a font that has a square for each of some characters."""

    def install(characters, name):
        pen = TTGlyphPen(None)
        pen.moveTo((0, 0))
        for corner in ((0, 1000), (1000, 1000), (1000, 0)):
            pen.lineTo(corner)
        pen.closePath()
        font = FontBuilder(1000)
        names = [".notdef", *(f"u{ord(character):04X}" for character in characters)]
        font.setupGlyphOrder(names)
        font.setupCharacterMap(dict(zip(map(ord, characters), names[1:], strict=True)))
        font.setupGlyf(dict.fromkeys(names, pen.glyph()))
        font.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
        font.setupHorizontalHeader(ascent=1000, descent=0)
        font.setupNameTable({"familyName": name, "styleName": "Regular"})
        font.setupOS2()
        font.setupPost()
        font.save(tmp_path / f"{name}.ttf")
        files = [*font_manager.findSystemFonts(), str(tmp_path / f"{name}.ttf")]
        monkeypatch.setattr(font_manager, "findSystemFonts", lambda: files)

    return install


def draw(path, names):
    """Draw names at the ticks, as title and in the legend, and return all texts and their fonts."""
    with drawing(path, 4, 3) as figure:
        axes = figure.subplots()
        axes.plot(range(len(names)), label=names[0])
        axes.set_xticks(range(len(names)), names)
        axes.set_title(names[0])
        axes.legend()
    found = [axes.title, axes.legend_.get_texts()[0], *axes.get_xticklabels()]
    return [text.get_text() for text in found], found[0].get_fontfamily()


def test_a_missing_font_is_named_with_what_to_install():
    assert missing_font(["positive", "négatif ± α"]) is None
    assert missing_font(["正面", "負面"]) == (
        r"no installed font has 正, 負, 面; figures show code points instead, such as \u6b63. Install a font that has "
        'them; for Chinese, Japanese and Korean Noto Sans CJK ("apt install fonts-noto-cjk", or '
        "https://github.com/notofonts/noto-cjk)"
    )
    assert "and 2 more characters;" in missing_font(["一丁七丈三上下"])


def test_without_a_font_code_points_are_drawn_instead_of_boxes(tmp_path):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        texts, _ = draw(tmp_path / "figure.png", ["正 good", "bad"])

    # matplotlib says "Glyph … missing" when it draws a box.
    assert [str(warning.message).partition(";")[0] for warning in warned] == ["no installed font has 正"]
    assert texts == [r"\u6b63 good", r"\u6b63 good", r"\u6b63 good", "bad"]


def test_a_font_that_was_installed_later_is_used(tmp_path, install):
    assert missing_font(["正面"])
    figures._fonts_for.cache_clear()  # another process
    install("正", "Only One")
    install("正面", "Both")

    assert missing_font(["正面"]) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        texts, fonts = draw(tmp_path / "figure.png", ["正面", "bad"])

    assert texts == ["正面", "正面", "正面", "bad"]
    assert fonts == ["sans-serif", "Both"]


def test_what_no_font_has_is_told_apart_from_what_one_has(install):
    install("正", "Only One")

    assert missing_font(["正"]) is None
    assert "has 面;" in missing_font(["正面"])


def test_a_broken_font_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(tmp_path / "broken.ttf")])

    assert "has 正;" in missing_font(["正"])


def test_names_are_cut_by_their_width():
    assert shortened("好看的電影", 10) == "好看的電影"
    assert shortened("好看的電影", 6) == "好看…"


@pytest.mark.parametrize(("high", "labels"), [(100, {"0.01", "1", "100"}), (0.03, {"0.01", "0.02"})])
def test_a_logarithmic_axis_has_numbers_and_no_formulas(tmp_path, high, labels):
    with drawing(tmp_path / "a.png", 3, 3) as figure:
        axes = figure.subplots()
        axes.plot([0, 1], [0.01, high])
        axes.set_yscale("log")

    shown = {text.get_text() for text in [*axes.get_yticklabels(), *axes.get_yticklabels(minor=True)]}
    assert labels <= shown
    assert not any("$" in text for text in shown)
