"""One trial after the other, in this process: when an earlier run stands for it, and what is told of it."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from dlpipe.config.check import load_pipeline
from dlpipe.config.pipeline import Reference
from dlpipe.registry.loading import load_plugins
from dlpipe.runs.files import read_json, write_json
from dlpipe.runs.folder import RunFolder
from dlpipe.runs.metrics_log import MetricsLog
from dlpipe.sweep import trial as trials
from dlpipe.sweep.trial import Fingerprints, outcome
from dlpipe.sweep.workers import Task

PLUGIN = """
import os
import warnings
from pathlib import Path
import torch
from torch import nn
from dlpipe import DataSpec, EvaluatorSpec, ModelSpec, hookimpl
from dlpipe.data.columns import Columns

class Points:
    facts = {"num_inputs": 3}
    def __init__(self, *, tested: bool = True, file: Path | None = None):
        self.file = file or Path("content.txt")
        self.splits = ("train", "dev", "test") if tested else ("train", "dev")
        if os.path.exists("warn"):
            warnings.warn("the points are odd")
    def split(self, name):
        points = torch.randn(24, 3, generator=torch.Generator().manual_seed(len(name)))
        return Columns({"points": points, "targets": (points.sum(1) > 0).long()})
    def state(self):
        return {}
    def restore(self, state):
        pass
    def fingerprint(self):
        return self.file.read_text()

class Line(nn.Module):
    def __init__(self, num_inputs: int, base: nn.Module | None = None, scale: float = 1.0):
        super().__init__()
        if os.path.exists("trouble"):
            raise RuntimeError("no such luck")
        self.score = nn.Linear(num_inputs, 2)
    def forward(self, points):
        return self.score(points)

class Drawing:
    primary, goal = None, "max"
    def evaluate(self, model, examples):
        return {}
    def write(self, folder):
        pass

@hookimpl
def dlpipe_evaluators():
    return [EvaluatorSpec("drawing", ":Drawing", "draws")]
@hookimpl
def dlpipe_data():
    return [DataSpec("points", ":Points", "points", facts=("num_inputs",))]
@hookimpl
def dlpipe_models():
    return [ModelSpec("line", ":Line", "a line")]
