"""Parallel coordinates of a sweep."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dlpipe.sweep.axes import Range
from dlpipe.sweep.parallel import draw_parallel, figure_colors, position
from dlpipe.sweep.table import Metric, Row

METRIC = Metric("test/digits/accuracy", "max")
AXES = {"model.width": Range("model.width", 1, 100, None, "log"), "trainer.lr": Range("trainer.lr", 0.0, 2.0, None)}


def row(width, rate, score):
    values = {"model.width": width, "trainer.lr": rate}
    trial = SimpleNamespace(label=f"{width}, {rate}", values=values, choices=values)
    return Row(trial, ({"state": "finished", "metrics": {METRIC.name: score}},))


@pytest.mark.parametrize(("width", "rate", "places"), [(1, 0.0, (0, 0)), (10, 0.5, (0.5, 0.25)), (100, 2.0, (1, 1))])
def test_a_trial_crosses_an_axis_at_its_share_of_the_range(width, rate, places):
    found = row(width, rate, 0.5)

    assert [position(axis, found, key) for key, axis in AXES.items()] == pytest.approx(places)


@pytest.mark.parametrize("scores", [(0.5, 0.5), (0.25, 0.75)])
def test_trials_with_and_without_different_scores_are_drawn(tmp_path, scores):
    rows = [row(1, 0.0, scores[0]), row(100, 2.0, scores[1])]

    assert draw_parallel(tmp_path / "parallel.png", SimpleNamespace(axes=AXES), rows, METRIC)

    with Image.open(tmp_path / "parallel.png") as picture:
        assert np.asarray(picture.convert("RGB")).std() > 1


def test_the_color_of_a_score_is_its_place_between_the_least_and_the_largest():
    dark, middle, light = figure_colors([1.0, 2.0, 3.0])

    assert sum(dark[:3]) < sum(middle[:3]) < sum(light[:3])
    assert figure_colors([2.0, 2.0])[0] == figure_colors([2.0, 2.0])[1]


def test_one_axis_or_one_trial_is_nothing_to_draw(tmp_path):
    one_axis = SimpleNamespace(axes={"trainer.lr": AXES["trainer.lr"]})

    assert not draw_parallel(tmp_path / "a.png", one_axis, [row(1, 0.0, 0.5), row(1, 1.0, 0.6)], METRIC)
    assert not draw_parallel(tmp_path / "a.png", SimpleNamespace(axes=AXES), [row(1, 0.0, 0.5)], METRIC)
    assert not (tmp_path / "a.png").exists()
