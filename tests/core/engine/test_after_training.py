"""What follows the training: a signal ends it anywhere, and the resumed run does what is left, once."""

from __future__ import annotations

import json
import signal
from collections import Counter

import pytest

from dlpipe.config.check import load_pipeline
from dlpipe.engine import outcome, profiling
from dlpipe.engine.execute import resume, run
from dlpipe.errors import Interrupted
from dlpipe.ranks import Ranks
from dlpipe.registry.loading import load_plugins
from dlpipe.runs.folder import RunFolder
from dlpipe.testing.resume import assert_same_outcome
from dlpipe.training.progress import Progress

# The components write what they do to a file. At the moment that another file names, there is a Ctrl-C, or a failure.
PLUGIN = """
import os
import signal
from pathlib import Path
import torch
from torch import nn
from dlpipe import DataSpec, EvaluatorSpec, ModelSpec, hookimpl
from dlpipe.data import Columns
from dlpipe.progress import tracked

HERE = Path(os.environ["TOY_FOLDER"])
MOMENTS, WHEN = HERE / "moments.txt", HERE / "when.txt"

def reach(moment):
    with MOMENTS.open("a") as file:
        file.write(moment + "\\n")
    what, rest = WHEN.read_text().split(" ", 1)
    wanted, count = rest.rsplit(" ", 1)
    if moment == wanted and MOMENTS.read_text().split("\\n").count(moment) == int(count):
        if what == "fail":
            raise ValueError(moment)
        signal.raise_signal(signal.SIGINT)

class Points:
    facts, splits = {}, ("train", "dev", "test")
    def split(self, name):
        points = torch.randn(7, 3, generator=torch.Generator().manual_seed(len(name)))
        return Columns({"points": points, "targets": (points.sum(1) > 0).long()})
    def state(self): return {}
    def restore(self, state): pass
    def fingerprint(self): return ""

class Line(nn.Linear):
    def __init__(self):
        super().__init__(3, 2)
    def forward(self, points):
        if torch.is_grad_enabled():
            reach("step")
        return super().forward(points)

class Guess(nn.Module):
    def fit(self, points, targets):
        reach("fit " + type(self).__name__)
        self.register_buffer("share", targets.double().mean())
    def forward(self, points):
        return torch.rand(len(points), 2) * self.share

class Other(Guess):
    pass

class Sign:
    primary, goal = "share", "max"
    def evaluate(self, model, examples):
        who = f"{type(model).__name__} on {examples.split}"
        reach("evaluate " + who)
        for number in tracked(range(3), "rounds"):
            reach(f"round {number} of {who}")
        return {"share": float(sum(p.double().mean() for _, _, p in examples.predictions(model)) + torch.rand(()))}
    def sample(self, folder, step):
        reach("sample")
        (folder / f"{step}.txt").write_text("a sample")
    def write(self, folder):
        reach("write")
        (folder / "figure.txt").write_text("a figure")

@hookimpl
def dlpipe_data(): return [DataSpec("points", ":Points", "points")]
@hookimpl
def dlpipe_models(): return [ModelSpec(name.lower(), f":{name}", name) for name in ("Line", "Guess", "Other")]
@hookimpl
def dlpipe_evaluators():
    return [EvaluatorSpec("sign", ":Sign", "the share of one sign", baselines=("toy.guess", "toy.other"))]
"""
STAGE = """
[{0}data]
use = "toy.points"
[{0}model]
use = "toy.line"
[{0}trainer]
use = "core.supervised"
steps = 4
evaluate_every = 2
[{0}evaluators.sign]
use = "toy.sign"
[{0}evaluators.again]
use = "toy.sign"
"""
HEAD = 'name = "points"\nplugins = ["./toy.py"]\ndevice = "cpu"\nthreads = 1\n'
ONE, TWO = HEAD + STAGE.format(""), HEAD + STAGE.format("stages.one.") + STAGE.format("stages.two.")


