"""What decides a result has changed: a stage is run again, a run is not resumed unless the user accepts it."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from dlpipe.commands.resume import resume as resume_command
from dlpipe.commands.run import run as run_command
from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import resume, resume_as, run
from dlpipe.engine.inference import open_run
from dlpipe.errors import InputError, RunFolderError
from dlpipe.registry.loading import load_plugins
from dlpipe.runs import code_digests
from dlpipe.runs.folder import RunFolder
from dlpipe.testing import comparable_metrics

pytestmark = pytest.mark.usefixtures("without_report")

PLUGIN = """
from pathlib import Path
import helper
import torch
from torch import nn
from dlpipe import CallbackSpec, DataSpec, ModelSpec, hookimpl
from dlpipe.data.columns import Columns

class Points:
    splits = ("train",)
    facts = {}
    def __init__(self, *, path: Path | None = None):
        self.path = path
    def split(self, name):
        points = torch.randn(24, 3, generator=torch.Generator().manual_seed(5))
        return Columns({"points": points, "targets": (points.sum(1) > 0).long()})
    def state(self):
        return {}
    def restore(self, state):
        pass
    def fingerprint(self):
        return (self.path / "points.txt").read_text() if self.path else "same"

class Line(nn.Module):
    def __init__(self, *, base: nn.Module | None = None, weights: Path | None = None):
        super().__init__()
        self.score = nn.Linear(3, 2)
    def forward(self, points):
        return self.score(points)

class Stop:
    def __init__(self, *, file: Path = Path("stop.txt")):
        self.file = file
    @hookimpl
    def dlpipe_step_logged(self, run, step):
        if step == 4 and self.file.exists():
            run.request_stop("asked")

@hookimpl
def dlpipe_data():
    return [DataSpec("points", ":Points", "points")]
@hookimpl
def dlpipe_models():
    return [ModelSpec("line", ":Line", "a line")]
@hookimpl
def dlpipe_callbacks():
    return [CallbackSpec("stop", ":Stop", "stops")]
