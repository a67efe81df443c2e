"""A run in Python: its results are those of its folder, and its model answers as the command does."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from PIL import Image

import dlpipe
from dlpipe.data import FailedItem
from dlpipe.errors import InputError, RunFolderError
from dlpipe.runs.folder import RunFolder

from .conftest import TABLES


def lines_of(run):
    return [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "white.png"
    Image.new("L", (8, 8), 255).save(path)
    return path


def test_metrics_scores_and_best_are_those_of_the_folder(small_run):
    lines = lines_of(small_run)
    tested = next(line for line in lines if "test/digits/accuracy" in line)

    assert len(small_run.metrics) == len(lines)
    assert small_run.metrics["step"] == [line["step"] for line in lines]
    assert small_run.scores["digits/accuracy"] == tested["test/digits/accuracy"]
    assert small_run.best["step"] == tested["step"]
    assert "dev/digits/accuracy" in small_run.best
    assert small_run.status == "finished"
    assert small_run.name == "small"
    assert small_run.config["trainer"]["epochs"] == 2
    assert small_run.provenance["seed"] == 1
    assert "2 epochs done" in small_run.log
    assert "digits/confusion.png" in repr(small_run.figures)
    assert len(small_run.samples) == 0
    assert small_run.stages == ("",)


def test_the_model_has_the_best_weights_and_is_in_evaluation_mode(small_run):
    from_folder = dlpipe.Run(small_run.path)
    last = dlpipe.Run(small_run.path, checkpoint="last")

    assert not from_folder.model.training
    assert from_folder.model(torch.rand(5, 1, 8, 8)).shape == (5, 10)
    assert from_folder.data.facts["num_classes"] == 10
    assert last._trained().checkpoint.name == f"step-{max(small_run.metrics['step']):08}"


def test_one_item_has_one_answer_and_several_have_a_list(small_run, picture):
    answer = small_run.predict(picture)

    assert small_run.predict([str(picture), picture]) == [answer, answer]
    assert small_run.predict([picture]) == [answer]
    assert answer["label"] in "0123456789"


def test_an_item_that_cannot_be_used_says_why_beside_the_other_answers(small_run, picture):
    with pytest.warns(UserWarning, match=r"1 of 2 items could not be used; .*item 2: nothing.png: no such file"):
        good, bad = small_run.predict([picture, "nothing.png"], top=2)

    assert good["top"][0] == {"label": good["label"], "probability": good["probability"]}
    assert bad.keys() == {"item", "error"}


def test_a_path_of_a_folder_stands_for_what_is_in_it(small_run, picture, tmp_path):
    (tmp_path / "many").mkdir()
    for name in ("b.png", "a.png"):
        (tmp_path / "many" / name).write_bytes(picture.read_bytes())

    answers = small_run.predict(tmp_path / "many")

    assert [answer["item"] for answer in answers] == [str(tmp_path / "many" / name) for name in ("a.png", "b.png")]


def test_a_run_is_exported_as_a_folder_that_is_used_like_it(small_run, picture, tmp_path):
    exported = dlpipe.Run(small_run.export(tmp_path / "out", format="dlpipe"))

    assert exported.predict(picture) == small_run.predict(picture)
    with pytest.raises(InputError, match="out is an export of the run .*; use the run itself"):
        exported.resume()


def test_an_answer_is_that_of_the_command(small_run, picture):
    command = [sys.executable, "-m", "dlpipe", "predict", str(small_run.path), str(picture), "--json"]

    answer = subprocess.run(command, capture_output=True, text=True, check=True)

    assert json.loads(answer.stdout) == small_run.predict(str(picture))


def test_evaluate_gives_the_scores_again_and_leaves_the_process_as_it_was(small_run):
    torch.set_num_threads(3)
    state = torch.manual_seed(4711).get_state()

    assert small_run.evaluate("test") == pytest.approx(small_run.scores, abs=1e-12)

    assert torch.get_num_threads() == 3
    assert torch.equal(torch.get_rng_state(), state)
    assert small_run.evaluate("dev", {"data.limit": 100}).keys() == small_run.scores.keys()


def test_mistakes_have_the_texts_of_the_command_line(small_run, picture, tmp_path):
    with pytest.raises(InputError, match="the data has no split 'tests'; it has train, dev, test"):
        small_run.evaluate("tests")
    with pytest.raises(InputError, match=r"override: \[data\] limits: unknown key"):
        small_run.evaluate("test", "data.limits=3")
    with pytest.raises(InputError, match="item 2 is a Tensor; expected a text or the path of a file"):
        small_run.predict([picture, torch.zeros(1)])
    with pytest.raises(InputError, match="nothing.png"):
        small_run.predict("nothing.png")
    with pytest.raises(InputError, match="episodes: .* has no such option for items; leave it out"):
        small_run.predict(picture, episodes=3)
    with pytest.raises(InputError, match="has no stage 'tune'; it has only one, without a name"):
        dlpipe.Run(small_run.path, stage="tune")
    with pytest.raises(RunFolderError, match="there is no such run folder"):
        dlpipe.Run(tmp_path / "nowhere")


def test_export_and_report_return_what_they_wrote(small_run, tmp_path):
    folder = small_run.export(tmp_path / "exported", format="safetensors")

    assert folder == tmp_path / "exported"
    assert json.loads((folder / "export.json").read_text())["format"] == "safetensors"
    assert small_run.report().path == small_run.path / "report.html"


def test_a_run_that_has_ended_is_not_resumed(small_run):
    before = lines_of(small_run)

    with pytest.warns(UserWarning, match=r'is finished; to train longer: resume\("trainer\.\w+=N"\)'):
        assert small_run.resume() is small_run

    assert lines_of(small_run) == before


def test_a_run_that_has_ended_continues_with_other_settings(small_run, tmp_path):
    copy = dlpipe.Run(shutil.copytree(small_run.path, tmp_path / "copy", symlinks=True))

    continued = copy.resume("trainer.epochs=3", quiet=True)

    assert continued is copy
    assert [max(line["epoch"] for line in lines_of(run) if "epoch" in line) for run in (small_run, copy)] == [2, 3]


def test_settings_that_are_no_text_are_refused_before_they_are_recorded(small_run):
    before = (small_run.path / "provenance.json").read_text()

    with pytest.raises(InputError, match=r"^resume: \{'trainer.epochs': 3\}: expected a text such as \"trainer.epoch"):
        small_run.resume({"trainer.epochs": 3})

    assert (small_run.path / "provenance.json").read_text() == before


def test_looking_at_a_run_does_not_release_its_lock(small_run):
    folder = RunFolder(small_run.path)
    command = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)"

    with folder.lock():
        assert folder.is_locked()
        with pytest.raises(RunFolderError, match="is in use by this process"), folder.lock():
            pass
        other = subprocess.run(
            [sys.executable, "-c", command, small_run.path / ".lock"], stderr=subprocess.PIPE, check=False
        )

    assert b"BlockingIOError" in other.stderr
    assert not folder.is_locked()


def test_a_notebook_shows_the_state_and_the_score(small_run):
    shown = small_run._repr_html_()

    assert "<td>finished</td>" in shown
    assert "<td>test/digits/accuracy</td>" in shown


def test_an_application_gets_values_of_python(small_run, tmp_path, monkeypatch):
    given = {}

    def apply(trained, target, values):
        given.update(values)
        return iter([{"done": True}])

    monkeypatch.setattr("dlpipe.api.predictions.application_of", lambda stage: "dlpipe_rl.play:play")
    monkeypatch.setattr("dlpipe.engine.inference.apply", apply)

    assert small_run.predict(episodes=3, output=tmp_path / "episode.gif") == [{"done": True}]
    assert given["episodes"] == 3
    with pytest.raises(InputError, match=r"episode: there is no such option. Did you mean \"episodes\"\?"):
        small_run.predict(episode=3)
    with pytest.raises(InputError, match="episodes 0: expected a whole number above 0"):
        small_run.predict(episodes=0)


def test_a_bad_item_of_an_application_says_why_beside_the_answers_of_others(small_run, monkeypatch):
    def apply(trained, target, values):
        *good, bad = values["items"]
        yield from ({"item": item, "place": place} for item in good for place in (1, 2))
        yield FailedItem(bad, bad, InputError("b.wav cannot be read"))

    monkeypatch.setattr("dlpipe.api.predictions.application_of", lambda stage: "dlpipe_audio.search:search")
    monkeypatch.setattr("dlpipe.engine.inference.apply", apply)

    with pytest.warns(UserWarning, match=r"^1 item could not be used; their answers .* first is b.wav cannot be read$"):
        *answers, failed = small_run.predict(["a.wav", "b.wav"])

    assert [answer["place"] for answer in answers] == [1, 2]
    assert failed == {"item": "b.wav", "error": "b.wav cannot be read"}
    with pytest.raises(InputError, match=r"^b.wav cannot be read$"):
        small_run.predict("b.wav")


def test_a_score_that_is_missing_says_which_there_are(small_run):
    with pytest.raises(KeyError, match=r"digits/acuracy: Run.*has no such score; it has .*Did you mean .*accuracy"):
        small_run.scores["digits/acuracy"]
    assert "digits/acuracy" not in small_run.scores
    assert small_run.scores.get("digits/acuracy") is None


def test_baselines_are_those_of_the_stage_and_without_the_ones_that_failed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts = {name: TABLES[name] for name in ("data", "model", "trainer")} | {"evaluators": {"digits": {}}}
    parts["evaluators"]["digits"]["use"] = "core.classification"
    stages = {"one": parts, "two": parts | {"data": {"use": "vision.digits", "limit": 300}}}
    path = dlpipe.load({"name": "staged", "seed": 1, "threads": 1, "stages": stages}).run(quiet=True).path

    first, last = (dlpipe.Run(path, stage=stage).baselines for stage in ("one", None))

    written = {stage: json.loads((path / f"stages/{stage}/baselines.json").read_text()) for stage in stages}
    predictor, reached = next(iter(written["two"]["digits"].items()))
    assert last[f"digits/{predictor}/accuracy"] == reached["metrics"]["accuracy"]
    assert first[f"digits/{predictor}/accuracy"] == written["one"]["digits"][predictor]["metrics"]["accuracy"]
    assert first.keys() == last.keys()

    failed = {"digits": {predictor: reached, "other": {"reason": "no memory"}, "undefined": {"metrics": {"r2": None}}}}
    (path / "stages/two/baselines.json").write_text(json.dumps(failed))
    assert dlpipe.Run(path).baselines.keys() == {f"digits/{predictor}/{metric}" for metric in reached["metrics"]}


def test_baselines_on_dev_are_not_those_on_test(small_run, tmp_path):
    shutil.copytree(small_run.path, folder := tmp_path / "untested")
    (folder / "baselines.json").write_text('{"digits": {"guess": {"metrics": {"accuracy": 0.5}}}}')
    tested = dlpipe.Run(folder).baselines

    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(line for line in lines if '"test/' not in line))

    assert (tested, dlpipe.Run(folder).baselines) == ({"digits/guess/accuracy": 0.5}, {})


def test_a_score_of_a_failed_run_says_why_it_failed(small_run, tmp_path):
    shutil.copytree(small_run.path, folder := tmp_path / "failed")
    (folder / "metrics.jsonl").write_text("")
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps(status | {"state": "failed", "reason": "the disk is full"}))

    with pytest.raises(KeyError, match=r"digits/accuracy: Run.*has no scores on test, it is failed: the disk is full"):
        dlpipe.Run(folder).scores["digits/accuracy"]
