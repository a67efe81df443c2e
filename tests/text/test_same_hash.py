from __future__ import annotations

from dlpipe_text.same_hash import among


def test_ours_are_looked_for_among_theirs():
    assert among(["a", "b", "b"], iter(["b", "c", "", "a"])).tolist() == [True, False, False, True]
    assert among([], [b"a"]).tolist() == [False]
    assert among([b"a"], []).tolist() == []