"""
PIPELINE = """
name = "points"
plugins = ["./toy.py"]
[data]
use = "toy.points"
path = "data"
[model]
use = "toy.line"
weights = "weights.bin"
[trainer]
use = "core.supervised"
steps = 6
log_every = 2
checkpoint_every = 2
optimizer = { use = "sgd", lr = 0.5 }
"""
STAGES = PIPELINE.replace('"points"\nplugins', '"staged"\nplugins')
for table in ("data", "model", "trainer"):
    STAGES = STAGES.replace(f"[{table}]", f"[stages.only.{table}]")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A pipeline file, its local plugin with a module that it imports, a file of weights, and data."""
    for name, text in {
        "toy.py": PLUGIN,
        "helper.py": "import deeper\n",
        "deeper.py": "A = 1\n",
        "weights.bin": "one",
        "data/points.txt": "1",
        "points.toml": PIPELINE,
        "staged.toml": STAGES,
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("DLPIPE_CACHE", str(tmp_path / "cache"))
    new_process()
    yield tmp_path
    new_process()


def new_process():
    """Forget what a process remembers of code."""
    for name in ("helper", "deeper"):
        sys.modules.pop(name, None)
    code_digests.package_digest.cache_clear()
    code_digests._package_imports.cache_clear()
    code_digests._places.cache_clear()


def load(*assignments, file="points.toml"):
    registry = load_plugins()
    return load_pipeline(file, registry, assignments, allow_local_plugins=True), registry


def run_it(*assignments, file="points.toml", **options) -> RunFolder:
    new_process()
    return run(*load(*assignments, file=file), Path("runs"), **options)


def stopped_run(*assignments) -> RunFolder:
    """Return a run that was killed after it had saved the checkpoint of step 4."""
    folder = run_it(*assignments)
    (folder.path / "checkpoints" / "last").unlink()
    shutil.rmtree(folder.path / "checkpoints" / "step-00000006")
    folder.set_status("running")
    new_process()
    return RunFolder.open(folder.path)


def resume_it(folder, **options):
    resume(folder, load_plugins(), allow_local_plugins=True, **options)


def edit(path, old, new):
    text = Path(path).read_text()
    assert old in text
    Path(path).write_text(text.replace(old, new))


EDITS = {
    "a module of a module of a local plugin": ("deeper.py", "A = 1", "A = 2", "the code of deeper has changed"),
    "a file of weights": ("weights.bin", "one", "two", "the content of {}model.weights has changed"),
    "data": ("data/points.txt", "1", "2", "the content of [{}data] has changed"),
}


@pytest.mark.parametrize("what", [*EDITS, "a local plugin"])
def test_a_stage_is_run_again_if_anything_that_decides_its_result_has_changed(project, capfd, what):
    edits = EDITS | {"a local plugin": ("toy.py", "24, 3", "25, 3", "the code of plugin toy has changed")}
    file, old, new, message = edits[what]
    run_it(file="staged.toml")
    again = run_it(file="staged.toml", explain=True)
    assert "stage only is not run again" in capfd.readouterr().err
    edit(file, old, new)

    run_it(file="staged.toml", explain=True)

    assert f"stage only (1 of 1) is run: {message.format('stages.only.')}\n" in capfd.readouterr().err
    assert again.status()["state"] == "finished"


def test_a_stage_is_not_run_again_because_of_other_places_or_what_a_callback_wrote(project, capfd):
    stop = ("stages.only.callbacks.stop.use=toy.stop",)
    run_it(*stop, file="staged.toml")
    (project / "stop.txt").write_text("written by the callback")
    shutil.copytree("data", "moved")
    shutil.copy("weights.bin", "other.bin")
    capfd.readouterr()

    run_it(
        *stop, "stages.only.data.path=moved", "stages.only.model.weights=other.bin", "offline=true", file="staged.toml"
    )

    assert "stage only is not run again" in capfd.readouterr().err


def test_an_installed_plugin_in_editable_form_and_what_it_imports_count(project, monkeypatch):
    package = project / "dlpipe_mine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "model.py").write_text("import deeper")

    found = code_digests.code_identity([("mine", "dlpipe_mine")], [])
    edit(package / "model.py", "import deeper", "import deeper, torch, json")
    new_process()
    again = code_digests.code_identity([("mine", "dlpipe_mine")], [])

    assert {"the code of dlpipe", "the code of plugin mine", "the code of deeper"} == set(found)
    assert found["the code of plugin mine"] != again["the code of plugin mine"]
    assert set(again) - set(found) == {"the version of torch"}


def test_a_run_with_a_setting_that_is_not_finite_is_resumed(project):
    folder = stopped_run("trainer.max_grad_norm=inf")

    resume_it(folder)

    assert folder.status()["state"] == "finished"
    assert '"trainer.max_grad_norm": "inf"' in (folder.path / "provenance.json").read_text()


@pytest.mark.parametrize("what", EDITS)
def test_a_run_is_not_resumed_if_anything_has_changed(project, what):
    folder = stopped_run()
    metrics = (folder.path / "metrics.jsonl").read_bytes()
    file, old, new, message = EDITS[what]
    edit(file, old, new)

    with pytest.raises(InputError) as caught:
        resume_it(folder)

    assert message.format("") in str(caught.value)
    assert "cannot be resumed, since this is not what it began with:\n" in str(caught.value)
    assert str(caught.value).endswith("Restore what has changed, start a new run, or pass --accept-changes")
    assert (folder.path / "metrics.jsonl").read_bytes() == metrics
    assert folder.status()["state"] == "running"


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("resolved.toml", "lr = 0.5", "lr = 0.25", "trainer.optimizer.lr was 0.5 and is 0.25 now"),
        ("resolved.toml", 'name = "points"', 'name = "points"\nthreads = 3', "threads was 1 and is 3 now"),
        ("toy.py", "24, 3", "25, 3", "the code of plugin toy has changed"),
        (
            "pipeline.toml",
            "lr = 0.5",
            "lr = 0.25",
            "pipeline.toml was edited, which has no effect: a run is resumed from its resolved.toml",
        ),
    ],
)
def test_what_was_edited_in_a_run_folder_is_named(project, file, old, new, message):
    folder = stopped_run()
    edit(folder.path / file, old, new)

    with pytest.raises(InputError) as caught:
        resume_it(folder)

    assert str(caught.value).splitlines()[1:-1] == [f"  {message}"]


