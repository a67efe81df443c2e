"""The notebook in examples/ runs from its first cell to its last, in a folder of its own, and is stored without outputs."""

from __future__ import annotations

from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "notebook.ipynb"
pytestmark = pytest.mark.filterwarnings("ignore")  # of Jupyter, about its own defaults


def executed(cells: list[str], folder: Path) -> list[list[dict]]:
    """Execute cells in a kernel, and return the outputs of each; raise the error of a cell that fails."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return [cell.outputs for cell in notebook.cells]


def test_the_notebook_is_stored_without_outputs():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells

    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)


@pytest.mark.slow
def test_every_cell_of_the_notebook_runs(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]

    outputs = dict(zip(cells, executed(cells, tmp_path), strict=True))

    ends = {cell.splitlines()[-1]: found for cell, found in outputs.items()}
    assert float(ends['run.scores["digits/accuracy"]'][0].data["text/plain"]) > 0.9
    for end in ("digits", "run", "comparison", "dlpipe.list_runs()", "run.report()"):
        assert "text/html" in ends[end][-1].data, end
    assert "<img" in ends['run.figures.matching("digits/confusion.png")'][0].data["text/html"]


def test_a_run_in_a_notebook_is_one_output_with_its_result(tmp_path):
    cell = 'import dlpipe\ndlpipe.load("logistic_digits", {"trainer.epochs": 2, "data.limit": 200}).run()'

    [[told, shown]] = executed([cell], tmp_path)

    assert told.output_type == "display_data"
    assert "epoch 2  train loss" in told.data["text/plain"]
    assert told.data["text/html"].startswith("<pre")
    assert shown.data["text/plain"].startswith("Run('runs/logistic-digits/")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