@pytest.fixture(autouse=True)
def keyboard():
    """Ctrl-C as in a terminal; a process in the background may have been started with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True, scope="module")
def drawing():
    """Curves and report in no time."""

    def draw(stage):
        (stage.folder / "figures").mkdir(exist_ok=True)
        (stage.folder / "figures/curves.png").touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outcome, "can_draw", lambda: True)
        patch.setattr(outcome, "missing_packages", list)
        patch.setattr(outcome, "is_drawn", lambda stage: (stage.folder / "figures/curves.png").exists())
        patch.setattr(outcome, "write_curves", draw)
        patch.setattr(outcome, "write_report", lambda folder: (folder.path / "report.html").touch())
        yield


def test_how_a_run_ends_is_recorded_before_other_processes_are_waited_for(tmp_path, monkeypatch):
    folder, left = RunFolder(tmp_path), []
    monkeypatch.setattr(outcome, "leave", lambda *, tell_others: left.append(folder.status()["state"]))
    folder.set_status("running")

    outcome.end_at_once(folder, "SIGTERM", Progress(None, quiet=True), Ranks(0, 2))

    assert left == ["preempted"]


class Work:
    """A folder with a pipeline, and what its components have done since they wait for a moment."""

    def __init__(self, folder, text):
        self.folder, self.moments = folder, folder / "moments.txt"
        folder.mkdir()
        (folder / "toy.py").write_text(PLUGIN)
        (folder / "points.toml").write_text(text)
        self.wait_for("stop nothing 1")

    def wait_for(self, moment):
        (self.folder / "when.txt").write_text(moment)
        self.moments.write_text("")

    def done(self):
        return Counter(self.moments.read_text().split("\n")[:-1])

    def run(self, **options):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TOY_FOLDER", str(self.folder))
            pipeline = load_pipeline(self.folder / "points.toml", load_plugins(), allow_local_plugins=True)
            return run(pipeline, load_plugins(), self.folder / "runs", fresh=True, **options).path

    def stop(self, moment):
        """Run until a moment, and return the folder of the run and the message."""
        self.wait_for(f"stop {moment}")
        with pytest.raises(Interrupted) as stopped:
            self.run()
        self.wait_for("stop nothing 1")
        return next(self.folder.glob("runs/points/2*")), str(stopped.value)

    def resume(self, path, **options):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TOY_FOLDER", str(self.folder))
            resume(RunFolder.open(path), load_plugins(), allow_local_plugins=True, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folders of undisturbed runs, by pipeline, and what their components have done."""
    found = {}
    for text in (ONE, TWO):
        work = Work(tmp_path_factory.mktemp("whole") / "work", text)
        found[text] = work.run(), work.done()
    return found


def stages(text):
    return ["stages/one", "stages/two"] if text == TWO else [""]


def lines_that_repeat(path):
    """Return what the log has several times, apart from the steps and evaluations of stages that do the same."""
    lines = [line[20:] for line in (path / "log.txt").read_text().splitlines()]
    single = len(list(path.glob("stages/*"))) == 0
    return [line for line, count in Counter(lines).items() if count > 1 and (single or not line.startswith(" "))]


def assert_same(text, path, whole):
    """Check that a run has the metrics, weights, baselines and files of an undisturbed one, and each message once."""
    for stage in stages(text):
        assert_same_outcome(whole / stage, path / stage, stage or "stopped")
        baselines = [json.loads((folder / stage / "baselines.json").read_text()) for folder in (whole, path)]
        assert baselines[0] == baselines[1]
    files = [{str(each.relative_to(folder)) for each in folder.rglob("*")} for folder in (whole, path)]
    assert files[0] == files[1]
    assert lines_that_repeat(path) == []
    assert json.loads((path / "status.json").read_text())["state"] == "finished"


ON_TEST = "evaluate Line on test"
LEFT = {f"evaluate {who} on test": 2 for who in ("Guess", "Other")} | {"fit Guess": 1, "fit Other": 1}
ROUNDS = {f"round {number} of {who} on test": 2 for who in ("Guess", "Other") for number in range(3)}
TESTED = {ON_TEST: 2, "write": 2} | {f"round {number} of Line on test": 2 for number in range(3)}


@pytest.mark.parametrize(
    ("moment", "doing", "again"),
    [
        ("round 1 of Line on test 2", "testing the checkpoint of step 2", TESTED | LEFT | ROUNDS),
        ("write 2", "drawing the figures of again", TESTED | LEFT | ROUNDS),
        ("fit Guess 1", "comparing with the baseline toy.guess", LEFT | ROUNDS),
        (
            "evaluate Other on test 2",
            "comparing with the baseline toy.other",
            {"fit Other": 1, "evaluate Other on test": 1}
            | {f"round {number} of Other on test": 1 for number in range(3)},
        ),
    ],
)
def test_after_a_signal_what_is_left_is_done_without_training(tmp_path, whole, moment, doing, again):
    work = Work(tmp_path / "work", ONE)

    path, told = work.stop(moment)
    status = json.loads((path / "status.json").read_text())
    work.resume(path)

    assert told.startswith(f"stopped at once by Ctrl-C while {doing}; resume it with: dlpipe resume ")
    assert (status["state"], status["reason"]) == ("interrupted", f"stopped at once by Ctrl-C while {doing}")
    assert f"SIGINT while {doing}: no training is lost; resume the run with: dlpipe" in (path / "log.txt").read_text()
    assert work.done() == Counter(again)
    assert_same(ONE, path, whole[ONE][0])


