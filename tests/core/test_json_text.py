"""JSON that every program can read."""

from __future__ import annotations

import json
from math import inf, nan

import pytest

from dlpipe.json_text import finite, to_json
from dlpipe.messages import Weighted


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"f1": nan, "loss": inf, "accuracy": 0.5}, '{"f1": null, "loss": null, "accuracy": 0.5}'),
        ([-inf, (nan, 1), "nan", None, True], '[null, [null, 1], "nan", null, true]'),
        ({"words": [Weighted("good", nan)]}, '{"words": [["good", null]]}'),
    ],
)
def test_numbers_that_are_not_finite_are_null(content, text):
    assert to_json(content) == text


def test_settings_that_are_not_finite_are_what_toml_writes_and_stay_equal_when_they_are_read():
    settings = finite({"trainer.max_grad_norm": inf, "model.bounds": [-inf, nan, 2.0]}, str)

    assert settings == {"trainer.max_grad_norm": "inf", "model.bounds": ["-inf", "nan", 2.0]}
    assert json.loads(to_json(settings)) == settings
