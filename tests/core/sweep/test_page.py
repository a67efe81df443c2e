"""The page of a sweep."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from dlpipe.sweep.page import _learning_curves
from dlpipe.sweep.table import Metric, Row


def row(folder, label, seeds):
    """Return a trial with the learning curve of each seed."""
    outcomes = []
    for seed in range(seeds):
        log = folder / f"{label}-{seed}.jsonl"
        log.write_text(
            "".join(json.dumps({"step": step, "dev/digits/accuracy": seed + step}) + "\n" for step in (1, 2))
        )
        outcomes.append({"state": "finished", "log": str(log), "metrics": {"test/digits/accuracy": seed}})
    return Row(SimpleNamespace(label=label), tuple(outcomes))


@pytest.mark.parametrize(
    ("trials", "seeds", "caption"),
    [
        (2, 1, ""),
        (2, 3, "The mean over the runs of each trial."),
        (9, 1, "The best 8 of 9 trials."),
        (9, 2, "The best 8 of 9 trials. The mean over the runs of each trial."),
    ],
)
def test_learning_curves_say_what_is_drawn(tmp_path, trials, seeds, caption):
    rows = [row(tmp_path, f"trial {number}", seeds) for number in range(trials)]
    (chart,) = _learning_curves(rows, Metric("test/digits/accuracy", "max"))

    assert chart.caption == caption
    assert len(chart.series) == min(trials, 8)
    assert list(chart.series[0].y) == [1 + (seeds - 1) / 2, 2 + (seeds - 1) / 2]
