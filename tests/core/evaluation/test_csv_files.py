"""Tables that a spreadsheet reads."""

from __future__ import annotations

import csv
import re

import pytest

from dlpipe.evaluation import write_csv


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ('=HYPERLINK("http://x")', '\'=HYPERLINK("http://x")'),
        ("+1+cmd", "'+1+cmd"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t'=1"),
        ("\r=1", "'\r'=1"),
        ("＝1+1", "'＝1+1"),
        ("a;=1", "a;'=1"),  # a separator of cells where the comma separates decimals
        ("-0.25", "-0.25"),
        ("-1e-05", "-1e-05"),
        (-3, "-3"),
        (-0.5, "-0.5"),
        (None, ""),
        ("B-city", "B-city"),
        ("", ""),
        ("name\udcff", r"name\udcff"),
    ],
)
def test_names_that_look_like_formulas_are_text_and_numbers_stay_numbers(tmp_path, cell, written):
    write_csv(tmp_path / "table.csv", [["class", cell]])

    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["class", written]]


def test_all_evaluators_write_their_tables_in_this_way(root):
    for path in [*(root / "core").rglob("*.py"), *(root / "plugins").rglob("*.py")]:
        if path.name not in ("csv_files.py", "answers.py"):  # the commands have the same rule: test_answers.py
            assert not re.search(r"csv\.(writer|DictWriter)", path.read_text(encoding="utf-8")), path
