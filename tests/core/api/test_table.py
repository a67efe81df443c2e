"""A table without pandas: rows, columns, and what a terminal and a notebook show."""

import sys

import pytest

from dlpipe.api.table import MAX_ROWS, Table, html_table
from dlpipe.errors import InputError

ROWS = [{"step": 1, "loss": 0.5}, {"step": 2, "score": 0.25}, {"step": 3, "loss": 0.125, "score": None}]


def test_rows_columns_and_slices():
    table = Table(ROWS)

    assert table.columns == ("step", "loss", "score")
    assert table["loss"] == [0.5, None, 0.125]
    assert table[1] == {"step": 2, "loss": None, "score": 0.25}
    assert [row["step"] for row in table] == [1, 2, 3]
    assert table[1:].columns == table.columns
    assert table[1:]["step"] == [2, 3]


def test_dropna_keeps_the_rows_with_values_and_the_columns_that_have_any():
    table = Table(ROWS).dropna("loss")

    assert table["step"] == [1, 3]
    assert table.columns == ("step", "loss")
    assert len(Table(ROWS).dropna("loss", "score")) == 0


def test_a_column_that_does_not_exist_names_the_nearest():
    with pytest.raises(
        InputError, match=r"there is no column 'los'; there are step, loss, score. Did you mean \"loss\"\?"
    ):
        Table(ROWS)["los"]
    with pytest.raises(InputError, match="there is no column 'los'"):
        Table(ROWS).dropna("los")


def test_a_terminal_sees_aligned_columns():
    assert repr(Table(ROWS)).splitlines() == ["step  loss   score", "1     0.5", "2            0.25", "3     0.125"]
    assert repr(Table([])) == "(an empty table)"


def test_columns_that_do_not_fit_are_named():
    table = Table([{f"a_long_name_of_a_column_{number}": number for number in range(9)}])

    first, _, last = repr(table).splitlines()

    assert len(first) <= 120
    assert last.startswith("5 more columns: a_long_name_of_a_column_4, ")


def test_of_many_rows_the_first_and_the_last_are_shown():
    table = Table({"step": number} for number in range(MAX_ROWS + 1))

    assert repr(table).split() == ["step", "0", "1", "2", "3", "4", "…", "56", "57", "58", "59", "60"]
    assert table._repr_html_().count("<tr>") == 1 + 5 + 1 + 5
    assert "<p>61 rows</p>" in table._repr_html_()
    assert table[1:]._repr_html_().count("<tr>") == 1 + MAX_ROWS


def test_html_and_control_characters_are_escaped():
    table = Table([{"<b>": "<script>alert(1)</script>\x1b[31m"}])

    assert "<script>" not in table._repr_html_()
    assert "<th>&lt;b&gt;</th>" in table._repr_html_()
    assert "\x1b" not in repr(table)
    assert html_table([["<i>", 1]]) == "<table><tbody><tr><td>&lt;i&gt;</td><td>1</td></tr></tbody></table>"


@pytest.mark.parametrize(("package", "method"), [("pandas", "to_pandas"), ("polars", "to_polars")])
def test_a_data_frame_needs_its_package(monkeypatch, package, method):
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(InputError, match=f"{package} is not installed; install it with: pip install {package}"):
        getattr(Table(ROWS), method)()


def test_pandas_gets_all_rows_and_columns():
    pandas = pytest.importorskip("pandas")

    frame = Table(ROWS).to_pandas()

    assert list(frame.columns) == ["step", "loss", "score"]
    assert pandas.isna(frame["loss"][1])


def test_polars_gets_all_rows_and_columns():
    pytest.importorskip("polars")

    assert Table(ROWS).to_polars()["loss"].to_list() == [0.5, None, 0.125]
