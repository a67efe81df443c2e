"""How messages describe the values of a type, and which values are accepted."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from dlpipe import fields
from dlpipe.fields import describe, part_of


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (int, "a whole number"),
        (float, "a number"),
        (bool, "true or false"),
        (str, "a string"),
        (Path, "a path"),
        (Any, "a value"),
        (fields.STRICT[int], "a whole number"),
        (fields.Positive, "a whole number above 0"),
        (fields.NonNegative, "a whole number of at least 0"),
        (fields.PositiveFloat, "a number above 0"),
        (fields.NonNegativeFloat, "a number of at least 0"),
        (fields.Fraction, "a number from 0 to 1"),
        (fields.OpenFraction, "a number of at least 0 and below 1"),
        (Annotated[int, Field(gt=1, le=5)], "a whole number above 1 and of at most 5"),
        (Annotated[str, Field(pattern="x", description="an x")], "an x"),
        (Literal["a", "b"], 'one of "a", "b"'),
        (Literal["a", 2, True], 'one of "a", 2, true'),
        (int | None, "a whole number"),
        (fields.Positive | Literal["full"], 'a whole number above 0 or "full"'),
        (list[int], "a list of whole numbers"),
        (Annotated[list[int], Field(min_length=1)], "a list of whole numbers (at least 1)"),
        (list[str], "a list of strings"),
        (list[bool], "a list of true or false"),
        (Sequence[fields.Positive], "a list of whole numbers above 0"),
        (Sequence[Literal["a", "b"]], 'a list of values from "a", "b"'),
        (tuple[int, ...], "a list of whole numbers"),
        (tuple[float, float], "a list of 2: a number, a number"),
        (dict[str, int], "a table"),
        (Mapping[str, Any], "a table"),
        (dict, "a table"),
        (fields.OptimizerTable, 'a table such as { use = "adam", lr = 1e-3 }'),
        (fields.ScheduleTable | None, 'a table such as { use = "cosine_annealing" }'),
        (fields.ModelReference(), 'a trained model: { stage = "…" } or { run = "…" }'),
    ],
)
def test_a_type_is_described_in_words(kind, words):
    assert describe(kind) == words


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (fields.Positive, [1, 10**9], [0, -1, True, 1.0, "1", None]),
        (fields.NonNegative, [0, 1], [-1, False, 0.0, "0"]),
        (fields.PositiveFloat, [1, 0.5, float("inf")], [0, -0.5, True, "1", float("nan")]),
        (fields.NonNegativeFloat, [0, 0.5], [-0.5, False, "1", float("nan")]),
        (fields.Fraction, [0, 1, 0.5], [1.1, -0.1, True, "0.5", float("nan")]),
        (fields.OpenFraction, [0, 0.99], [1, -0.1, False, "0.5"]),
        (fields.STRICT[int], [1, -1], [True, 1.0, "1"]),
        (fields.STRICT[float], [1, 0.5], [True, "0.5"]),
        (fields.STRICT[bool], [True], [1, 0, "true"]),
        (fields.STRICT[str], ["a"], [1, True]),
    ],
)
def test_strings_are_not_numbers_and_bools_not_integers_but_whole_numbers_are_floats(kind, good, bad):
    adapter = TypeAdapter(kind)

    assert [adapter.validate_python(value) for value in good] == good
    for value in bad:
        with pytest.raises(ValidationError, match="validation error"):
            adapter.validate_python(value)


def test_the_type_of_an_item_is_known_of_a_list_with_limits():
    kind = Literal["a", "b"]

    assert part_of(Annotated[Sequence[kind], Field(min_length=1)], 0) == kind
    assert part_of(Sequence[kind], 0) == kind
