"""A page of charts, tables, pictures and sounds in one file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import unescape
from math import inf, nan

import pytest

from dlpipe.report.page import MEDIA_BYTES, Chart, Media, Page, Section, Series, Table, Text, render_page, thinned

HARM = "</script><script>alert(1)</script>"


def html(path, *blocks, title="a run", verdict="it works", folded=False):
    render_page(path, title, verdict, [Section("part", blocks, folded)], state="finished")
    return path.read_text()


def test_text_is_never_html(tmp_path):
    (tmp_path / "words.html").write_text("<p title='\"'>words</p>")
    series = Series(HARM, [1], [2])
    page = html(
        tmp_path / "report.html",
        Table(HARM, [HARM], [[HARM]], HARM, lead=[HARM]),
        Text(HARM, HARM),
        Chart(HARM, [series], HARM, HARM, HARM),
        Page(HARM, tmp_path / "words.html"),
        title=HARM,
        verdict=HARM,
    )

    assert "alert(1)</script>" not in page
    assert page.count("<script>") == 3  # BokehJS in two parts, and ours
    assert 'srcdoc="&lt;p title=&#39;&#34;&#39;&gt;words&lt;/p&gt;"' in page


def test_only_the_scripts_of_the_page_may_run_and_nothing_is_loaded(tmp_path):
    page = html(tmp_path / "report.html", Chart("loss", [Series("train", [1], [2])]))
    policy = unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1])
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)

    assert policy.startswith("default-src 'none'")
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert re.findall(r"'sha256-([^']*)'", policy) == digests
    assert not re.search(r'(src|href)="https?:', re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL))


def test_sentences_stand_above_their_table_and_need_none(tmp_path):
    page = html(
        tmp_path / "report.html",
        Table("two", ["name"], [["cell"]], lead=["one", "more"]),
        Table("", [], [], lead=["alone"]),
    )

    assert re.findall(r'class="lead">(.*?)</p>|<td>(.*?)</td>', page) == [
        ("one", ""),
        ("more", ""),
        ("", "cell"),
        ("alone", ""),
    ]
    assert page.count("<table>") == 1


def test_a_page_without_charts_has_no_script(tmp_path):
    page = html(tmp_path / "report.html", Text("", "nothing else"))

    assert "<script>" not in page
    assert "script-src 'none'" in unescape(page)


def test_numbers_of_a_chart_are_in_the_page(tmp_path):
    page = html(tmp_path / "report.html", Chart("loss", [Series("train", [1, 2, 3], [0.5, nan, inf])]))
    chart = json.loads(re.search(r'id="charts">(.*?)</script>', page)[1])[0]

    assert (chart["title"], chart["x_label"]) == ("loss", "step")
    assert chart["series"][0] == {"name": "train", "style": "line", "color": 0, "x": [1, 2, 3], "y": [0.5, None, None]}


def test_files_are_part_of_the_page_until_it_is_full(tmp_path):
    small, large = tmp_path / "figures" / "small.png", tmp_path / "figures" / "large <b>.png"
    small.parent.mkdir()
    small.write_bytes(b"\x89PNG")
    large.write_bytes(bytes(MEDIA_BYTES))
    page = html(tmp_path / "report.html", Media("one", [("", small), ("step 5", large)], "figure"))

    assert f'src="data:image/png;base64,{base64.b64encode(small.read_bytes()).decode()}"' in page
    assert 'href="figures/large &lt;b&gt;.png"' in page
    assert "(2.4 MB) is left out, to keep this page small" in page
    assert len(page) < MEDIA_BYTES


@pytest.mark.parametrize(("name", "tag"), [("a.wav", "<audio"), ("a.webm", "<video"), ("a.gif", "<img")])
def test_sounds_and_films_can_be_played(tmp_path, name, tag):
    (tmp_path / name).write_bytes(b"12")
    kind = "sound" if name.endswith("wav") else "animation"

    assert tag in html(tmp_path / "report.html", Media("one", [("", tmp_path / name)], kind))


def test_a_long_series_keeps_its_extremes():
    x = list(range(10_000))
    y = [0.0] * 10_000
    y[4321], y[8765], y[17] = 5.0, -5.0, nan
    fewer_x, fewer_y = thinned(x, y)

    assert len(fewer_x) == len(fewer_y) <= 1001
    assert (fewer_x[0], fewer_x[-1]) == (0, 9999)
    assert (max(fewer_y), min(fewer_y)) == (5.0, -5.0)
    assert thinned([1, 2], [3.0, 4.0]) == ([1, 2], [3.0, 4.0])


def test_what_was_left_out_of_a_table_is_said(tmp_path):
    page = html(tmp_path / "report.html", Table("t", ["a"], [["1.5"], ["x"]], left_out=1234, file="figures/t.csv"))

    assert '1,234 more rows in <a href="figures/t.csv">' in page
    assert '<td class="number">1.5</td>' in page
    assert "<td>x</td>" in page