"""
PIPELINE = """
name = "points"
threads = 1
plugins = ["./toy.py"]
[data]
use = "toy.points"
[model]
use = "toy.line"
[trainer]
use = "core.supervised"
steps = 4
evaluate_every = 2
[evaluators.fit]
use = "core.loss"
"""
HEAD, TABLES = PIPELINE.split("[data]")
TWO_STAGES = HEAD + "".join(
    f"[data]{TABLES}".replace("\n[", f"\n[stages.{name}.").replace("[data]", f"[stages.{name}.data]") for name in "ab"
)


def folders():
    """Return the folders of all runs, the oldest first."""
    return sorted(Path("runs/points").glob("2*"), key=lambda path: (path / "status.json").stat().st_mtime_ns)


@pytest.fixture
def trial(tmp_path, project_of):
    """Do a trial in a folder of its own, and return what became of it."""
    project_of(PLUGIN, PIPELINE)
    (tmp_path / "content.txt").write_text("one")

    def trial(*assignments, **options):
        pipeline = load_pipeline("points.toml", load_plugins(), assignments, allow_local_plugins=True)
        return outcome(Task(pipeline, tmp_path / "runs", **options), Fingerprints())

    return trial


def test_an_equal_run_is_taken_over_and_another_seed_is_run(trial):
    first, second, other = trial(), trial(), trial("seed=3")

    assert (first["state"], first["how"]) == ("finished", "run")
    assert second == first | {"how": "reused"}
    assert other["how"] == "run"
    assert other["metrics"] != first["metrics"]


def test_the_scores_on_dev_are_those_of_the_best_checkpoint(trial):
    told = trial("trainer.evaluate_every=1", "trainer.goal=max")  # the loss falls, so that the first one is the best

    records = MetricsLog(Path(told["log"])).records()
    losses = [record["dev/fit/loss"] for record in records if "dev/fit/loss" in record]
    assert told["metrics"]["dev/fit/loss"] == max(losses) != losses[-1]


def test_the_seconds_are_those_of_all_stages(tmp_path, project_of, monkeypatch):
    project_of(PLUGIN, TWO_STAGES)
    (tmp_path / "content.txt").write_text("one")
    monkeypatch.setattr(trials, "load_state", lambda checkpoint: {"loop": {"seconds": 2.0}})

    pipeline = load_pipeline("points.toml", load_plugins(), allow_local_plugins=True)

    assert outcome(Task(pipeline, tmp_path / "runs"), Fingerprints())["seconds"] == 4.0


def test_the_metrics_and_the_primary_one_are_told(trial):
    told = trial()

    assert set(told["metrics"]) == {"dev/fit/loss", "test/fit/loss"}
    assert (told["primary"], told["goals"]) == ("fit/loss", {"dev/fit/loss": "min"})
    assert told["seconds"] > 0


@pytest.mark.parametrize("options", [{}, {"kind": "describe"}])
def test_an_evaluator_may_choose_its_primary_metric_when_it_is_built(trial, options):
    told = trial('evaluators.fit={ use = "core.metrics", metrics = ["log_loss"] }', **options)

    assert (told["primary"], told["goals"]) == ("fit/log_loss", {"dev/fit/log_loss": "min"})


def test_a_description_needs_no_trained_model(trial, tmp_path):
    (tmp_path / "points.toml").write_text(TWO_STAGES)

    told = trial('stages.b.model.base={ stage = "a" }', kind="describe")

    assert told["goals"] == {"dev/fit/loss": "min"}
    assert not folders()


def test_an_evaluator_that_only_draws_or_judges_on_test_alone_does_not_decide(trial, tmp_path):
    drawing = '[evaluators.art]\nuse = "toy.drawing"\n'
    on_test = '[evaluators.first]\nuse = "core.loss"\nsplits = ["test"]\n'
    (tmp_path / "points.toml").write_text(PIPELINE.replace("[evaluators.fit]", f"{drawing}{on_test}[evaluators.fit]"))

    assert trial()["primary"] == "fit/loss"


@pytest.mark.parametrize(
    ("file", "text", "why"),
    [
        ("content.txt", "two", "run again: the content of [data] has changed"),
        ("toy.py", PLUGIN + "# another\n", "run again: the code of plugin toy has changed"),
    ],
)
def test_a_run_with_other_data_or_code_is_not_taken_over(trial, tmp_path, file, text, why):
    trial()
    (tmp_path / file).write_text(text)

    assert [trial()["how"], trial()["how"]] == [why, "reused"]


def test_a_fingerprint_is_computed_once_unless_a_model_is_a_part_of_the_data(trial, monkeypatch):
    pipeline = load_pipeline("points.toml", load_plugins(), allow_local_plugins=True)
    online, offline = (replace(pipeline, settings=replace(pipeline.settings, offline=each)) for each in (False, True))
    stage = pipeline.stages[""]
    with_model = replace(stage, data=replace(stage.data, references={"base": Reference("pretrain")}))
    numbers = map(str, itertools.count())
    monkeypatch.setattr(trials, "build_data", lambda *_: SimpleNamespace(fingerprint=lambda: next(numbers)))
    fingerprints = Fingerprints()

    found = [fingerprints.of(each, stage, None) for each in (online, offline, online, offline)]

    assert found == ["0", "1", "0", "1"]
    assert [fingerprints.of(online, with_model, None) for _ in range(2)] == ["2", "3"]


def test_a_finished_run_is_taken_over_wherever_its_data_lay(trial, tmp_path):
    (tmp_path / "here.txt").write_text("one")
    first = trial("data.file=here.txt")
    (tmp_path / "there.txt").write_text("one")

    moved = trial("data.file=there.txt", "offline=true")
    RunFolder(Path(first["run"])).set_status("preempted")
    unfinished = trial("data.file=there.txt")
    (tmp_path / "there.txt").write_text("two")
    other = trial("data.file=there.txt", "offline=true")

    assert moved == first | {"how": "reused"}
    assert (unfinished["how"], other["how"]) == ("run", "run")
    assert trial("data.file=here.txt")["run"] == unfinished["run"]


def test_the_run_of_several_processes_is_not_taken_over_by_one(trial):
    first = Path(trial()["run"])
    write_json(first / "provenance.json", read_json(first / "provenance.json") | {"ranks": 2})

    assert trial("offline=true")["how"] == "run"


@pytest.mark.parametrize("options", [{"fresh": True}, {"fast": True}])
def test_nothing_is_taken_over_when_fresh_or_fast(trial, options):
    trial()

    assert trial(**options)["how"] == "run"


def test_what_a_fast_run_leaves_is_not_taken_over(trial):
    trial(fast=True)

    assert trial()["how"] == "run"


def test_an_unfinished_run_is_resumed_and_a_finished_one_wins(trial):
    trial()
    RunFolder(folders()[0]).set_status("preempted")

    resumed = trial()
    newest = Path(trial(fresh=True)["run"])
    newest = newest.rename(newest.with_name("2999-01-01_000000-aaaa"))
    RunFolder(newest).set_status("failed")
    again = trial()

    assert (resumed["how"], again["how"]) == ("resumed", "reused")
    assert again["run"] == resumed["run"]


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda run: (run / "link").symlink_to("/"), "run again: .*/link"),
        (lambda run: (run / "status.json").write_text("{"), "run again: .*/status.json"),
        (lambda run: (run / "provenance.json").write_text("{}"), "run again: .* does not say what the run began with"),
    ],
)
def test_a_run_that_cannot_be_used_is_left_out_and_named(trial, damage, why):
    damaged = trial()
    damage(Path(damaged["run"]))

    again, reused = trial(), trial()

    assert re.match(why, again["how"])
    assert (reused["how"], reused["run"]) == ("reused", again["run"])


def test_other_versions_are_named(trial):
    version = metadata.version("torch")
    trial()
    path = folders()[0] / "provenance.json"
    path.write_text(path.read_text().replace(f'of torch": "{version}', 'of torch": "0.1'))

    assert trial()["how"] == f'run again: the version of torch was "0.1" and is "{version}" now'


def test_a_trial_that_starts_from_a_run_is_run_again_if_that_run_has_another_model(trial):
    trial()
    start = "model.base={ run = 'runs/points/latest' }"
    earlier = folders()[0]

    hows = [trial(start.replace("latest", earlier.name))["how"] for _ in range(2)]
    resolved = earlier / "resolved.toml"
    resolved.write_text(resolved.read_text().replace("scale = 1.0", "scale = 2.0"))
    hows.append(trial(start.replace("latest", earlier.name))["how"])

    assert hows == ["run", "reused", "run again: the trained model of model.base has changed"]


def test_a_trial_is_not_taken_over_from_a_run_that_was_resumed_with_changes(trial):
    trial()
    path = folders()[0] / "provenance.json"
    write_json(path, read_json(path) | {"accepted_changes": [{"time": "now", "changes": ["seed"]}]})

    assert trial()["how"] == "run again: the earlier run was resumed with other settings, code or data"


def test_a_failure_is_told_with_its_reason_and_run(trial, tmp_path):
    (tmp_path / "trouble").touch()

    told = trial()

    assert told["state"] == "failed"
    assert "no such luck" in told["reason"]
    assert trial(kind="build")["state"] == "failed"


def test_what_has_failed_in_another_sweep_since_this_one_began_is_not_repeated(trial, tmp_path):
    (tmp_path / "trouble").touch()
    failed = trial()
    (tmp_path / "trouble").unlink()

    other = trial(since=0.0)

    assert other["reason"].startswith("in another sweep: ")
    assert "no such luck" in other["reason"]
    assert other == failed | {"reason": other["reason"]}
    assert trial()["how"] == "resumed"


def test_a_dry_trial_tells_what_was_built(trial, tmp_path):
    told = trial(kind="build")

    assert told["state"] == "built"
    assert told["built"]["pipeline"]["parameters"] == 8
    assert not (tmp_path / "runs").exists()


def test_the_warnings_of_a_run_are_told_also_if_it_is_reused_or_fails(trial, tmp_path):
    (tmp_path / "warn").touch()
    first, second = trial(), trial()
    (tmp_path / "trouble").touch()

    assert first["warnings"] == second["warnings"] == ["the points are odd"]
    assert trial("seed=3")["warnings"] == ["the points are odd"]


def test_a_run_that_another_sweep_works_on_is_waited_for_and_reused(trial, tmp_path, monkeypatch):
    other_sweep = """
