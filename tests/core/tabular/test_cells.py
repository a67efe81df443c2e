import polars as pl
import pytest

from dlpipe.errors import DataError, InputError
from dlpipe.tabular.cells import has_texts_only, number_in, numbers_of
from dlpipe.tabular.reading import RawTable


def column(*cells, decimal=","):
    return RawTable("rows.csv", pl.DataFrame({"a": cells}), pl.Series(range(2, 2 + len(cells))), True, "", decimal)


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("110,37", 110.37),
        ("-1.234,5", -1234.5),
        ("1.234.567,8e-1", 123456.78),
        ("2.000", 2000),
        ("12", 12),
        (",5", 0.5),
        ("0,125", 0.125),
    ],
)
def test_a_number_with_a_decimal_comma_may_have_points_between_thousands(cell, number):
    assert numbers_of(column(cell, None), "a").to_list() == [number, None]
    assert number_in("a", f" {cell} ", ",") == number
    assert not has_texts_only(column(cell, "x"), "a")


@pytest.mark.parametrize("cell", ["0.5", "0.661", "12.34", "1.5e3", ".5"])
def test_a_number_with_a_point_among_decimal_commas_is_refused(cell):
    message = (
        rf'rows.csv:4: column "a" has "{cell}"; expected a finite number. Use a decimal comma, remove decimal = ","'
    )
    with pytest.raises(DataError, match=message):
        numbers_of(column("1.234", "1,5", cell), "a")
    with pytest.raises(InputError, match=rf'"a" is "{cell}"; .* number; with decimal = ",", texts are .* "1.234,5"'):
        number_in("a", cell, ",")
    assert not has_texts_only(column(cell, cell), "a")


def test_a_number_of_an_item_that_is_no_text_has_no_decimal_comma():
    assert number_in("a", 0.5, ",") == 0.5


@pytest.mark.parametrize("cell", ["12.05.2031", "1.2.3", "1,2,3", "Rome"])
def test_texts_with_points_and_commas_are_no_numbers(cell):
    assert has_texts_only(column(cell, None), "a")
