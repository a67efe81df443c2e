"""The table at the end of a sweep, from made-up outcomes."""

from __future__ import annotations

import dataclasses
import io

import pytest
from rich.console import Console

from dlpipe.sweep.planned import Sweep, Trial
from dlpipe.sweep.table import Row, as_json, cells, legend, markdown, show, shown_metric


def outcome(value=None, seconds=2.0, **further):
    metrics = {"dev/digits/accuracy": value, **further}
    return {
        "state": "finished",
        "how": "run",
        "run": "runs/a/b",
        "seconds": seconds,
        "metrics": metrics,
        "primary": "digits/accuracy",
        "goals": {"dev/digits/accuracy": "max", "dev/loss/loss": "min"},
    }


FAILED = {"state": "failed", "reason": "no luck", "run": None}


class Named:
    """Stands for a pipeline: only its seed is asked for."""

    evaluators = ("digits",)

    def __init__(self, seed, loss=None):
        self.settings = self
        self.seed, self.loss = seed, loss

    def stage(self):
        return self

    def primary_depends_on(self, evaluator):
        return {"loss": self.loss} if self.loss else {}


def table(*outcomes, metric="", references=None):
    """Return a sweep of one trial for each tuple of outcomes, and its rows."""
    trials = tuple(
        Trial(
            label=f"{number}, x",
            choices={"a.b": str(number), "c": "x"},
            values={},
            pipelines=tuple(map(Named, range(len(seeds)))),
            averaged=({},) * len(seeds),
            pipeline=Named(0),
        )
        for number, seeds in enumerate(outcomes)
    )
    sweep = Sweep("demo", metric, trials, references or {})
    rows = [Row(trial, seeds) for trial, seeds in zip(trials, outcomes, strict=True)]
    return sweep, rows, shown_metric(sweep, [one for seeds in outcomes for one in seeds])


def test_seeds_are_told_by_mean_and_standard_deviation_and_seconds_by_the_median():
    content = cells(*table((outcome(0.5, 1.0), outcome(0.7, 2.0), outcome(0.6, 9.0))))

    assert content.columns == ["a.b", "c", "dev/digits/accuracy", "seconds", "run"]
    assert content.rows == [["0", "x", "0.6000 ± 0.1000", "2.0", "runs/a/b"]]


def test_what_the_mean_is_over_is_said_and_each_run_has_its_choices():
    sweep, rows, metric = table((outcome(0.5), outcome(0.7)))
    sweep = dataclasses.replace(sweep, averaged={"data.fold": 5})

    assert "mean ± standard deviation over data.fold (5) and 2 seeds; " in legend(sweep, rows, metric)[0]
    trial = dataclasses.replace(rows[0].trial, averaged=({"data.fold": "1"}, {"data.fold": "2"}))
    (told,) = as_json(sweep, [dataclasses.replace(rows[0], trial=trial)], metric)["trials"]
    assert [run["choices"] for run in told["runs"]] == [{"data.fold": "1"}, {"data.fold": "2"}]


def test_the_deviation_is_that_of_a_sample_of_seeds():
    (trial,) = as_json(*table((outcome(0.5), outcome(0.8))))["trials"]

    assert trial["standard_deviation"] == pytest.approx(0.3 / 2**0.5)  # of all, it would be 0.15


def test_one_seed_has_no_deviation_and_the_best_row_is_marked():
    content = cells(*table((outcome(0.5),), (outcome(0.75),), (outcome(0.7),)))

    assert [row[2] for row in content.rows] == ["0.5000", "0.7500 *", "0.7000"]
    assert content.best == (1,)


def test_where_less_is_better_the_least_is_best():
    content = cells(*table(*((outcome(value) | {"goals": {"dev/digits/accuracy": "min"}},) for value in (0.5, 0.75))))

    assert content.best == (0,)


def test_of_a_metric_that_nobody_judges_by_no_row_is_best():
    first, second = outcome(0.5, **{"dev/digits/f1": 1.0}), outcome(0.6, **{"dev/digits/f1": 2.0})

    sweep, rows, metric = table((first,), (second,), metric="dev/digits/f1")
    content = cells(sweep, rows, metric)

    assert [row[2:4] for row in content.rows] == [["1.0000", "0.5000"], ["2.0000", "0.6000"]]
    assert content.best == ()
    assert metric.note == (
        "no trial is marked as the best one: dev/digits/f1 is not the primary metric of an evaluator on dev "
        "(dev/digits/accuracy, dev/loss/loss), so it is not known whether higher or lower is better"
    )


