import pytest

from dlpipe.comparison import page
from dlpipe.comparison.compare import compare_folders
from dlpipe.comparison.page import draw_curves, write_page
from dlpipe.report.page import Chart


def test_a_curve_is_called_by_its_letter_and_its_pipeline_and_of_several_seeds_by_the_seed(
    make_run, tmp_path, monkeypatch
):
    figure = pytest.importorskip("matplotlib.figure")
    drawn = []
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, path, **options: drawn.append(self))
    folders = [
        make_run("a", pipeline="small"),
        make_run("b", pipeline="large", width=4),
        make_run("c", pipeline="large", width=4, seed=1),
    ]

    assert draw_curves(tmp_path / "curves.png", compare_folders([str(folder) for folder in folders], tmp_path))

    [axes] = drawn[0].axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "A: small",
        "B: large, seed 0",
        "B: large, seed 1",
    ]


def test_the_curves_of_a_group_have_its_color(make_run, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(page, "render_page", lambda path, title, verdict, sections: seen.extend(sections))
    folders = [
        make_run("a", pipeline="small"),
        make_run("b", pipeline="large", width=4),
        make_run("c", pipeline="large", width=4, seed=1),
    ]

    write_page(tmp_path / "compare.html", compare_folders([str(folder) for folder in folders], tmp_path))

    [chart] = [block for section in seen for block in section.blocks if isinstance(block, Chart)]
    assert [(series.name, series.color, series.x, series.y) for series in chart.series] == [
        ("A: small", 0, [10, 20], [0.25, 0.5]),
        ("B: large, seed 0", 1, [10, 20], [0.25, 0.5]),
        ("B: large, seed 1", 1, [10, 20], [0.25, 0.5]),
    ]
