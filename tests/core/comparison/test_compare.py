import json

import numpy as np
import pytest

from dlpipe.comparison.compare import compare
from dlpipe.comparison.run_result import RunResult
from dlpipe.comparison.table import tables
from dlpipe.errors import InputError, RunFolderError


def compared(*folders, metric=""):
    return compare([RunResult(folder) for folder in folders], metric)


def answers(share, count=400, seed=0):
    return (np.random.default_rng(seed).random(count) < share).astype(int).tolist()


def test_equal_predictions_are_no_difference(make_run):
    found = compared(make_run("a"), make_run("b", width=4))

    assert found.pairs[0].verdict.startswith("no difference beyond noise between A and B: +0.0000")
    assert found.differences["pipeline"] == {"model.width": {"A": "3", "B": "4"}}


def test_a_large_difference_is_found_and_has_the_right_direction(make_run):
    better = compared(make_run("a", answers(0.5)), make_run("b", answers(0.8, seed=1)))
    worse = compared(make_run("c", answers(0.5), goal="min"), make_run("d", answers(0.8, seed=1), goal="min"))

    assert better.pairs[0].verdict.startswith("B is better than A: +0.")
    assert worse.pairs[0].verdict.startswith("B is worse than A: +0.")


@pytest.mark.parametrize("goals", [{"digits/accuracy": "max", "loss/loss": "min"}, {}])
def test_by_another_metric_the_better_run_is_that_of_its_own_goal(make_run, goals):
    folders = [
        make_run(name, scores, metric="loss/loss", evaluator="loss", goals=goals)
        for name, scores in (("a", answers(0.5)), ("b", answers(0.8, seed=1)))
    ]

    found = compared(*folders, metric="test/loss/loss")

    if goals:
        assert found.goal == "min"
        assert found.pairs[0].verdict.startswith("B is worse than A: +0.")
        assert len(found.pairs[0].disagreements.first) > len(found.pairs[0].disagreements.second)
    else:
        assert found.pairs[0].verdict.startswith("B differs from A by +0.")
        assert found.pairs[0].disagreements is None
        assert "it is not known whether higher or lower test/loss/loss is better" in found.notes[-1]


def test_small_scores_are_shown_with_their_digits(make_run):
    found = compared(make_run("a", [3e-5, 1e-5], goal="min"), make_run("b", [1e-5, 1e-5], goal="min"))

    assert "between A and B: -1e-05 (90% interval -2e-05 to +0, p = " in found.pairs[0].verdict
    assert next(table.rows for table in tables(found) if table.title == "Metrics")[0][1:] == ["2e-05", "1e-05"]


def test_examples_that_one_gets_right_and_the_other_wrong_are_counted_and_named(make_run):
    found = compared(make_run("a", [1, 0, 1, 1, 0]), make_run("b", [0, 1, 0, 1, 0])).pairs[0].disagreements

    assert [example["name"] for example in found.first] == ["image 0", "image 2"]
    assert [example["row"] for example in found.second] == [1]
    assert found.second[0]["predicted"] == ["0", "1"]
    assert (found.equal, found.are_right) == (2, True)
    assert found.p == pytest.approx(1.0)


@pytest.mark.parametrize(("goal", "right"), [("max", 1), ("min", 0)])
def test_an_example_that_does_not_count_in_a_run_is_right_there(make_run, goal, right):
    first = make_run("a", [1, 0, 1 - right], weights=[1, 1, 0], goal=goal)
    second = make_run("b", [1, 0, right], goal=goal)

    assert compared(first, second).pairs[0].disagreements.equal == 3


def test_runs_that_differ_only_in_the_seed_are_a_group(make_run):
    folders = [make_run(f"a{seed}", answers(0.6, seed=seed), seed=seed) for seed in (0, 1)]
    folders += [make_run(f"b{seed}", answers(0.6, seed=9 + seed), seed=seed, width=4) for seed in (0, 1)]

    found = compared(*folders)

    assert [group.seeds for group in found.groups] == [[0, 1], [0, 1]]
    assert set(found.pairs[0].estimates) == {"seeds", "examples", "both"}
    assert found.pairs[0].estimate is found.pairs[0].estimates["both"]
    assert found.pairs[0].estimate.method == ("paired t interval over 2 seeds, and a bootstrap over 400 test examples")


