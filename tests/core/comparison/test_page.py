import pytest

from dlpipe.comparison.compare import compare_folders
from dlpipe.comparison.page import draw_curves


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