def test_after_a_signal_in_the_second_stage_the_first_is_not_touched(tmp_path, whole):
    work = Work(tmp_path / "work", TWO)

    path, told = work.stop("fit Other 2")
    work.resume(path)

    assert "while comparing with the baseline toy.other of stage two; resume it with" in told
    assert not [moment for moment in work.done() if "Line" in moment or moment in ("step", "write")]
    assert work.done()["evaluate Guess on test"] == 1  # of the evaluator that was left
    assert_same(TWO, path, whole[TWO][0])


@pytest.mark.parametrize(("text", "function"), [(ONE, "write_report"), (TWO, "write_curves"), (ONE, "write_curves")])
def test_curves_and_report_that_a_signal_prevents_are_written_by_the_resumed_run(
    tmp_path, whole, monkeypatch, text, function
):
    work = Work(tmp_path / "work", text)
    with monkeypatch.context() as patch:
        patch.setattr(outcome, function, lambda *given: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            work.run()
    path = next(work.folder.glob("runs/points/2*"))
    work.wait_for("stop nothing 1")

    reason = json.loads((path / "status.json").read_text())["reason"]
    work.resume(path)

    doing = {"write_report": "writing the report", "write_curves": "drawing the curves"}[function]
    assert reason == f"stopped by SIGINT while {doing}" + (" of stage one" if text == TWO else "")
    assert work.done() == Counter()
    assert_same(text, path, whole[text][0])


def test_a_signal_while_the_report_of_a_failed_run_is_written_leaves_it_failed(tmp_path, monkeypatch):
    work = Work(tmp_path / "work", ONE)
    work.wait_for("fail evaluate Line on dev 1")
    monkeypatch.setattr(outcome, "write_report", lambda folder: signal.raise_signal(signal.SIGINT))

    with pytest.raises(KeyboardInterrupt):
        work.run()

    path = next(work.folder.glob("runs/points/2*"))
    assert json.loads((path / "status.json").read_text())["state"] == "failed"
    assert "SIGINT while writing the report: the run has ended before (failed)" in (path / "log.txt").read_text()


@pytest.mark.parametrize("moment", ["round 1 of Line on dev 2", "sample 1"])
def test_in_an_evaluation_during_training_a_signal_is_obeyed_at_the_next_item(tmp_path, whole, moment):
    work = Work(tmp_path / "work", ONE)

    path, told = work.stop(moment)
    work.resume(path)

    assert told.startswith("stopped by SIGINT during the evaluation on dev; resume it with: dlpipe resume ")
    assert work.done()["step"] == 2
    assert_same(ONE, path, whole[ONE][0])


def test_with_accepted_changes_the_test_split_is_evaluated_again(tmp_path):
    work = Work(tmp_path / "work", ONE)
    path, _ = work.stop("fit Other 1")
    toy = path / "toy.py"
    toy.write_text(toy.read_text() + "# changed\n")

    work.resume(path, accept_changes=True)

    assert work.done() == Counter(TESTED | LEFT | ROUNDS)


def test_metrics_that_lack_the_evaluation_are_evaluated_again(tmp_path, whole):
    work = Work(tmp_path / "work", ONE)
    path, _ = work.stop("fit Other 1")
    metrics = path / "metrics.jsonl"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:-1]))

    work.resume(path)

    assert work.done()[ON_TEST] == 2
    assert_same_outcome(whole[ONE][0], path, "stopped")


def test_no_message_of_a_run_is_twice_in_its_log(whole):
    assert [lines_that_repeat(path) for path, _ in whole.values()] == [[], []]


def test_the_data_is_closed_once_when_the_profile_has_been_written(tmp_path, monkeypatch):
    monkeypatch.setattr(profiling, "measured_peak", lambda compute: 1e12)
    work = Work(tmp_path / "work", ONE)
    with (work.folder / "toy.py").open("a") as file:
        file.write('\nPoints.close = lambda self: reach("close data")\n')

    path = work.run(profile=True)

    assert (path / "profile" / "summary.json").is_file()
    assert work.done()["close data"] == 1
