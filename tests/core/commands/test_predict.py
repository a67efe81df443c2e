"""How ``dlpipe predict`` prints its answers."""

from __future__ import annotations

from dlpipe.commands.predict import _items, as_table


def test_numbers_by_name_are_written_as_words():
    assert as_table({"label": "8", "next": {"3": 0.12, "2": 0.1}}) == "label: 8\nnext: 3 0.12, 2 0.1"


def test_an_empty_table_is_left_out():
    assert as_table({"label": "8", "next": {}, "prepared": []}) == "label: 8"


def test_lists_of_one_length_become_columns():
    assert as_table({"words": ["to", "taipei"], "tags": ["O", "B-city"]}) == "to      O\ntaipei  B-city"


def test_columns_of_chinese_words_are_aligned():
    assert as_table({"words": ["去", "臺北", "in"], "tags": ["O", "B-city", "O"]}) == "去    O\n臺北  B-city\nin    O"


def test_a_line_of_a_file_ends_at_a_line_feed_only(tmp_path):
    (tmp_path / "texts.txt").write_bytes("one\u0085still one\r\n\ntwo".encode())

    items = [item for _, item in _items((), tmp_path / "texts.txt")]

    assert items == ["one\u0085still one", "", "two"]
