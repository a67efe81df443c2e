from __future__ import annotations

import tomllib

import pytest

from dlpipe.config.toml_text import inline


@pytest.mark.parametrize(
    "value",
    [
        1,
        1e-5,
        True,
        'a "quoted" name',
        "ein Überrest\x7f",
        [1, [2, 3]],
        {},
        {"use": "adam", "model.hidden": [5, 5, 5, 5], "a b": {"lr": 0.1}},
    ],
)
def test_a_value_is_read_back_as_it_was(value):
    text = inline(value)

    assert "\n" not in text
    assert tomllib.loads(f"value = {text}")["value"] == value


def test_equal_values_are_counted_for_a_person():
    assert inline({"hidden": [500] * 9}, shorten=True) == "{ hidden = 9 × 500 }"
    assert inline([5, 5, 5], shorten=True) == "[5, 5, 5]"
