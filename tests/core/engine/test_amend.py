"""A run that continues with other settings: what may change, what is recorded, and that it is exact."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
import tomli_w
from click.testing import CliRunner

from dlpipe.commands.resume import resume as resume_command
from dlpipe.commands.show import show as show_command
from dlpipe.config.check import load_pipeline
from dlpipe.engine import amend
from dlpipe.engine.changes import accepted_changes
from dlpipe.engine.execute import resume, run
from dlpipe.errors import InputError, RunFolderError
from dlpipe.registry.loading import load_plugins
from dlpipe.runs import stage_cache
from dlpipe.runs.checkpoint import Checkpoints, load_state
from dlpipe.runs.folder import RunFolder
from dlpipe.testing import assert_same_outcome, comparable_metrics

pytestmark = pytest.mark.usefixtures("without_report")

PLUGIN = """
import torch
from torch import nn
from dlpipe import CallbackSpec, DataSpec, EvaluatorSpec, ModelSpec, hookimpl
from dlpipe.data import Columns

class Points:
    splits, facts = ("train", "dev", "test"), {}
    def split(self, name):
        points = torch.randn(20, 3, generator=torch.Generator().manual_seed(len(name)))
        return Columns({"points": points, "targets": (points.sum(1) > 0).long()})
    def state(self): return {}
    def restore(self, state): pass
    def fingerprint(self): return ""

class Line(nn.Module):
    def __init__(self, *, after: nn.Module | None = None, size: int = 2):
        super().__init__()
        self.drop, self.score = nn.Dropout(0.2), nn.Linear(3, size)
    def forward(self, points):
        return self.score(self.drop(points))

class Sure:
    primary, goal = "sure", "max"
    def __init__(self, *, scale: float = 1.0, ceiling: float = 9.0):
        self.scale, self.ceiling = scale, ceiling
    def evaluate(self, model, examples):
        sure = torch.cat([outputs.softmax(1).amax(1) for _, outputs, _ in examples.predictions(model)])
        return {"sure": min(float(sure.mean()) * self.scale, self.ceiling), "least": float(sure.min())}
    def write(self, folder):
        (folder / "seen.txt").write_text("looked at")

class Choosy:
    def __init__(self, *, word: str = "a"):
        if word == "b":
            raise ValueError("the word b is not supported")
    @hookimpl
    def dlpipe_run_start(self): pass