def test_changes_that_are_accepted_are_recorded_and_are_what_the_run_began_with_from_then_on(project, capfd):
    folder = stopped_run()
    edit(folder.path / "resolved.toml", "lr = 0.5", "lr = 0.25")
    edit("data/points.txt", "1", "2")

    resume_it(folder, accept_changes=True)

    changes = ["trainer.optimizer.lr was 0.5 and is 0.25 now", "the content of [data] has changed"]
    recorded = json.loads((folder.path / "provenance.json").read_text())["accepted_changes"]
    assert [entry["changes"] for entry in recorded] == [changes]
    assert set(recorded[0]) == {"time", "changes"}
    for place in (capfd.readouterr().err, (folder.path / "log.txt").read_text()):
        assert all(f"accepted: {change}" in place for change in changes)
    resume_it(folder)


def test_resume_auto_compares_the_local_plugin_of_the_pipeline_and_takes_it_over_if_accepted(project):
    folder = stopped_run()
    edit("toy.py", "24, 3", "25, 3")
    pipeline, _ = load()

    with pytest.raises(InputError, match="the code of plugin toy has changed"):
        resume_as(pipeline, folder)
    resume_as(pipeline, folder, accept_changes=True)

    assert (folder.path / "toy.py").read_text() == Path("toy.py").read_text()


def test_a_stage_of_a_run_that_was_resumed_with_changes_is_not_taken_for_a_result(project, capfd):
    folder = run_it(file="staged.toml")
    (folder.path / "stages" / "only" / "stage.json").unlink()
    edit("weights.bin", "one", "two")
    resume_it(folder, accept_changes=True)
    capfd.readouterr()

    run_it(file="staged.toml", explain=True)

    assert "stage only (1 of 1) is run: accepted_changes was [" in capfd.readouterr().err


def test_the_run_that_latest_meant_is_recorded(project):
    first = run_it()
    second = run_it("model.base={ run = 'runs/points/latest' }")

    assert f'run = "{first.path.resolve()}"' in (second.path / "resolved.toml").read_text()


