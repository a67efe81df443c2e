from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dlpipe_text.strings import Strings, StringSequences


def test_equal_names_are_one_string_and_unused_ones_are_none():
    strings = Strings.numbered(np.array([2, 0, 2, 3]), ["a", "unused", "b", "a"])

    assert strings.distinct == ["a", "b"]
    assert strings.numbers.tolist() == [1, 0, 1, 0]
    assert strings.counts() == {"a": 2, "b": 2}
    assert strings.looked_up({"b": 7}, default=-1).tolist() == [7, -1, 7, -1]
    assert strings.renamed(lambda _: "x").distinct == ["x"]


@given(st.lists(st.lists(st.sampled_from(["a", "b", "", "ab"]), max_size=3), max_size=5))
def test_sequences_are_numbered_as_they_are_added(sequences):
    found = StringSequences()
    for sequence in sequences:
        found.add(sequence)

    flat = [string for sequence in sequences for string in sequence]
    assert [found.strings.distinct[number] for number in found.strings.numbers] == flat
    assert found.strings.distinct == list(dict.fromkeys(flat))
    assert found.lengths.tolist() == list(map(len, sequences))
