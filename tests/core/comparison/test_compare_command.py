import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from dlpipe.commands.compare import compare


def run(*arguments):
    return CliRunner().invoke(compare, list(map(str, arguments)), catch_exceptions=False)


def test_the_comparison_is_printed_as_tables_with_a_verdict(make_run):
    folders = make_run("a", [1, 0, 1, 1, 0]), make_run("b", [0, 1, 1, 1, 0], width=4)

    answer = run(*folders)

    assert "model.width" in answer.output
    assert "A right, B wrong  0    image 0" in answer.output
    assert "no difference beyond noise between A and B" in answer.output


def test_the_json_is_complete(make_run):
    answer = run(make_run("a"), make_run("b"), "--json")

    assert json.loads(answer.output)["metric"] == "test/digits/accuracy"


def test_page_and_figure_are_written(make_run, tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("bokeh")
    folders = make_run("a"), make_run("b")

    run(*folders, "--html", tmp_path / "page.html", "--figure", tmp_path / "curves.png")

    assert "no difference beyond noise" in (tmp_path / "page.html").read_text()
    assert (tmp_path / "curves.png").stat().st_size > 5000


def test_comparing_imports_no_torch(make_run):
    code = (
        "import sys; from dlpipe.commands.compare import compare; "
        f"compare({[str(make_run('a')), str(make_run('b'))]!r}, standalone_mode=False); assert 'torch' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