import sys
from pathlib import Path
from dlpipe.config.check import load_pipeline
from dlpipe.registry.loading import load_plugins
from dlpipe.sweep import trial
registry = load_plugins()
task = trial.Task(load_pipeline("points.toml", registry, allow_local_plugins=True), Path("runs").absolute())
with trial._claim(task):
    print("at work", flush=True)
    sys.stdin.read()
    trial._finished(task, registry, None, "run")
"""
    with subprocess.Popen(
        [sys.executable, "-c", other_sweep], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "at work\n"
        assert trial("seed=3")["how"] == "run"  # another pipeline does not wait
        waited = []
        monkeypatch.setattr(trials.time, "sleep", lambda seconds: waited.append(seconds) or other.communicate(""))

        assert trial() == {"state": "claimed"}
        assert trial(wait=True)["how"] == "reused"

    assert waited == [trials.WAIT]
    assert len(folders()) == 2


def test_a_trial_that_waits_can_be_stopped(trial, monkeypatch):
    monkeypatch.setattr(trials, "_locked", lambda file, byte: os.kill(os.getpid(), signal.SIGTERM))

    assert trial(wait=True)["state"] == "stopped"


def test_a_place_that_cannot_be_written_is_a_failure_and_no_hang(trial, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "points").touch()

    told = trial()

    assert (told["state"], told["run"]) == ("failed", None)
    assert told["reason"].endswith("runs/points: File exists")


def test_the_data_of_another_seed_has_a_fingerprint_of_its_own(trial, monkeypatch):
    pipeline = load_pipeline("points.toml", load_plugins(), allow_local_plugins=True)
    other = replace(pipeline, settings=replace(pipeline.settings, seed=pipeline.settings.seed + 1))
    numbers = map(str, itertools.count())
    monkeypatch.setattr(trials, "build_data", lambda *_: SimpleNamespace(fingerprint=lambda: next(numbers)))
    fingerprints = Fingerprints()

    assert [fingerprints.of(each, each.stages[""], None) for each in (pipeline, other, pipeline)] == ["0", "1", "0"]
