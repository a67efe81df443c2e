from __future__ import annotations

import pytest

from dlpipe.errors import DataError
from dlpipe_text.distinct_lines import DistinctLines


def decode(line: bytes, where: str, offset: int) -> str:
    if b"?" in line:
        raise DataError(f"{where}: byte {offset + line.index(b'?')}")
    return ("<start>" if offset == 0 else "") + line.decode().rstrip("\n")


def test_lines_are_numbered_by_their_first_occurrence(tmp_path):
    (tmp_path / "file").write_bytes(b"b\na\na\nc\nb\na")

    lines = DistinctLines(tmp_path / "file", decode)

    # The first line and the last one, without its end, are not like others.
    assert [lines.texts[number] for number in lines.numbers] == ["<start>b", "a", "a", "c", "b", "a"]
    assert lines.numbers.tolist() == [0, 1, 1, 2, 3, 4]
    assert lines.first_row(1) == 1


def test_a_text_is_decoded_once(tmp_path):
    (tmp_path / "file").write_bytes(b"a\n" * 10)
    decoded = []

    DistinctLines(tmp_path / "file", lambda line, where, offset: decoded.append((where, offset)) or "")

    assert decoded == [(f"{tmp_path / 'file'}:1", 0), (str(tmp_path / "file"), 2)]


@pytest.mark.parametrize(("content", "place"), [(b"?\n", "1: byte 0"), (b"a\nbb\nbb\nc?\nc?\n", "4: byte 9")])
def test_a_line_that_is_refused_is_refused_where_it_first_occurs(tmp_path, content, place):
    (tmp_path / "file").write_bytes(content)

    with pytest.raises(DataError, match=f"file:{place}$"):
        DistinctLines(tmp_path / "file", decode)
