"""Items of arguments, files and standard input."""

from __future__ import annotations

import io
import sys

import pytest

from dlpipe.errors import InputError
from dlpipe.items import FailedItem, Item, from_arguments, from_file, from_standard_input


@pytest.fixture
def lines_of(tmp_path):
    def lines_of(content: bytes):
        (tmp_path / "texts.txt").write_bytes(content)
        return list(from_file(tmp_path / "texts.txt"))

    return lines_of


def test_a_line_of_a_file_ends_at_a_line_feed_only(lines_of):
    found = lines_of("one\u0085still one\r\n\ntwo".encode())

    assert [item.text for item in found] == ["one\u0085still one", "", "two"]


def test_every_line_is_an_item_so_that_answers_correspond_to_lines(lines_of):
    found = lines_of(b"# no comment\n\nlast\n")

    assert [item.text for item in found] == ["# no comment", "", "last"]
    assert found[2].place.endswith("texts.txt:3")


def test_a_byte_order_mark_is_not_part_of_the_first_line(lines_of):
    assert [item.text for item in lines_of("\ufeffa\n\ufeffb".encode())] == ["a", "\ufeffb"]


def test_a_line_that_is_not_utf_8_fails_alone(lines_of):
    first, second, third = lines_of(b"a\ncaf\xe9 noir\nb\n")

    assert (first.text, third.text) == ("a", "b")
    assert isinstance(second, FailedItem)
    assert second.item == r"caf\xe9 noir"
    assert "texts.txt:2: byte 4 of the line, 0xe9, is not UTF-8 text; convert the file to UTF-8" in str(second)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"texts.txt is empty; expected items, one per line"),
        ("a\nb\n".encode("utf-16"), r"texts.txt cannot be read as text: line 1 has a NUL byte; expected UTF-8 text"),
    ],
)
def test_a_file_that_is_no_text_is_refused_as_a_whole(lines_of, content, message):
    with pytest.raises(InputError, match=message):
        lines_of(content)


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(InputError, match="nothing.txt cannot be read as text: No such file"):
        next(from_file(tmp_path / "nothing.txt"))
    with pytest.raises(InputError, match="cannot be read as text: Is a directory"):
        next(from_file(tmp_path))


def test_a_file_is_read_line_by_line(tmp_path):
    (tmp_path / "many.txt").write_bytes(b"x\n" * 100_000 + b"\0")

    found = from_file(tmp_path / "many.txt")

    assert next(found) == Item(f"{tmp_path / 'many.txt'}:1", "x")  # the end has not been looked at
    with pytest.raises(InputError, match="line 100001 has a NUL byte"):
        list(found)


def test_standard_input_has_lines_too(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("去\nb".encode())))

    assert list(from_standard_input()) == [Item("line 1", "去"), Item("line 2", "b")]


def test_a_closed_or_empty_standard_input_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(InputError, match="standard input is empty; expected items, one per line"):
        next(from_standard_input())
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="standard input is closed; give items as arguments, or a file with --file"):
        next(from_standard_input())


def test_arguments_may_name_folders_and_lines_may_not(lines_of):
    assert [item.argument for item in from_arguments(["a", "b/"])] == [True, True]
    assert [item.argument for item in lines_of(b"b/")] == [False]
