import polars as pl
import pytest

from dlpipe.errors import DataError, InputError
from dlpipe.tabular.cells import numbers_of
from dlpipe.tabular.reading import FileReader

READER = FileReader(None, "utf-8", ("", "NA"))


def test_blanks_around_fields_are_dropped_and_missing_values_are_null(write):
    table = READER.read(write("age , city", " 41,Oslo ", "NA, "))

    assert table.frame.rows(named=True) == [{"age": "41", "city": "Oslo"}, {"age": None, "city": None}]


def test_blank_lines_are_skipped_and_rows_know_their_lines(write):
    table = READER.read(write("a,b", "1,2", "", "3,4", ""))

    assert table.frame.rows() == [("1", "2"), ("3", "4")]
    assert table.place(1).endswith("rows.csv:4")


def test_a_quoted_field_may_contain_separators_line_feeds_and_quotation_marks(write):
    table = READER.read(write("a,b", '"x', 'y, z",1', '"say ""no""",2'))

    assert table.frame["a"].to_list() == ["x\ny, z", 'say "no"']
    assert table.place(1).endswith("rows.csv:4")


def test_a_tsv_file_has_tabs_and_ordinary_quotation_marks(write):
    table = READER.read(write('a\tb, "c"', '"1\t2', name="rows.tsv"))

    assert table.frame.rows(named=True) == [{"a": '"1', 'b, "c"': "2"}]


def test_line_ends_of_windows_and_a_byte_order_mark_are_no_part_of_the_table(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(b"\xef\xbb\xbfa,b\r\n1,2\r\n")

    assert READER.read(path).frame.rows(named=True) == [{"a": "1", "b": "2"}]


def test_another_separator_and_encoding_can_be_given(write):
    path = write("alt;stadt", "41;Köln", encoding="cp1252")

    assert FileReader(";", "cp1252", ("",)).read(path).frame.rows() == [("41", "Köln")]


def test_a_decimal_comma_may_be_the_separator_too_within_quotation_marks(write):
    reader = FileReader(None, "utf-8", (), ",")

    assert numbers_of(reader.read(write("a,b", '"2,28",1')), "a").to_list() == [2.28]
    with pytest.raises(
        DataError, match=r'rows.csv:2: 3 fields; expected 2 .* Put fields that contain "," in quotation'
    ):
        reader.read(write("a,b", "2,28,1"))


def test_a_parquet_file_keeps_its_types_and_nan_is_missing(tmp_path):
    frame = pl.DataFrame({"a": [1.5, float("nan")], "b": [True, False], "c": ["x", " NA"], "d": [3, None]})
    frame.write_parquet(tmp_path / "rows.parquet")

    table = READER.read(tmp_path / "rows.parquet")

    assert table.frame.rows() == [(1.5, True, "x", 3), (None, False, None, None)]
    assert table.place(1).endswith("rows.parquet, row 2")


def test_a_category_of_a_parquet_file_is_a_text(tmp_path):
    pl.DataFrame({"a": pl.Series(["x", "y"], dtype=pl.Categorical)}).write_parquet(tmp_path / "rows.parquet")

    assert READER.read(tmp_path / "rows.parquet").frame.dtypes == [pl.String]


def test_texts_of_a_parquet_file_may_have_decimal_commas(tmp_path):
    pl.DataFrame({"a": ["1.234,5", "7"]}).write_parquet(tmp_path / "rows.parquet")

    assert numbers_of(FileReader(None, "utf-8", (), ",").read(tmp_path / "rows.parquet"), "a").to_list() == [1234.5, 7]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((), r"rows.csv: an empty file; expected a header with the names of the columns, and rows"),
        (("a,b",), r"rows.csv: no rows below the header; expected at least one"),
        (
            ("a,b", "1,2", "3"),
            r'rows.csv:3: 1 field; expected 2 as in the header, "a", "b". Put fields that contain ","',
        ),
        (("a,b", "1,2,3"), r"rows.csv:2: 3 fields; expected 2 as in the header"),
        (
            ("a;b", "1;2,5"),
            r'rows.csv:2: 2 fields; expected 1 as in the header, "a;b". Is the table separated by ";"\?',
        ),
        (("a,b", '"x",2', '"y"'), r"rows.csv:3: 1 field; expected 2 as in the header"),
        (("a,b,a", "1,2,3"), r'rows.csv:1: two columns are named "a"; rename or delete one of them'),
        (("a,,c", "1,2,3"), r"rows.csv:1: column 2 has no name; expected one for each column. Complete the header"),
        (
            ("a,b", "1,2", 'x,"y'),
            r'rows.csv:3: the row that starts here cannot be read .*; expected "," between fields',
        ),
        (("a,b", "1\0,2"), r'rows.csv:2: a NUL; expected text. If this is UTF-16, set encoding = "utf-16"'),
    ],
)
def test_a_file_that_is_no_table_is_refused_with_its_line(write, lines, message):
    with pytest.raises(DataError, match=message):
        READER.read(write(*lines))


def test_quotation_marks_that_parsers_read_differently_are_refused(write):
    with pytest.raises(DataError, match=r"rows.csv.*quotation marks"):
        READER.read(write("a,b", 'x"y,2', '"z",3'))


def test_bytes_of_another_encoding_are_refused_with_their_line(write):
    path = write("stadt", "Bonn", "Köln", encoding="cp1252")

    with pytest.raises(DataError, match=r"rows.csv:3: byte 12 is 0xf6, not utf-8 .*; set encoding to that of the file"):
        READER.read(path)


def test_utf_16_is_known_by_its_mark(write):
    path = write("stadt", "Bonn", encoding="utf-16")

    with pytest.raises(
        DataError, match=r"rows.csv:1: byte 0 is .*; set encoding to that of the file, such as utf-16, or"
    ):
        READER.read(path)
    # Every line of the fixture begins with a mark.
    path.write_text("stadt\nKöln\n", encoding="utf-16")
    assert FileReader(None, "utf-16", ()).read(path).frame.rows() == [("Köln",)]


def test_an_unknown_encoding_is_refused(write):
    with pytest.raises(InputError, match=r'encoding = "utf-9": there is no such encoding; try "cp1252" or "gb18030"'):
        FileReader(None, "utf-9", ()).read(write("a", "1"))


def test_a_file_of_another_kind_or_none_is_refused(tmp_path, write):
    with pytest.raises(
        DataError, match=r"rows.xlsx: a file of another kind; expected .csv, .tsv, .parquet. Convert it"
    ):
        READER.read(write("a", name="rows.xlsx"))
    with pytest.raises(DataError, match=r"none.csv: No such file or directory; expected a table. Correct the path"):
        READER.read(tmp_path / "none.csv")


def test_a_damaged_parquet_file_is_refused(write):
    with pytest.raises(DataError, match=r"rows.parquet is not a Parquet file: .*; convert it again"):
        READER.read(write("a,b", name="rows.parquet"))