@pytest.mark.parametrize("how", ["gone", "folder gone", "damaged"])
def test_a_run_whose_checkpoints_are_all_lost_does_not_start_again_unless_told(project, how):
    folder = stopped_run()
    checkpoints = folder.path / "checkpoints"
    metrics = (folder.path / "metrics.jsonl").read_bytes()
    if how == "folder gone":
        shutil.rmtree(checkpoints)
    for step in checkpoints.glob("step-*"):
        if how == "gone":
            shutil.rmtree(step)
        else:
            (step / "state.pt").write_bytes(b"")
    found = "damaged: step 4" if how == "damaged" else "all are gone"

    with pytest.raises(RunFolderError, match=rf"has saved checkpoints, but none can be used \({found}\)") as caught:
        resume_it(folder)

    assert str(caught.value).endswith(
        f"dlpipe resume runs/points/{folder.path.name} --allow-local-plugins --from-start"
    )
    assert (folder.path / "metrics.jsonl").read_bytes() == metrics

    resume_it(folder, from_start=True)

    steps = [json.loads(line)["step"] for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [2, 4, 6]
    assert folder.status()["state"] == "finished"


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again(project):
    folder = stopped_run("trainer.checkpoint_every=6")
    shutil.rmtree(folder.path / "checkpoints", ignore_errors=True)
    path = folder.path / "provenance.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "first_checkpoint"}))

    resume_it(folder)

    assert folder.status()["state"] == "finished"


@pytest.mark.parametrize(
    ("damaged", "message", "left"),
    [
        (lambda text: text[:-300], "it has .* bytes, but had .* when the checkpoint of step 4 was saved", [6]),
        (lambda text: b"", "it has 0 bytes, but had", [6]),
        (lambda text: text.replace(b"{", b"{ "), "no line ends at byte .*, where one ended when the", [2, 6]),
    ],
)
def test_metrics_that_lost_lines_are_not_continued_silently_and_never_glued(project, damaged, message, left):
    folder = stopped_run()
    path = folder.path / "metrics.jsonl"
    path.write_bytes(damaged(path.read_bytes()))
    before = path.read_bytes()

    with pytest.raises(RunFolderError, match=rf"metrics.jsonl: {message}.*without the missing lines: --accept-changes"):
        resume_it(folder)
    assert path.read_bytes() == before
    resume_it(folder, accept_changes=True)

    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == left
    (accepted,) = json.loads((folder.path / "provenance.json").read_text())["accepted_changes"]
    assert re.search(message, accepted["changes"][0])


def test_a_run_without_the_record_of_what_it_began_with_is_not_resumed(project):
    folder = stopped_run()
    edit(folder.path / "provenance.json", '"identity"', '"other"')

    with pytest.raises(RunFolderError, match=r"provenance.json does not say what the run began with; start a new run"):
        resume_it(folder)


def command(function, *arguments):
    """Run a command in this process, and return the error that it ended with."""
    return CliRunner().invoke(function, [*arguments, "--allow-local-plugins"], obj=load_plugins()).exception


def test_the_commands_have_the_options(project):
    folder = stopped_run()
    edit("toy.py", "24, 3", "25, 3")
    auto = ("points.toml", "--resume", "auto")

    refused = command(run_command, *auto)
    alone = command(run_command, "points.toml", "--accept-changes")
    accepted = command(run_command, *auto, "--accept-changes")
    edit(folder.path / "resolved.toml", "lr = 0.5", "lr = 0.25")
    folder.set_status("failed")
    again = command(resume_command, str(folder.path))
    shutil.rmtree(folder.path / "checkpoints")
    lost = command(resume_command, str(folder.path), "--accept-changes")
    started = command(resume_command, str(folder.path), "--from-start")

    assert "the code of plugin toy has changed" in str(refused)
    assert str(alone) == "--accept-changes has no effect without --resume auto; leave it out"
    assert "lr was 0.5 and is 0.25 now" in str(again)
    assert "--from-start" in str(lost)
    assert (accepted, started) == (None, None)
    assert folder.status()["state"] == "finished"


def test_a_run_that_is_resumed_explains_why_a_stage_is_run(project):
    folder = run_it(file="staged.toml")
    (folder.path / "stages" / "only" / "stage.json").unlink()
    folder.set_status("interrupted")

    arguments = ["staged.toml", "--resume", "auto", "--explain", "--allow-local-plugins"]
    resumed = CliRunner().invoke(run_command, arguments, obj=load_plugins())

    assert "stage only (1 of 1) is run: it is not finished" in resumed.output


def test_a_run_from_before_a_renaming_can_be_used_and_resumed(project, capfd):
    whole, stopped = run_it(), stopped_run()
    for folder in (whole, stopped):
        copy = folder.path / "toy.py"
        edit(copy, "weights: Path", "file: Path")
        edit(
            copy,
            '"line", ":Line", "a line"',
            '"curve", ":Line", "a line", formerly=("line",), renamed={"weights": "file"}',
        )
    new_process()
    capfd.readouterr()

    with pytest.warns(UserWarning, match="was renamed to") as warned:
        open_run(whole.path, allow_local_plugins=True)
    assert [re.sub(r"^\S+ ", "", str(each.message)) for each in warned] == [
        '[model] use = "toy.line" was renamed to "toy.curve"; use the new name',
        "[model] weights was renamed to file; use the new name",
    ]
    with pytest.raises(InputError, match=r"began with:\n  the code of plugin toy has changed\nRestore"):
        resume_it(stopped)
    resume_it(stopped, accept_changes=True)
    assert comparable_metrics(stopped.path) == comparable_metrics(whole.path)
    assert "weights was renamed to file" in (stopped.path / "log.txt").read_text()


def as_of_an_earlier_version(folder, *, in_resolved):
    """Let a run be one of a version that did not have min_delta."""
    path = folder.path / "provenance.json"
    recorded = json.loads(path.read_text())
    name = next(name for name in recorded["identity"] if name.endswith("trainer.min_delta"))
    del recorded["identity"][name]
    path.write_text(json.dumps(recorded))
    if not in_resolved:
        edit(folder.path / "resolved.toml", "min_delta = 0.0\n", "")
    return name


@pytest.mark.parametrize("file", ["points.toml", "staged.toml", "quoted.toml"])
def test_a_key_that_is_new_and_has_its_default_is_no_change(project, file):
    (project / "quoted.toml").write_text(STAGES.replace("stages.only", 'stages."v1.0"'))
    kept, edited = run_it(file=file), run_it(file=file, fresh=True)
    for folder in (kept, edited):
        for done in folder.path.rglob("stage.json"):
            done.unlink()
        folder.set_status("running")
    as_of_an_earlier_version(kept, in_resolved=False)
    name = as_of_an_earlier_version(edited, in_resolved=True)

    resume_it(kept)
    with pytest.raises(InputError, match=rf"began with:\n  {re.escape(name)} was not set and is 0.0 now\nRestore"):
        resume_it(edited)

    assert kept.status()["state"] == "finished"
    assert "accepted_changes" not in json.loads((kept.path / "provenance.json").read_text())
