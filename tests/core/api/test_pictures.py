"""What a notebook shows of the files of a run: embedded up to a size, with escaped names."""

import pytest

from dlpipe.api import pictures
from dlpipe.api.pictures import Gallery, ReportFile


@pytest.fixture
def gallery(tmp_path):
    contents = {"a/one.png": b"12345", "a/two.wav": b"123", "b/three.csv": b"x", "b/<b>.png": b"1"}
    for name, content in contents.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return Gallery([tmp_path / name for name in contents], tmp_path)


def test_it_is_a_sequence_of_paths(gallery, tmp_path):
    assert len(gallery) == 4
    assert gallery[0] == tmp_path / "a" / "one.png"
    assert repr(gallery[:2]) == "a/one.png\na/two.wav"
    assert repr(gallery.matching("b/*.csv")) == "b/three.csv"
    assert repr(gallery[:0]) == "(no files)"


def test_pictures_and_sounds_are_embedded_and_names_escaped(gallery):
    shown = gallery._repr_html_()

    assert '<img src="data:image/png;base64,MTIzNDU="' in shown
    assert "<audio controls" in shown
    assert "b/three.csv (1 B" in shown
    assert "<b>" not in shown
    assert "b/&lt;b&gt;.png" in shown


def test_what_is_too_large_is_only_named(gallery, monkeypatch):
    monkeypatch.setattr(pictures, "MEDIA_BYTES", 4)

    shown = gallery._repr_html_()

    assert "a/one.png (5 B" in shown
    assert shown.count("data:") == 2


def test_a_report_is_shown_in_a_frame_that_cannot_reach_the_notebook(tmp_path):
    (tmp_path / "report.html").write_text('<p title="x">report</p>')
    (tmp_path / "report.md").write_text("# report\n")

    report = ReportFile(tmp_path / "report.html")

    assert report._repr_html_().startswith(
        '<iframe sandbox="allow-scripts" srcdoc="&lt;p title=&quot;x&quot;&gt;report'
    )
    assert report.markdown == "# report\n"
