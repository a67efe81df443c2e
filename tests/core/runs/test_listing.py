from __future__ import annotations

import json
import platform
import time
from datetime import datetime

import pytest

from dlpipe.errors import InputError
from dlpipe.runs.folder import METRICS, STATUS
from dlpipe.runs.listing import SILENCE, run_folders, summarize

JUDGED = {
    "metric": "digits/accuracy",
    "goal": "max",
    "monitor": "dev/digits/loss",
    "monitor_goal": "min",
    "total_steps": 40,
}
DEV = [
    {"step": 10, "epoch": 1.0, "dev/digits/loss": 0.5, "time": 1.0},
    {"step": 20, "epoch": 2.0, "dev/digits/loss": 0.3, "time": 2.0},
    {"step": 30, "epoch": 3.0, "dev/digits/loss": 0.4, "time": 3.0},
]
TEST = {"step": 20, "test/digits/loss": 0.35, "test/digits/accuracy": 0.75, "time": 4.0}


def test_a_finished_run_is_judged_by_the_first_evaluator_on_test(make_run):
    run = summarize(make_run("digits/a", metrics=[*DEV, TEST], seconds=12.5))

    assert (run.state, run.name, run.metric, run.score) == ("finished", "digits/a", "test/digits/accuracy", 0.75)
    assert (run.step, run.total_steps, run.epoch, run.seconds) == (30, 40, 3.0, 12.5)


def test_before_the_test_the_best_score_on_dev_counts(make_run):
    smaller = summarize(make_run("digits/a", "failed", metrics=DEV, reason="no luck"))
    larger = summarize(make_run("digits/b", metrics=DEV, stages={"": JUDGED | {"monitor_goal": "max"}}))

    assert (smaller.metric, smaller.score, smaller.reason) == ("dev/digits/loss", 0.3, "no luck")
    assert larger.score == 0.5


def test_a_run_of_an_earlier_version_shows_what_its_metrics_say(make_run):
    tested = summarize(make_run("digits/a", metrics=[*DEV, TEST], stages={}))
    untested = summarize(make_run("digits/b", metrics=DEV, stages={}))

    assert (tested.metric, tested.score) == ("test/digits/loss", 0.35)
    assert (untested.metric, untested.score) == ("dev/digits/loss", 0.4)


def test_of_several_stages_the_last_counts(make_run):
    run = summarize(make_run("digits/a", metrics=DEV, stages={"pretrain": JUDGED, "tune": JUDGED}))

    assert (run.stage, run.score) == ("tune", 0.3)


def test_half_a_line_and_numbers_that_are_not_finite_are_left_out(make_run):
    path = make_run("digits/a", metrics=[*DEV, {"step": 40, "dev/digits/loss": None}])
    with (path / METRICS).open("a") as file:
        file.write('{"step": 50, "dev/digits/lo')

    run = summarize(path)

    assert (run.step, run.score) == (40, 0.3)


def test_a_step_without_end_hides_no_run(make_run):
    path = make_run("digits/a", metrics=DEV)
    with (path / METRICS).open("a") as file:
        file.write('{"step": 1e999}\n')

    assert summarize(path).step == 30


def test_a_run_is_running_while_its_lock_is_held_and_its_owner_is_not_disturbed(make_run, hold):
    path = make_run("digits/a", "running", metrics=DEV, age=100)
    assert summarize(path).state == "stale"

    pid = hold(path)

    assert [summarize(path).state for _ in range(2)] == ["running", "running"]
    assert (path / ".lock").read_text() == f"process {pid} on {platform.node()}"
    assert summarize(path).seconds == pytest.approx(100, abs=5)


@pytest.mark.parametrize(("age", "state"), [(SILENCE / 2, "running"), (SILENCE * 2, "stale")])
def test_a_run_of_another_host_is_stale_when_it_has_been_silent_for_long(make_run, age, state):
    assert summarize(make_run("digits/a", "running", host="elsewhere", age=age)).state == state


def test_a_run_whose_files_cannot_be_read_is_damaged_and_hides_no_other(make_run):
    path = make_run("digits/a")
    (path / STATUS).write_text("{")

    run = summarize(path)

    assert run.state == "damaged"
    assert "status.json cannot be read" in run.reason


@pytest.mark.parametrize("offset", ["+0900", "-0330", "+0000"])
def test_a_run_of_another_time_zone_began_when_it_did(make_run, offset):
    path = make_run("digits/a")
    recorded = json.loads((path / "provenance.json").read_text())
    (path / "provenance.json").write_text(json.dumps(recorded | {"time": f"2026-11-30T12:00:00{offset}"}))

    assert summarize(path).started == datetime.strptime(f"2026-11-30 12:00 {offset}", "%Y-%m-%d %H:%M %z").timestamp()


def test_runs_are_listed_newest_first_and_by_name(make_run, tmp_path):
    make_run("digits/2026-10-25_023000-aaaa", began="2026-10-25T02:30:00+0200")  # the clock is set back at 3
    make_run("words/2026-10-25_025900-bbbb", began="2026-10-25T02:59:00+0200")
    make_run("digits/2026-10-25_020000-cccc", began="2026-10-25T02:00:00+0100")
    (tmp_path / "runs/digits/latest").symlink_to("2026-10-25_020000-cccc")
    (tmp_path / "runs/digits/sweeps").mkdir()

    found = run_folders(tmp_path / "runs")

    assert [path.name[-4:] for path in found] == ["cccc", "bbbb", "aaaa"]
    assert [path.parent.name for path in run_folders(tmp_path / "runs", "wor*")] == ["words"]
    assert len(run_folders(tmp_path / "runs", "digits/2026-10-25_023*")) == 1


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: there is no such folder; expected one with runs: --runs DIR"):
        run_folders(tmp_path / "nowhere")


def test_a_thousand_runs_take_about_a_second(make_run, tmp_path):
    lines = [{"step": step, "train/loss": 0.5, "time": 1.0} for step in range(1000)]
    path = make_run("digits/2026-01-01_000000-aaaa", metrics=[*lines, *DEV, TEST])
    began = time.process_time()

    for _ in range(200):
        summarize(path)

    assert len(json.dumps(lines)) > 40_000
    assert time.process_time() - began < 0.4