def test_the_goal_is_that_of_the_metric_that_trials_are_compared_by():
    first, second = (outcome(value, **{"dev/loss/loss": value}) for value in (0.5, 0.6))

    content = cells(*table((first,), (second,), metric="dev/loss/loss"))

    assert [row[2] for row in content.rows] == ["0.5000 *", "0.6000"]


def test_failed_runs_are_seen_in_their_row():
    content = cells(*table((FAILED, FAILED), (outcome(0.5), FAILED)))

    assert [row[2] for row in content.rows] == ["failed", "0.5000 (1 of 2)"]
    assert content.rows[0][3:] == ["–", "–"]


def test_a_trial_of_which_a_seed_failed_cannot_be_the_best_and_the_table_says_so():
    sweep, rows, metric = table(*((outcome(low), outcome(low + 0.1)) for low in (0.5, 0.6)), (outcome(0.9), FAILED))

    assert [row[2] for row in cells(sweep, rows, metric).rows][1:] == ["0.6500 ± 0.0707 *", "0.9000 (1 of 2)"]
    assert "1 of 3 trials cannot be the best, as not all of their runs have the metric" in legend(sweep, rows, metric)


def test_a_table_without_a_best_row_does_not_explain_its_mark():
    assert legend(*table((outcome(0.5),), (FAILED,))) == []
    assert legend(*table((outcome(0.5),), (outcome(0.6),))) == ["* best: higher is better"]


def test_published_numbers_stand_beside_ours_by_label():
    content = cells(*table((outcome(0.5),), (outcome(0.6),), references={"paper": {"1, x": 0.25}}))

    assert content.columns[3] == "paper"
    assert [row[3] for row in content.rows] == ["–", "0.2500"]


def test_further_metrics_have_columns_while_they_are_few():
    few = outcome(0.5, **{"dev/digits/loss": 2.0, "test/digits/loss": 3.0})
    many = outcome(0.5, **{f"dev/digits/{name}": 1.0 for name in "abcd"})

    assert cells(*table((few,))).columns[2:4] == ["dev/digits/accuracy", "digits/loss"]
    assert len(cells(*table((many,))).columns) == 5


def test_numbers_stay_readable_whatever_their_size():
    content = cells(*table((outcome(123456.0), outcome(123458.0)), (outcome(2e-5),), (outcome(0.5), outcome(0.5001))))

    assert [row[2] for row in content.rows] == ["1.23e+05 ± 1.41 *", "2e-05", "0.5000 ± 0.0001"]


def test_the_best_trial_is_that_of_dev_and_its_test_score_stands_beside():
    better = outcome(0.9, **{"test/digits/accuracy": 0.6})
    luckier = outcome(0.8, **{"test/digits/accuracy": 0.7})

    content = cells(*table((better,), (luckier,)))

    assert content.columns[2:4] == ["dev/digits/accuracy", "test/digits/accuracy"]
    assert [row[2:4] for row in content.rows] == [["0.9000 *", "0.6000"], ["0.8000", "0.7000"]]
    assert content.best == (0,)


def test_named_metrics_stand_after_the_test_score_of_the_first():
    lone = outcome(0.9, **{"test/digits/accuracy": 0.6, "test/changed/accuracy": 0.5})
    sweep, rows, metric = table((lone,), metric="dev/digits/accuracy")

    content = cells(dataclasses.replace(sweep, further=("test/changed/accuracy",)), rows, metric)

    assert content.columns[2:5] == ["dev/digits/accuracy", "test/digits/accuracy", "test/changed/accuracy"]


@pytest.mark.parametrize("metric", ["", "test/digits/accuracy"])
def test_without_a_dev_split_no_trial_is_the_best_and_the_reason_is_given(metric):
    one, other = ({**outcome(), "metrics": {"test/digits/accuracy": value}} for value in (0.5, 0.6))

    sweep, rows, shown = table((one,), (other,), metric=metric)

    assert shown.name == "test/digits/accuracy"
    assert cells(sweep, rows, shown).best == ()
    assert "no trial is marked as the best one, since these are scores on test" in markdown(sweep, rows, shown, "demo")
    assert as_json(sweep, rows, shown)["note"].endswith(
        "give the data a dev split and let the evaluator judge it (splits)"
    )


