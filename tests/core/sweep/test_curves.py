"""Learning curves of several seeds."""

from __future__ import annotations

import json

import pytest

from dlpipe.sweep.curves import band, curve, draw_curves, left_out, panels_of
from dlpipe.sweep.table import Metric, Row

RIGHT = b"\x89PNG"


class Labeled:
    """Stands for a trial: only its label is asked for."""

    def __init__(self, label):
        self.label = label


def run(folder, name, values):
    """Write down a run whose dev score had `values` at steps 5, 10 …, and return its outcome."""
    log = folder / f"{name}.jsonl"
    lines = [{"step": 5 * (place + 1), "dev/digits/accuracy": value} for place, value in enumerate(values)]
    log.write_text("".join(json.dumps(line) + "\n" for line in [{"step": 1, "train/loss": 2.0}, *lines]))
    return {"state": "finished", "log": str(log), "metrics": {"test/digits/accuracy": values[-1]}}


def test_a_curve_is_the_metric_by_step(tmp_path):
    outcome = run(tmp_path, "a", [0.5, None, 0.75])

    assert curve(outcome, "dev/digits/accuracy") == {5: 0.5, 15: 0.75}


def test_the_band_lies_around_the_mean_and_within_the_seeds():
    steps, mean, low, high = band([{5: 0.0, 10: 1.0, 15: 9.0}, {5: 1.0, 10: 1.0}, {5: 5.0, 10: 1.0}])

    assert steps == [5, 10]
    assert mean.tolist() == [2.0, 1.0]
    assert 0 <= low[0] < 2 < high[0] <= 5
    assert low[1] == high[1] == 1.0


def test_the_band_is_the_bootstrap_interval_of_the_mean():
    # Of two seeds 0 and 1, resampled means are 0, ½, 1 with probability ¼, ½, ¼: the interval is all of it.
    _, _, low, high = band([{1: 0.0}, {1: 1.0}])
    # Of a hundred seeds it is nearly that of a normal distribution: ± 1.96 · 0.5 / √100.
    _, mean, narrow, wide = band([{1: float(seed % 2)} for seed in range(100)])

    assert (low[0], high[0]) == (0.0, 1.0)
    assert (wide[0] - narrow[0]) / 2 == pytest.approx(1.96 * 0.5 / 10, rel=0.1)
    assert mean[0] == 0.5


@pytest.mark.parametrize(("trials", "seeds"), [(1, 1), (3, 2), (11, 2)])
def test_curves_are_drawn(tmp_path, trials, seeds):
    rows = [
        Row(Labeled(f"trial {trial}"), tuple(run(tmp_path, f"{trial}-{seed}", [0.1, 0.2]) for seed in range(seeds)))
        for trial in range(trials)
    ]

    assert draw_curves(tmp_path / "curves.png", rows, Metric("test/digits/accuracy", "max"))

    assert (tmp_path / "curves.png").read_bytes().startswith(RIGHT)


@pytest.mark.parametrize(
    ("seeds", "bands", "words"), [(1, 0, ""), (2, 0, "mean of 2 runs, and"), (3, 1, "3 runs with 95%")]
)
def test_an_interval_needs_three_runs(tmp_path, monkeypatch, seeds, bands, words):
    drawn, titles = [], []
    monkeypatch.setattr("matplotlib.axes.Axes.fill_between", lambda *arguments, **style: drawn.append(arguments))
    monkeypatch.setattr("matplotlib.axes.Axes.set", lambda self, title, **others: titles.append(title))
    rows = [Row(Labeled("a"), tuple(run(tmp_path, f"{seed}", [0.1, 0.2]) for seed in range(seeds)))]

    draw_curves(tmp_path / "curves.png", rows, Metric("test/digits/accuracy", "max"))

    assert len(drawn) == bands
    assert words in titles[0]


def test_where_nothing_was_measured_on_dev_nothing_is_drawn(tmp_path):
    rows = [Row(Labeled("one"), ({"state": "failed", "reason": "no luck"}, run(tmp_path, "a", [None])))]

    assert not draw_curves(tmp_path / "curves.png", rows, Metric("test/digits/accuracy", "max"))
    assert not (tmp_path / "curves.png").exists()


