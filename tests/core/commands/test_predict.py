"""How ``dlpipe predict`` prints its answers."""

from __future__ import annotations

from dlpipe.commands.predict import as_table


def test_numbers_by_name_are_written_as_words():
    assert as_table({"label": "8", "next": {"3": 0.12, "2": 0.1}}) == "label: 8\nnext: 3 0.12, 2 0.1"


def test_an_empty_table_is_left_out():
    assert as_table({"label": "8", "next": {}, "prepared": []}) == "label: 8"


def test_lists_of_one_length_become_columns():
    assert as_table({"words": ["to", "taipei"], "tags": ["O", "B-city"]}) == "to      O\ntaipei  B-city"
