"""What `check_kills` does without a process that could be killed; tests/test_kills.py kills some."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest

from dlpipe.testing import kills


@pytest.fixture
def run(monkeypatch):
    """Let runs begin and end without a process, and return them with the folder of each."""
    begun = []
    monkeypatch.setattr(kills, "load_pipeline", lambda *arguments, **options: SimpleNamespace(stages={"": None}))
    monkeypatch.setattr(kills, "_start", lambda folder, *work: begun.append(folder.name))
    monkeypatch.setattr(kills, "_end_well", lambda process, folder: None)
    monkeypatch.setattr(kills, "_newest", lambda folder, name: folder)
    monkeypatch.setattr(kills, "assert_same_outcome", lambda *arguments: None)
    return begun


def test_runs_that_end_before_they_are_killed_are_too_short(run, monkeypatch, tmp_path):
    monkeypatch.setattr(kills, "_killed", lambda *arguments: "")

    with pytest.raises(AssertionError, match="^0 of 20 runs could be killed before they ended; take longer ones"):
        kills.check_kills("mine.toml", tmp_path, kills=2)

    assert run == ["whole", *(f"killed-{number}" for number in range(1, 21))]


def test_kills_are_counted_by_their_moment(run, monkeypatch, tmp_path):
    moments = iter(["begin", "save", "", "begin", ""])
    monkeypatch.setattr(kills, "_killed", lambda *arguments: next(moments))

    assert kills.check_kills("mine.toml", tmp_path, kills=3) == Counter(begin=2, save=1)
    assert run == ["whole", "killed-1", "killed-1", "killed-1", "killed-2", "killed-2"]