@hookimpl
def dlpipe_data(): return [DataSpec("points", ":Points", "points")]
@hookimpl
def dlpipe_models(): return [ModelSpec("line", ":Line", "a line")]
@hookimpl
def dlpipe_evaluators(): return [EvaluatorSpec("sure", ":Sure", "how sure")]
@hookimpl
def dlpipe_callbacks(): return [CallbackSpec("choosy", ":Choosy", "refuses a word")]
"""
PIPELINE = """
name = "points"
seed = 3
plugins = ["./toy.py"]
[data]
use = "toy.points"
[model]
use = "toy.line"
[trainer]
use = "core.supervised"
steps = 6
batch_size = 8
log_every = 2
evaluate_every = 2
keep = 9
optimizer = { use = "adam", lr = 0.125 }
[evaluators.sure]
use = "toy.sure"
[callbacks.choosy]
use = "toy.choosy"
"""
STAGES = "\n".join(
    PIPELINE.replace("[data]", f"[stages.{name}.data]")
    .replace("[model]", f"[stages.{name}.model]" + start)
    .replace("[trainer]", f"[stages.{name}.trainer]")
    .replace("[evaluators", f"[stages.{name}.evaluators")
    .replace("[callbacks", f"[stages.{name}.callbacks")
    .partition('["./toy.py"]')[2]
    for name, start in (("one", ""), ("two", '\nafter = { stage = "one" }'))
)
STAGES = 'name = "staged"\nplugins = ["./toy.py"]\n' + STAGES
COSINE = "trainer.schedule={use='cosine_annealing'}"


@pytest.fixture
def project(project_of, monkeypatch, tmp_path):
    monkeypatch.setenv("DLPIPE_CACHE", str(tmp_path / "cache"))
    folder = project_of(PLUGIN, PIPELINE)
    (folder / "staged.toml").write_text(STAGES)
    return folder


def run_it(*assignments, file="points.toml", **options) -> RunFolder:
    registry = load_plugins()
    pipeline = load_pipeline(file, registry, assignments, allow_local_plugins=True)
    return run(pipeline, registry, Path("runs"), **options)


def resume_it(folder, *assignments, **options):
    resume(folder, load_plugins(), assignments, allow_local_plugins=True, **options)


def copy_of(folder, name="copy") -> RunFolder:
    """Return a copy of a run, which has its links."""
    return RunFolder(Path(shutil.copytree(folder.path, folder.path.parent / name, symlinks=True)))


def cut_after(folder, step):
    """Do what a kill after the checkpoint of a step leaves behind."""
    checkpoints = folder.path / "checkpoints"
    for path in checkpoints.glob("step-*"):
        if int(path.name.partition("-")[2]) > step:
            shutil.rmtree(path)
    for name in ("last", "best"):
        if (checkpoints / name).is_symlink() and not (checkpoints / name).exists():
            (checkpoints / name).unlink()
    folder.set_status("running")


def provenance(folder):
    return json.loads((folder.path / "provenance.json").read_text())


def content(folder):
    """Return the files of a run, without its log."""
    files = [
        path for path in sorted(folder.path.rglob("*")) if path.is_file() and path.name not in ("log.txt", ".lock")
    ]
    return {str(path.relative_to(folder.path)): path.read_bytes() for path in files}


def rates(folder):
    return {each["step"]: each["train/lr"] for each in comparable_metrics(folder.path) if "train/lr" in each}


def test_a_finished_run_that_is_made_longer_ends_as_one_that_always_was(project):
    folder, whole = run_it(), run_it("trainer.steps=10")

    resume_it(folder, "trainer.steps=10")

    assert_same_outcome(whole.path, folder.path, "made longer")
    assert Checkpoints(folder.path / "checkpoints").best().name == Checkpoints(whole.path / "checkpoints").best().name
    assert provenance(folder)["ended"][""]["step"] == 10
    assert folder.status()["state"] == "finished"
    assert json.loads((folder.path / "metrics.jsonl").read_text().splitlines()[-1]).keys() >= {"test/sure/sure"}
    assert sum("test/sure/sure" in line for line in (folder.path / "metrics.jsonl").read_text().splitlines()) == 1


def test_what_changed_after_which_step_is_recorded_and_a_later_resume_continues_with_it(project):
    folder, changes = run_it(), ["trainer.steps=8", "trainer.optimizer.lr=0.5", "trainer.max_grad_norm=inf"]

    resume_it(folder, *changes)

    (entry,) = provenance(folder)["changed"]
    assert (entry["step"], entry["stage"], entry["set"]) == (6, "", changes)
    assert {"key": "trainer.steps", "from": 6, "to": 8} in entry["changes"]
    assert {"key": "trainer.optimizer.lr", "from": 0.125, "to": 0.5} in entry["changes"]
    assert {"key": "trainer.max_grad_norm", "from": None, "to": "inf"} in entry["changes"]
    assert rates(folder) == {2: 0.125, 4: 0.125, 6: 0.125, 8: 0.5}
    resolved = (folder.path / "resolved.toml").read_text()
    assert "steps = 8" in resolved
    assert "lr = 0.5" in resolved
    assert "steps = 6" in (folder.path / "pipeline.toml").read_text()
    assert "changed after step 6: trainer.steps = 8 (it was 6)" in (folder.path / "log.txt").read_text()
    cut_after(folder, 6)
    metrics = comparable_metrics(folder.path)
    resume_it(folder)
    assert comparable_metrics(folder.path) == metrics


@pytest.mark.parametrize("stop", [8, 12])
def test_a_changed_run_that_is_killed_ends_like_one_that_was_not(project, stop):
    folder = run_it(COSINE, "trainer.warmup_steps=2", "trainer.ema_decay=0.5")
    changes = ("trainer.steps=14", "trainer.optimizer.lr=0.25", "trainer.optimizer.weight_decay=0.5")
    killed = copy_of(folder)
    resume_it(folder, *changes)

    resume_it(killed, *changes)
    cut_after(killed, stop)
    resume_it(killed)

    assert_same_outcome(folder.path, killed.path, f"killed after step {stop}")


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.5), (0.5, 0.0)])
def test_an_average_can_begin_or_end_and_training_is_the_same(project, before, after):
    longer = run_it("trainer.steps=10")
    folder = run_it(f"trainer.ema_decay={before}")

    resume_it(folder, "trainer.steps=10", f"trainer.ema_decay={after}")

    expected, found = (
        [record["train/loss"] for record in comparable_metrics(each.path) if "train/loss" in record]
        for each in (longer, folder)
    )
    assert found == expected
    assert len(found) == 5


@pytest.mark.parametrize("names_stage", [True, False])  # earlier versions did not
@pytest.mark.parametrize("fails", ["resolved.toml", "origins.json"])
def test_a_kill_while_the_change_is_recorded_loses_nothing(project, monkeypatch, fails, names_stage):
    folder = run_it()
    killed = copy_of(folder)
    resume_it(folder, "trainer.steps=8", "trainer.optimizer.lr=0.5")
    writers = {"resolved.toml": "write_text", "origins.json": "write_json"}

    def die(path, text):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(amend, writers[fails], die)
        with pytest.raises(KeyboardInterrupt):
            resume_it(killed, "trainer.steps=8", "trainer.optimizer.lr=0.5")
    recorded = provenance(killed)
    if not names_stage:
        del recorded["pending"]["stage"]
    killed.record(killed.path / "provenance.json", lambda _: recorded)
    resume_it(killed)

    assert_same_outcome(folder.path, killed.path, "killed while recording")
    assert "pending" not in provenance(killed)
    for name in ("resolved.toml", "origins.json"):
        assert (killed.path / name).read_bytes() == (folder.path / name).read_bytes()


@pytest.mark.parametrize("file", ["points.toml", "staged.toml"])
def test_a_kill_before_the_change_is_recorded_leaves_the_run_as_it_was(project, monkeypatch, file):
    folder = run_it(file=file)
    name = list(provenance(folder)["stages"])[-1]
    (folder.stage(name) / "predictions.jsonl").write_text("")
    before = content(folder)
    record = RunFolder.record

    def die(self, path, change):
        if path.name == "provenance.json":
            raise KeyboardInterrupt
        record(self, path, change)

    assignment = f"stages.{name}.trainer.steps=8" if name else "trainer.steps=8"
    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "record", die)
        with pytest.raises(KeyboardInterrupt):
            resume_it(folder, assignment)

    assert {path for path, was in before.items() if content(folder).get(path) != was} == {"status.json"}
    resume_it(folder)
    assert folder.status()["state"] == "finished"


def test_a_kill_after_the_change_is_recorded_continues_the_stage(project, monkeypatch):
    folder = run_it(file="staged.toml")

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(stage_cache, "reopen", die)
        with pytest.raises(KeyboardInterrupt):
            resume_it(folder, "stages.two.trainer.steps=8")
    resume_it(folder)

    assert max(rates(RunFolder(folder.stage("two")))) == 8


def test_what_concerns_all_stages_changes_the_last_one_where_all_are_finished(project):
    folder = run_it(file="staged.toml")
    folder.set_status("running")  # killed before it was finished

    resume_it(folder, "threads=1")

    assert provenance(folder)["changed"][0]["stage"] == "two"


@pytest.mark.parametrize("stage", ["../..", "three"])
def test_a_pending_change_of_a_stage_that_is_not_there_is_refused(project, stage):
    folder = run_it()
    pending = {"stage": stage, "resolved": (folder.path / "resolved.toml").read_text(), "origins": {}}
    folder.record(folder.path / "provenance.json", lambda recorded: recorded | {"pending": pending})

    with pytest.raises(RunFolderError, match=rf'pending.stage is "{stage}"; expected one of \[""\]'):
        resume_it(folder)


def test_the_same_command_again_continues_a_changed_run_and_the_first_value_ends_it(project):
    folder = run_it()
    resume_it(folder, "trainer.steps=12")
    undone = copy_of(folder)
    cut_after(folder, 8)
    cut_after(undone, 6)

    resume_it(folder, "trainer.steps=12")
    resume_it(undone, "trainer.steps=6")

    assert len(provenance(folder)["changed"]) == 1
    assert max(rates(folder)) == 12
    assert provenance(undone)["ended"][""] == provenance(undone)["ended"][""] | {"reason": "6 steps done", "step": 6}


def test_the_optimizer_has_the_values_of_the_file_and_the_state_of_the_checkpoint(project):
    folder = run_it()

    resume_it(folder, "trainer.steps=8", "trainer.optimizer.weight_decay=0.5", "trainer.optimizer.betas=[0.5, 0.75]")

    optimizer = load_state(Checkpoints(folder.path / "checkpoints").latest())["trainer"]["optimizer"]
    group = optimizer["param_groups"][0]
    assert (group["lr"], group["weight_decay"], list(group["betas"])) == (0.125, 0.5, [0.5, 0.75])
    assert int(optimizer["state"][0]["step"]) == 8


@pytest.mark.parametrize(
    ("before", "now", "message"),
    [
        ("none", "ddp", r"rank 1 of 2 cannot reach the meeting point 127\.0\.0\.1:1 "),
        ("ddp", "none", r'2 processes were started \(WORLD_SIZE = 2\), but the pipeline has parallel = "none"'),
    ],
)
def test_several_processes_meet_as_the_changed_settings_say(project, monkeypatch, before, now, message):
    folder = run_it(f"parallel={before}")
    monkeypatch.setattr("dlpipe.ranks.ARRIVAL", timedelta(milliseconds=10))
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(InputError, match=message):
        resume_it(folder, f"parallel={now}", "trainer.steps=8")


def test_a_pruned_run_can_continue(project):
    folder = run_it()
    cut_after(folder, 4)
    folder.set_status("pruned", reason="pruned by the search at step 4")

    resume_it(folder, "trainer.steps=8")

    assert folder.status()["state"] == "finished"
    assert max(rates(folder)) == 8


REFUSED = {
    "seed=4": "seed = 4 (it was 3): all random numbers of the run follow from it",
    "name=other": 'name = "other" (it was "points"): the folder of the run is named by it',
    "model.size=3": "model.size = 3 (it was 2): the weights of the checkpoint are those of this model",
    "trainer.batch_size=4": "trainer.batch_size = 4 (it was 8): core.supervised can change optimizer, schedule, warmup",
    "trainer.optimizer.use=sgd": 'trainer.optimizer.use = "sgd" (it was "adam"): the state of the checkpoint is that of',
    "trainer.use=core.no_training": 'trainer.use = "core.no_training" (it was "core.supervised"): the state of the',
}


@pytest.mark.parametrize("change", REFUSED)
def test_what_cannot_change_is_refused_by_name_and_the_run_stays_as_it_was(project, change):
    folder = run_it()
    before = content(folder)

    with pytest.raises(InputError) as caught:
        resume_it(folder, change, "trainer.steps=8")

    assert f"\n  {REFUSED[change]}" in str(caught.value)
    assert "trainer.steps" not in str(caught.value).partition("Start a new")[0]
    assert str(caught.value).endswith(
        "Start a new run with them. Its model can begin with the weights of this one: "
        f'[model] start = {{ run = "runs/points/{folder.path.name}" }}'
    )
    assert content(folder) == before


TRIED = {
    "an optimizer whose state lacks something": ("trainer.optimizer.amsgrad=true", r"lr\w* .*KeyError"),
    "a value that torch refuses": ("trainer.optimizer.betas=[2, 3]", r"Invalid beta parameter"),
    "a warm-up longer than the run": ("trainer.warmup_steps=9", r"warmup_steps = 9: the run has 8 steps"),
    "a value that a callback refuses": ("callbacks.choosy.word=b", r"the word b is not supported"),
}


@pytest.mark.parametrize("what", TRIED)
def test_what_does_not_fit_the_checkpoint_is_found_before_anything_is_recorded(project, what):
    folder = run_it()
    before = content(folder)
    change, message = TRIED[what]

    with pytest.raises(InputError, match=message.removeprefix(r"lr\w* .*")):
        resume_it(folder, change, "trainer.steps=8")

    assert content(folder) == before


def test_settings_that_leave_nothing_to_train_are_refused_with_what_would(project):
    folder = run_it()
    before = content(folder)

    for changes in (("trainer.optimizer.lr=0.5",), ("trainer.steps=4",)):
        with pytest.raises(InputError, match=r"is after step 6, and with these settings it ends there or earlier "):
            resume_it(folder, *changes)
    with pytest.raises(InputError, match=r"has ended with these settings already \(trainer.steps=6\); give others"):
        resume_it(folder, "trainer.steps=6")

    assert content(folder) == before


def test_an_unfinished_run_can_change_too(project):
    folder = run_it()
    cut_after(folder, 4)

    resume_it(folder, "trainer.optimizer.lr=0.5", "trainer.log_every=1", "evaluators.loss.use=core.loss", "threads=1")

    assert rates(folder) == {2: 0.125, 4: 0.125, 5: 0.5, 6: 0.5}
    assert "dev/loss/loss" in comparable_metrics(folder.path)[-2]
    assert provenance(folder)["changed"][0]["step"] == 4


#: A run ends after 6 of its steps, as its score cannot grow.
EARLY = ("trainer.steps=40", "trainer.patience=2", "evaluators.sure.ceiling=0.1")


def test_more_patience_begins_anew_and_more_steps_alone_are_refused(project):
    folder = run_it(*EARLY)
    assert provenance(folder)["ended"][""]["reason"] == "no better dev/sure/sure in 2 evaluations"
    assert provenance(folder)["ended"][""]["step"] == 6

    with pytest.raises(
        InputError, match=r"\(no better dev/sure/sure in 2 evaluations\); to .* --set trainer.patience=N"
    ):
        resume_it(folder, "trainer.steps=50")
    resume_it(folder, "trainer.patience=3")

    ended = provenance(folder)["ended"][""]
    assert (ended["reason"], ended["step"]) == ("no better dev/sure/sure in 3 evaluations", 12)


def test_patience_begins_anew_with_another_least_improvement(project):
    folder = run_it(*EARLY)

    resume_it(folder, "trainer.min_delta=0.01")

    assert provenance(folder)["changed"][0]["restarts"] == ["patience"]
    ended = provenance(folder)["ended"][""]
    assert (ended["reason"], ended["step"]) == ("no better dev/sure/sure by more than 0.01 in 2 evaluations", 10)


def test_patience_begins_anew_with_another_metric(project):
    folder = run_it(*EARLY)

    resume_it(folder, "trainer.monitor=dev/sure/least", "trainer.goal=min")

    assert provenance(folder)["changed"][0]["restarts"] == ["best"]
    assert provenance(folder)["ended"][""]["step"] > 6


@pytest.mark.parametrize("change", ["trainer.monitor=dev/sure/least trainer.goal=min", "evaluators.sure.scale=0.001"])
def test_another_metric_is_not_compared_with_scores_of_the_former_one(project, change):
    folder = run_it()
    best = load_state(Checkpoints(folder.path / "checkpoints").latest())["loop"]["best"]

    resume_it(folder, "trainer.steps=8", *change.split())

    state = load_state(Checkpoints(folder.path / "checkpoints").latest())["loop"]
    assert provenance(folder)["changed"][0]["restarts"] == ["best"]
    assert state["best_step"] == 8
    assert state["best"] < best


def test_the_loss_of_the_trainer_by_which_checkpoints_are_compared_is_another_metric(project):
    folder = run_it("evaluators.sure={use='core.loss'}", "trainer.monitor=dev/sure/loss", "trainer.goal=min")

    resume_it(folder, "trainer.steps=8", "trainer.loss=mse")
    resume_it(folder, "trainer.steps=10", "trainer.max_grad_norm=1.0")

    assert [entry["restarts"] for entry in provenance(folder)["changed"]] == [["best"], []]


def test_a_changed_run_is_not_taken_for_one_that_always_had_its_settings(project):
    folder = run_it()
    resume_it(folder, "trainer.steps=8")
    pipeline = load_pipeline("points.toml", load_plugins(), ["trainer.steps=8"], allow_local_plugins=True)

    # The order of its keys would tell, too.
    (folder.path / "resolved.toml").write_text(tomli_w.dumps(pipeline.plain()))
    folder.set_status("running")

    assert RunFolder.unfinished(Path("runs"), pipeline) is None
    assert len(accepted_changes(folder)) == 1


def test_a_checkpoint_without_the_record_of_its_optimizer_is_not_changed(project, monkeypatch):
    folder = run_it()
    load = amend.load_state

    def older(checkpoint):
        state = load(checkpoint)
        state["trainer"]["optimizer"]["param_groups"][0].pop("built_with")
        return state

    monkeypatch.setattr(amend, "load_state", older)

    with pytest.raises(InputError, match=r"were written by a version of dlpipe that did not record the values of opt"):
        resume_it(folder, "trainer.steps=8")


def test_the_last_stage_continues_and_an_earlier_one_does_not(project):
    folder = run_it(file="staged.toml")
    one = content(RunFolder(folder.stage("one")))

    with pytest.raises(
        InputError, match=r"stages.one.trainer.steps = 8 \(it was 6\): stage one is finished, and a later"
    ):
        resume_it(folder, "stages.one.trainer.steps=8")
    resume_it(folder, "stages.two.trainer.steps=8")

    assert content(RunFolder(folder.stage("one"))) == one
    assert provenance(folder)["changed"][0]["stage"] == "two"
    assert max(rates(RunFolder(folder.stage("two")))) == 8
    assert provenance(folder)["ended"]["two"]["step"] == 8


def test_what_concerns_all_stages_changes_where_the_run_was_interrupted(project):
    folder = run_it(file="staged.toml")
    (folder.stage("two") / stage_cache.STAGE).unlink()
    cut_after(RunFolder(folder.stage("two")), 4)
    folder.set_status("running")

    resume_it(folder, "threads=1")

    assert [(each["stage"], each["step"]) for each in provenance(folder)["changed"]] == [("two", 4)]


def test_a_stage_that_was_taken_from_another_run_leaves_that_run_as_it_is(project, capfd):
    first = run_it(file="staged.toml")
    second = run_it(file="staged.toml")
    before = content(first)

    resume_it(second, "stages.two.trainer.steps=8", "stages.two.trainer.keep=1")
    capfd.readouterr()
    third = run_it("stages.two.trainer.steps=8", "stages.two.trainer.keep=1", file="staged.toml", explain=True)

    assert content(first) == before
    assert max(rates(RunFolder(second.stage("two")))) == 8
    assert "stage one is not run again" in (told := capfd.readouterr().err)
    assert "stage two (2 of 2) is run" in told
    assert third.status()["state"] == "finished"


def command(function, *arguments):
    return CliRunner().invoke(function, [*arguments, "--allow-local-plugins"], obj=load_plugins())


@pytest.mark.writes_report
def test_the_commands_and_the_report_tell_what_changed(project):
    folder = run_it()
    path = str(folder.path)

    finished = command(resume_command, path)
    unused = command(resume_command, path, "--from-start", "--accept-changes")
    changed = command(resume_command, path, "--set", "trainer.steps=8")
    origins = command(show_command, path, "--origins")

    longer = f"{folder.command('resume')} --set trainer.steps=N"
    assert finished.output == f"{path} is finished; to train longer: {longer}\n"
    message = f"--accept-changes has no effect on {path}, which is finished; leave it out"
    assert str(unused.exception) == message
    assert changed.exit_code == 0
    lines = dict(line.split("  # ") for line in origins.output.splitlines())
    told = {line.strip(): origin for line, origin in lines.items()}
    assert told["trainer.steps = 8"] == "resume --set, after step 6"
    assert told["trainer.batch_size = 8"] == "points.toml:12"
    assert told["trainer.warmup_steps = 0"] == "default"
    markdown = (folder.path / "report.md").read_text()
    assert "* after step 6, trainer.steps changed from 6 to 8" in markdown
    page = (folder.path / "report.html").read_text()
    assert "Changed while it ran" in page
    assert "resume --set, after step 6" in page