def test_a_score_that_was_measured_once_is_a_level(tmp_path, monkeypatch):
    levels = []
    monkeypatch.setattr("matplotlib.axes.Axes.axhline", lambda self, y, **style: levels.append((y, style["label"])))
    rows = [
        Row(Labeled(label), [run(tmp_path, label, values)])
        for label, values in (("forest", [0.25]), ("network", [0.5, 0.75]))
    ]

    assert draw_curves(tmp_path / "curves.png", rows, Metric("test/digits/accuracy", "max"))
    assert levels == [(0.25, "forest")]


def trained(folder, name, values, losses=()):
    """Write down a run without a dev split: its score on train at steps 5, 10 …, and its loss at all steps."""
    log = folder / f"{name}.jsonl"
    lines = [{"step": step, "train/loss": loss} for step, loss in enumerate(losses, start=1)]
    lines += [{"step": 5 * (place + 1), "train/digits/accuracy": value} for place, value in enumerate(values)]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {"state": "finished", "log": str(log), "metrics": {}}


def names(*outcomes):
    rows = [Row(Labeled("a"), outcomes)]
    return [panel.name for panel in panels_of(rows, Metric("test/digits/accuracy"))]


def test_without_dev_the_score_on_train_and_the_loss_of_the_training_are_drawn(tmp_path):
    assert names(trained(tmp_path, "a", [0.1, 0.2], [2.0, 1.0])) == ["train/digits/accuracy", "train/loss"]
    assert names(trained(tmp_path, "b", [], [2.0, 1.0])) == ["train/loss"]
    assert names(trained(tmp_path, "c", [], [2.0])) == []  # one point is no curve


def test_train_is_drawn_beside_dev_and_the_loss_is_not(tmp_path):
    both = run(tmp_path, "a", [0.1, 0.2])
    with (tmp_path / "a.jsonl").open("a") as file:
        file.writelines(json.dumps({"step": step, "train/digits/accuracy": 0.5}) + "\n" for step in (5, 10))

    assert names(both) == ["train/digits/accuracy", "dev/digits/accuracy"]
    assert names(run(tmp_path, "b", [0.1, 0.2])) == ["dev/digits/accuracy"]


@pytest.mark.parametrize(("losses", "scale"), [([2.0, 1.0], "linear"), ([2.0, 0.01], "log")])
def test_the_axes_have_names_and_a_loss_that_varies_a_lot_a_logarithm(tmp_path, monkeypatch, losses, scale):
    from matplotlib.figure import Figure

    seen = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *given, **options: seen.extend(figure.axes))
    rows = [Row(Labeled("a"), (trained(tmp_path, "a", [0.1, 0.2], losses),))]

    assert draw_curves(tmp_path / "curves.png", rows, Metric("test/digits/accuracy"))

    assert [(axes.get_xlabel(), axes.get_ylabel(), axes.get_yscale()) for axes in seen] == [
        ("step", "train/digits/accuracy", "linear"),
        ("step", "train/loss", scale),
    ]


@pytest.mark.parametrize(("goal", "order"), [("max", ["b", "a", "none"]), ("min", ["a", "b", "none"])])
def test_a_trial_without_a_score_is_the_last(tmp_path, goal, order):
    outcomes = {name: run(tmp_path, name, [0.1, last]) for name, last in (("none", 0.9), ("a", 0.2), ("b", 0.3))}
    outcomes["none"]["metrics"]["test/digits/accuracy"] = None

    rows = [Row(Labeled(name), (outcome,)) for name, outcome in outcomes.items()]
    (panel,) = panels_of(rows, Metric("test/digits/accuracy", goal))

    assert [row.trial.label for row, _ in panel.trials] == order


@pytest.mark.parametrize(("goal", "words"), [("max", "the best 8 of 9 trials"), ("", "the first 8 of 9 trials")])
def test_of_many_trials_it_is_said_which_are_drawn(tmp_path, goal, words):
    rows = [Row(Labeled(str(place)), (run(tmp_path, str(place), [0.1, 0.2]),)) for place in range(9)]
    metric = Metric("dev/digits/accuracy", goal)

    assert left_out(panels_of(rows, metric)[0], metric) == words
    assert left_out(panels_of(rows[:8], metric)[0], metric) is None
