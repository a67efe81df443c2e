import pytest

from dlpipe.comparison.run_result import flat, shortened_value


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ([{"conv": 32, "norm": True}], '[{"conv": 32, "norm": true}]'),
        ([{"conv": 32, "norm": True}, {"pool": 2}], '[{"conv": 32, "norm": true}, {"pool": 2…'),
        (0, "0"),
        (0.0, "0"),
        (1e30, "1e+30"),
        ("1.0", "1.0"),
        ("a" * 40, "a" * 40),
        ("a" * 41, "a" * 39 + "…"),
    ],
)
def test_a_value_in_a_table_is_that_of_the_file_cut_off_where_it_is_long(value, cell):
    assert shortened_value(flat({"layers": value})["layers"]) == cell