def test_trials_with_different_losses_are_not_compared_by_the_loss_and_the_reason_is_given():
    sweep, rows, _ = table((outcome(0.5),), (outcome(0.7),))
    trials = tuple(
        dataclasses.replace(trial, pipelines=(Named(0, loss),))
        for trial, loss in zip(sweep.trials, ["mse", "l1"], strict=True)
    )

    metric = shown_metric(dataclasses.replace(sweep, trials=trials), [outcome(0.5), outcome(0.7)])

    assert (metric.name, metric.goal) == ("dev/digits/accuracy", "")
    assert metric.note == (
        "no trial is marked as the best one: dev/digits/accuracy is not the same everywhere, as loss is "
        '"mse" or "l1"; to compare by it, set evaluators.digits.loss'
    )
    assert cells(sweep, rows, metric).best == ()


def test_a_metric_that_no_run_has_is_said():
    sweep, rows, metric = table((outcome(0.5),), metric="dev/digits/acuracy")

    assert metric.note == "no run has dev/digits/acuracy; there are dev/digits/accuracy"
    assert cells(sweep, rows, metric).rows[0][2] == "–"


def test_without_evaluators_there_are_only_seconds():
    lone = {"state": "finished", "run": "runs/a/b", "metrics": {}, "seconds": None}

    assert cells(*table((lone,))).columns == ["a.b", "c", "seconds", "run"]


def test_json_holds_every_seed():
    trial = as_json(*table((outcome(0.5), outcome(0.75)), references={"paper": {"0, x": 1.0}}))["trials"][0]

    assert (trial["label"], trial["mean"], trial["references"]) == ("0, x", 0.625, {"paper": 1.0})
    assert [(run["seed"], run["metrics"]["dev/digits/accuracy"]) for run in trial["runs"]] == [(0, 0.5), (1, 0.75)]


def test_markdown_keeps_its_columns_whatever_the_choices_are():
    sweep, rows, metric = table((outcome(0.5),))
    sweep.trials[0].choices["c"] = "a|b"

    assert r"| 0 | a\|b | 0.5000 |" in markdown(sweep, rows, metric, "demo")


def test_a_narrow_terminal_shows_no_further_metrics_and_a_file_shows_all():
    seen = {}
    for terminal, width in ((True, 50), (True, 160), (False, 60)):
        stream = io.StringIO()
        show(
            Console(file=stream, width=width, force_terminal=terminal),
            *table((outcome(0.5, **{"dev/digits/loss": 2.0}),)),
        )
        seen[terminal, width] = stream.getvalue()

    assert ["loss" in text for text in seen.values()] == [False, True, True]


def test_each_warning_is_told_once_with_the_number_of_its_runs():
    odd, both = outcome(0.5) | {"warnings": ["odd"]}, outcome(0.6) | {"warnings": ["odd", "empty"]}
    sweep, rows, metric = table((odd, both), (outcome(0.7), FAILED | {"warnings": ["odd"]}))

    lines = ["warning in 3 of 4 runs: odd", "warning in 1 of 4 runs: empty"]
    assert [line.strip() for line in markdown(sweep, rows, metric, "demo").splitlines()][-2:] == lines
    assert as_json(sweep, rows, metric)["warnings"] == {"odd": 3, "empty": 1}


def test_the_score_on_train_stands_beside_that_of_dev_before_that_of_test():
    lone = outcome(0.9, **{"test/digits/accuracy": 0.6, "train/digits/accuracy": 1.0})

    content = cells(*table((lone,)))

    assert content.columns[2:5] == ["dev/digits/accuracy", "train/digits/accuracy", "test/digits/accuracy"]
    assert content.rows[0][2:5] == ["0.9000", "1.0000", "0.6000"]


def test_without_a_dev_split_the_score_on_train_stands_beside_that_of_test():
    lone = {**outcome(), "metrics": {"test/digits/accuracy": 0.6, "train/digits/accuracy": 1.0}}

    content = cells(*table((lone,)))

    assert content.columns[2:4] == ["test/digits/accuracy", "train/digits/accuracy"]


def test_the_best_on_train_is_not_marked_and_the_reason_is_given():
    one, other = ({**outcome(), "metrics": {"train/digits/accuracy": value}} for value in (0.5, 0.6))

    sweep, rows, shown = table((one,), (other,))

    assert shown.name == "train/digits/accuracy"
    assert cells(sweep, rows, shown).best == ()
    assert "no trial is marked as the best one, since these are scores on the training examples" in shown.note