def test_a_number_with_and_without_decimals_is_the_same(make_run):
    found = compared(make_run("a", width=0), make_run("b", seed=1, width=0.0), make_run("c", width=1.0))

    assert [len(group.runs) for group in found.groups] == [2, 1]
    assert found.differences["pipeline"]["model.width"] == {"A": "0", "B": "1"}


def test_a_repeated_seed_counts_once(make_run):
    folders = [make_run(f"a{number}", seed=seed) for number, seed in enumerate((0, 1, 1))]

    found = compared(*folders, make_run("b", width=4))

    assert [run.path.name for run in found.groups[0].runs] == ["a0", "a2"]
    assert any("a1 repeats seed 1 of A and does not count" in note for note in found.notes)


def test_other_versions_are_shown(make_run):
    found = compared(make_run("a"), make_run("b", torch="2.13"))

    assert found.differences["versions"] == {"torch": {"A": "2.12", "B": "2.13"}}


def test_other_data_is_not_tested_but_shown(make_run):
    found = compared(make_run("a"), make_run("b", data="d2"))

    assert "no test over examples: the data of" in found.pairs[0].verdict
    assert found.differences["data"] == {"fingerprint": {"A": "d1", "B": "d2"}}
    assert "test/digits/accuracy" in found.metrics


def test_scores_by_different_losses_are_shown_but_not_tested(make_run):
    found = compared(make_run("a", depends_on={"loss": "mse"}), make_run("b", width=4))

    assert found.pairs == []
    assert found.notes[-1] == (
        'nothing is tested: test/digits/accuracy is not the same everywhere, as loss is "mse" or "auto"; to compare '
        "by it, set evaluators.digits.loss"
    )


def test_a_run_that_has_not_finished_is_shown_with_its_state(make_run):
    found = compared(make_run("a"), make_run("b", width=4), make_run("c", state="interrupted"))

    assert [group.runs[0].state for group in found.groups] == ["finished", "finished", "interrupted"]
    assert len(found.pairs) == 1
    assert any("c is interrupted: it is not compared" in note for note in found.notes)


def test_only_one_run_is_refused(make_run):
    with pytest.raises(InputError, match="needs at least two runs; found only .*a$"):
        compared(make_run("a"))


def test_runs_without_a_common_metric_are_refused(make_run):
    with pytest.raises(InputError, match="no metric in common: .*a has dev/digits/accuracy, .*b has dev/digits/mse"):
        compared(make_run("a"), make_run("b", metric="digits/mse"))


def test_an_unknown_metric_is_refused(make_run):
    with pytest.raises(InputError, match="--metric test/x: not all runs have it; common to all: dev/digits/accuracy"):
        compared(make_run("a"), make_run("b"), metric="test/x")


def test_a_damaged_file_of_predictions_is_reported_with_its_line_and_nothing_is_tested(make_run):
    one, other = make_run("a"), make_run("b")
    with (other / "predictions.jsonl").open("a") as file:
        file.write('{"metric": "digits/acc')

    assert "predictions.jsonl:5 cannot be read" in compared(one, other).pairs[0].verdict


def test_missing_lines_are_noticed_by_the_metric(make_run):
    one, other = make_run("a"), make_run("b")
    lines = (other / "predictions.jsonl").read_text().splitlines()
    (other / "predictions.jsonl").write_text("\n".join(lines[:2]) + "\n")

    assert "gives digits/accuracy = 0.500000, but metrics.jsonl has 0.750000" in compared(one, other).pairs[0].verdict


def test_a_run_without_predictions_is_compared_by_its_metrics_only(make_run):
    one, other = make_run("a"), make_run("b")
    (one / "predictions.jsonl").unlink()

    assert "a keeps no predictions of digits/accuracy" in compared(one, other).pairs[0].verdict


def test_other_examples_in_the_same_rows_are_not_tested(make_run):
    one, other = make_run("a"), make_run("b")
    path = other / "predictions.jsonl"
    path.write_text(path.read_text().replace("image 2", "picture 2"))

    assert "1 examples of" in compared(one, other).pairs[0].verdict
    assert "are not the same, such as row 2" in compared(one, other).pairs[0].verdict


def test_a_folder_that_is_not_a_run_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match="is not a run folder: it has no resolved.toml"):
        RunResult(tmp_path)


def test_everything_is_in_the_json(make_run):
    plain = json.loads(json.dumps(compared(make_run("a", [1, 0, 1, 1]), make_run("b", [0, 1, 1, 1])).plain()))

    assert plain["comparisons"][0]["examples"]["first_better"] == 1
    assert plain["comparisons"][0]["estimates"]["examples"]["differs"] is False
    assert plain["groups"][0]["runs"][0]["seconds"] == 1.5


def test_what_an_evaluator_finds_on_train_is_compared_and_the_losses_of_the_steps_are_not(make_run):
    folders = [make_run(name, width=width) for name, width in (("a", 3), ("b", 4))]
    for folder in folders:
        with (folder / "metrics.jsonl").open("a") as file:
            file.write('{"step": 20, "train/digits/accuracy": 0.75, "train/loss": 0.5}\n')

    found = compared(*folders)

    assert found.metrics == ["test/digits/accuracy", "dev/digits/accuracy", "train/digits/accuracy"]
    assert found.metric == "test/digits/accuracy"


CHANGED = {
    "stage": "",
    "step": 10,
    "time": "2026-11-30T10:00:00+0000",
    "set": ["trainer.epochs=4"],
    "changes": [{"key": "trainer.epochs", "from": 2, "to": 4}],
    "restarts": [],
}


@pytest.mark.parametrize(
    "recorded",
    [
        {"fast": True},
        {"identity": {"the code of dlpipe": "0f3a"}},
        {"changed": [CHANGED]},
    ],
    ids=["fast", "code", "changed"],
)
def test_what_differs_in_more_than_the_seed_is_no_group(make_run, recorded):
    folders = [make_run(f"a{seed}", seed=seed) for seed in (0, 1, 2)]
    other = make_run("b", seed=3)
    provenance = json.loads((other / "provenance.json").read_text())
    (other / "provenance.json").write_text(json.dumps(provenance | recorded))

    assert [group.seeds for group in compared(*folders, other).groups] == [[0, 1, 2], [3]]


def test_runs_on_other_data_are_no_group(make_run):
    folders = [make_run(f"a{seed}", seed=seed) for seed in (0, 1)]

    found = compared(*folders, make_run("b", seed=2, data="d2"))

    assert [group.seeds for group in found.groups] == [[0, 1], [2]]


def test_of_a_repeated_seed_a_finished_run_counts_although_a_newer_one_is_not(make_run):
    folders = [make_run("a0"), make_run("a1", seed=1), make_run("a2", seed=1, state="interrupted")]

    found = compared(*folders, make_run("b", width=4))

    assert [run.path.name for run in found.groups[0].runs] == ["a0", "a1"]


def test_seeds_that_are_not_the_same_are_not_paired(make_run):
    folders = [make_run(f"a{seed}", answers(0.6, seed=seed), seed=seed) for seed in (0, 1)]
    folders += [make_run(f"b{seed}", answers(0.6, seed=9 + seed), seed=seed, width=4) for seed in (1, 2)]

    assert compared(*folders).pairs[0].estimates["seeds"].method == "Welch's t interval over 2 and 2 seeds"


def test_examples_without_a_finite_score_are_not_tested(make_run):
    one, other = make_run("a"), make_run("b")
    path = other / "predictions.jsonl"
    path.write_text(path.read_text().replace('"score": 0', '"score": null'))

    assert "b has 1 examples without a finite score of digits/accuracy" in compared(one, other).pairs[0].verdict


def test_only_examples_that_all_runs_keep_are_tested_and_that_is_said(make_run):
    one, other = make_run("a", [1, 0, 1, 1]), make_run("b", [0, 1, 0, 1])
    lines = (other / "predictions.jsonl").read_text().splitlines()
    (other / "predictions.jsonl").write_text("\n".join([lines[0], *lines[2:]]).replace('"row": 3', '"row": 7') + "\n")

    found = compared(one, other).pairs[0]

    assert "the runs keep 2 test examples in common; only these are tested" in found.notes
    assert found.estimates["examples"].method == "paired bootstrap over 2 test examples"


def test_several_comparisons_are_said_to_find_some_differences_by_chance(make_run):
    found = compared(make_run("a"), make_run("b", width=4), make_run("c", width=5))

    assert found.notes == ["2 comparisons: each finds a difference where there is none in 10 of 100 cases"]


def test_examples_in_another_order_are_reported_and_not_tested(make_run):
    one, other = make_run("a"), make_run("b")
    path = other / "predictions.jsonl"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))

    verdict = compared(one, other).pairs[0].verdict

    assert "b/predictions.jsonl: the rows of digits/accuracy are not in ascending order. Lines are missing" in verdict
