"""The report of a run, from what its folder holds."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import pytest
from click.testing import CliRunner

from dlpipe.api.run import Run
from dlpipe.cli import make_program
from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import run
from dlpipe.errors import DlpipeError, PluginError
from dlpipe.registry.loading import load_plugins
from dlpipe.report.curves import draw_metrics
from dlpipe.report.recorded_run import RecordedRun
from dlpipe.report.run_report import verdict_of, write_report
from dlpipe.report.shown_files import shown_sections
from dlpipe.report_items import ITEMS, ReportItem, record_items
from dlpipe.runs.atomic import link
from dlpipe.runs.checkpoint import Checkpoints, step_of
from dlpipe.runs.files import read_json_lines
from dlpipe.runs.folder import RunFolder
from dlpipe.runs.listing import summarize
from dlpipe.runs.metrics_log import MetricsLog
from dlpipe.scores.judged_examples import score_interval

PIPELINE = """
name = "tiny"
threads = 1
[data]
use = "vision.digits"
[model]
use = "core.mlp"
hidden = [8]
[trainer]
use = "core.supervised"
steps = 8
log_every = 2
evaluate_every = 4
[evaluators.digits]
use = "core.classification"
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that has finished, of a pipeline with a value from ``--set``."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "tiny.toml").write_text(PIPELINE)
    pipeline = load_pipeline(folder / "tiny.toml", load_plugins(), ["trainer.steps=6"])
    return run(pipeline, load_plugins(), folder / "runs")


def test_a_run_keeps_the_scores_of_its_test_examples(finished):
    lines = read_json_lines(finished.path / "predictions.jsonl")
    metrics = MetricsLog(finished.path / "metrics.jsonl").records()[-1]
    value, low, high = score_interval(finished.path, "digits/accuracy")

    assert value == pytest.approx(metrics["test/digits/accuracy"])
    assert low < value < high
    assert all(line["score"] == (line["true"] == line["predicted"]) for line in lines)
    assert score_interval(finished.path, "digits/f1") is None


def section(page, title):
    return page.split(f"<h2>{title}</h2>")[1].split("<h2>")[0]


def test_a_run_ends_with_a_report(finished):
    page = (finished.path / "report.html").read_text()
    verdict = re.search(r'class="verdict">(.*?)</p>', page)[1]

    assert re.fullmatch(
        r"core\.mlp on vision\.digits, test/digits/accuracy 0\.\d{4} \(90 % interval 0\.\d{4} to 0\.\d{4}; worse than core\.logistic_regression: 0\.\d{4}\), "
        r"[\d.]+ m?s of training\. 6 steps done\.",
        verdict,
    )
    assert '<span class="state finished">finished</span>' in page
    assert "<td>digits/accuracy</td>" in section(page, "Metrics")
    charts = [chart["title"] for chart in json.loads(re.search(r'id="charts">(.*?)</script>', page)[1])]
    assert charts[:3] == ["digits/accuracy", "loss", "lr"]
    assert "data:image/png;base64" in section(page, r"digits (core.classification)")


RESOLVED = 'name = "x"\n[data]\nuse = "a.b"\n[trainer]\nuse = "a.c"\n'


@pytest.mark.parametrize(
    ("goal", "baseline", "beside"),
    [
        ("max", 0.4, " (simple: 0.4000)"),
        ("max", 0.6, " (worse than simple: 0.6000)"),
        ("min", 0.6, " (simple: 0.6000)"),
        ("min", 0.4, " (worse than simple: 0.4000)"),
    ],
)
def test_the_verdict_names_the_best_simple_predictor(tmp_path, goal, baseline, beside):
    found = {
        "simple": {"metrics": {"score": baseline}},
        "undefined": {"metrics": {"score": None}},
        "left out": {"reason": "the data is a stream"},
    }
    (tmp_path / "baselines.json").write_text(json.dumps({"judge": found}))
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "test/judge/score": 0.5}\n')
    (tmp_path / "resolved.toml").write_text(RESOLVED)
    (tmp_path / "status.json").write_text('{"state": "finished"}')
    known = {"metric": "judge/score", "goal": goal, "monitor": "", "monitor_goal": "", "total_steps": 1}
    (tmp_path / "provenance.json").write_text(json.dumps({"stages": {"": known}}))
    page = write_report(RunFolder.open(tmp_path)).read_text()

    assert f"test/judge/score 0.5000{beside}" in page
    assert "left out: the data is a stream" in section(page, "Metrics")
    assert section(page, "Metrics").count("left out") == 1  # no row without numbers


def test_before_the_test_the_verdict_has_the_score_of_the_list_of_runs(make_run):
    scores = [
        {"step": step, "dev/digits/loss": loss, "dev/digits/accuracy": 0.5} for step, loss in ((1, 0.3), (2, 0.4))
    ]
    folder = make_run("digits/a", resolved=RESOLVED, metrics=scores)
    (folder / "baselines.json").write_text('{"digits": {"simple": {"metrics": {"loss": 0.2, "accuracy": 0.1}}}}')

    run = RecordedRun(RunFolder.open(folder))

    assert "dev/digits/loss 0.3000 (worse than simple: 0.2000)" in verdict_of(run)
    assert (summarize(folder).metric, summarize(folder).score) == ("dev/digits/loss", 0.3)


def test_the_report_says_what_set_each_value(finished):
    rows = section((finished.path / "report.html").read_text(), "Pipeline")

    assert re.search(r"<td>trainer\.steps</td><td[^>]*>6</td><td>--set</td>", rows)
    assert re.search(r"<td>trainer\.log_every</td><td[^>]*>2</td><td>[^<]*tiny\.toml:\d+</td>", rows)
    assert re.search(r"<td>trainer\.batch_size</td><td[^>]*>\d+</td><td>default</td>", rows)


def test_a_summary_in_markdown_is_beside_it(finished):
    text = (finished.path / "report.md").read_text()

    assert text.startswith("# tiny (finished)\n\ncore.mlp on vision.digits, test/digits/accuracy 0.")
    assert re.search(r"\| digits/accuracy \|  \| 0\.\d{4} \| 0\.\d{4} \|", text)


def test_the_best_step_is_that_of_the_manifests_as_a_kill_leaves_an_older_link(tmp_path, finished):
    shutil.copytree(finished.path, tmp_path / "run", symlinks=True)
    stage = RecordedRun(RunFolder.open(tmp_path / "run")).stages[0]
    link(stage.folder / "checkpoints" / "best", "step-00000001")

    assert stage.best_step == step_of(Checkpoints(stage.folder / "checkpoints").best())


def test_a_report_can_be_written_at_any_time(finished, monkeypatch):
    finished.set_status("running")
    (finished.path / "report.html").unlink()
    program = make_program(load_plugins())
    result = CliRunner().invoke(program, ["report", str(finished.path), "--markdown"])

    assert result.exit_code == 0
    assert result.output.startswith("# tiny (running)")
    assert (finished.path / "report.html").is_file()
    monkeypatch.setattr("dlpipe.report.page.find_spec", lambda name: None)
    with pytest.raises(DlpipeError, match=r"needs jinja2 and bokeh; install with: pip install .*\[report\]"):
        CliRunner().invoke(program, ["report", str(finished.path)], catch_exceptions=False, standalone_mode=False)


def test_a_run_that_fails_has_a_report(tmp_path):
    (tmp_path / "tiny.toml").write_text(PIPELINE)
    pipeline = load_pipeline(tmp_path / "tiny.toml", load_plugins(), ['trainer.optimizer={ use = "sgd", lr = 1e30 }'])
    with pytest.raises(DlpipeError, match="nan"):
        run(pipeline, load_plugins(), tmp_path / "runs")
    page = (tmp_path / "runs" / "tiny" / "latest" / "report.html").read_text()

    assert '<span class="state failed">failed</span>' in page
    assert "Failed: " in page


def test_a_report_that_cannot_be_written_takes_nothing_from_the_run(tmp_path, monkeypatch, capsys):
    def fail(folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dlpipe.engine.outcome.write_report", fail)
    (tmp_path / "tiny.toml").write_text(PIPELINE)
    folder = run(load_pipeline(tmp_path / "tiny.toml", load_plugins()), load_plugins(), tmp_path / "runs")

    assert folder.status()["state"] == "finished"
    assert "the report could not be written: No space left on device" in capsys.readouterr().err


def test_a_damaged_folder_is_reported(tmp_path, finished):
    (tmp_path / "resolved.toml").write_text("name = 'x'")
    (tmp_path / "status.json").write_text("{")
    with pytest.raises(DlpipeError, match=r"status\.json"):
        write_report(RunFolder.open(tmp_path))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('name = "tiny"', 'name = "tiny', r"resolved.toml cannot be read: .*line 1.*; restore it"),
        ('name = "tiny"', "name = 3", "resolved.toml: expected a name, as dlpipe writes it; restore the file"),
        ("use = ", "usee = ", r'resolved.toml: expected a table \[data\] with use = "…", as dlpipe writes it'),
        ("[trainer]", "[trainerr]", r'expected a table \[trainer\] with use = "…"'),
        ("[evaluators.digits]", "[evaluators.digits.x]", r'expected a table \[evaluators.digits\] with use = "…"'),
        ("[evaluators.digits]", "[more]\n[[evaluators]]", r'expected a table \[evaluators."…"\] with use = "…"'),
        ("[data]", "[stages.data]", r'expected a table \[stages.data.data\] with use = "…"'),
        ("[data]", "[stages]\n[data]", r"expected the tables of at least one stage in \[stages\]"),
        ("[data]", "[[stages]]\n[data]", r"expected the tables of at least one stage in \[stages\]"),
        ('name = "tiny"', 'name = "tiny"\nstages.a = 1', r"expected a table \[stages.a\]"),
    ],
)
def test_a_resolved_pipeline_that_was_edited_is_named(tmp_path, finished, before, after, message):
    shutil.copytree(finished.path, tmp_path / "run", symlinks=True)
    path = tmp_path / "run" / "resolved.toml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    registry = load_plugins()

    for command in ("report", "resume"):
        with pytest.raises(DlpipeError, match=message):
            make_program(registry).main([command, str(path.parent)], standalone_mode=False, obj=registry)
    for use in (lambda run: run.config, lambda run: run.resume()):
        with pytest.raises(DlpipeError, match=message):
            use(Run(path.parent))


def test_lines_of_the_metrics_without_a_step_are_none(tmp_path, finished):
    shutil.copytree(finished.path, tmp_path / "run", symlinks=True)
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1}\n{"train/loss": 1.5}\n')

    with pytest.warns(UserWarning, match=r'metrics.jsonl:2 has no "step"; .*; the report has no metrics$'):
        assert RecordedRun(RunFolder.open(tmp_path / "run")).stages[0].records == []
    with pytest.raises(DlpipeError, match=r'metrics.jsonl:2 has no "step"; it was not written by dlpipe'):
        MetricsLog(tmp_path / "run" / "metrics.jsonl").records()


def test_baselines_that_were_edited_are_not_shown_with_a_warning(tmp_path, finished):
    shutil.copytree(finished.path, tmp_path / "run", symlinks=True)
    (tmp_path / "run" / "baselines.json").write_text("{")

    with pytest.warns(UserWarning, match=r"baselines.json.*; the report has no baselines$"):
        assert RecordedRun(RunFolder.open(tmp_path / "run")).stages[0].baselines == {}


def test_files_are_presented_as_their_author_says(finished):
    folder = finished.path / "callbacks" / "mine"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(b"\x89PNG")
    (folder / "scores.csv").write_text("name,score\n" + "".join(f"<i>,{row}\n" for row in range(50)))
    record_items(folder, [ReportItem("a.png", "What I drew", "Rows are <b>classes</b>.", "image")])
    write_report(finished)
    part = section((finished.path / "report.html").read_text(), "mine")

    assert '<figure class="block image">\n<h3>What I drew</h3>' in part
    assert "Rows are &lt;b&gt;classes&lt;/b&gt;." in part
    assert "<h3>Scores</h3>" in part  # of which nothing is said
    assert '30 more rows in <a href="callbacks/mine/scores.csv">' in part


@pytest.mark.parametrize("place", ["callbacks/mine", "samples/mine"])
@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([{"file": "../../secret.txt"}], 'ReportItem("../../secret.txt"): expected the name of a file in the same'),
        ([{"file": "/etc/hostname"}], 'ReportItem("/etc/hostname"): expected the name of a file in the same folder'),
        ([{"file": "link.txt"}], '"link.txt" is not in this folder'),
        ([{"file": "own.txt"}, {"file": "own.txt", "title": 3}], "items.1.title"),
        ([{"file": "own.txt", "kind": "film"}], 'kind = "film"; expected one of'),
    ],
)
def test_a_record_that_presents_other_files_than_those_of_its_folder_is_not_used(
    tmp_path, finished, place, items, message
):
    stage = RecordedRun(finished).stages[0]
    stage = replace(stage, folder=tmp_path / "run")
    folder = tmp_path / "run" / place
    folder.mkdir(parents=True)
    (tmp_path / "run" / "secret.txt").write_text("the secret")
    (folder / "own.txt").write_text("my own")
    (folder / "link.txt").symlink_to(tmp_path / "run" / "secret.txt")
    complete = [{"title": "The file", "caption": "", "kind": None} | item for item in items]
    (folder / ITEMS).write_text(json.dumps({"items": complete}))

    with pytest.warns(UserWarning, match=f"mine/report_items.json is not used: .*{re.escape(message)}"):
        shown = str(list(shown_sections(stage, stage.folder, "")))

    assert "The file" not in shown
    assert "my own" in shown


def test_a_series_of_samples_of_which_nothing_is_said_has_a_title(finished):
    folder = finished.path / "samples" / "others"
    folder.mkdir(parents=True)
    for step in (5, 10):
        (folder / f"step-{step:08}.png").write_bytes(b"\x89PNG")
    write_report(finished)

    assert "<h3>Samples</h3>" in section((finished.path / "report.html").read_text(), "others during training")


def test_samples_of_many_steps_are_shown_in_a_row(finished):
    folder = finished.path / "samples" / "faces"
    folder.mkdir(parents=True)
    for step in range(1, 31):
        (folder / f"step-{step:08}.png").write_bytes(b"\x89PNG")
    record_items(folder, [ReportItem("step-00000030.png", "Faces", "One row for each class.")])
    write_report(finished)
    part = section((finished.path / "report.html").read_text(), "faces during training")

    assert "<h3>Faces</h3>" in part
    assert re.findall(r'class="label">(.*?)</p>', part) == [f"step {step}" for step in (1, 5, 9, 13, 18, 22, 26, 30)]
    assert "One row for each class. 8 of 30 are shown." in part


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (lambda: ReportItem("a.png", "a", kind="film"), 'kind = "film"; expected one of figure, image, animation'),
        (lambda: ReportItem("../a.png", "a"), "expected the name of a file in the same folder"),
        (lambda: ReportItem("a.png", "a"), "there is no such file in"),
        (lambda: "a.png", "expected a ReportItem"),
    ],
)
def test_what_cannot_be_presented_is_refused(tmp_path, item, message):
    with pytest.raises(PluginError, match=re.escape(message)):
        record_items(tmp_path, [item()])


def test_a_metric_has_one_chart_with_all_its_splits():
    records = [
        {"step": 5, "epoch": 1.0, "train/loss": 2.0, "train/lr": 0.1, "time": 1.0},
        {"step": 10, "train/loss": 1.0, "dev/loss/loss": 1.5, "dev/digits/accuracy": 0.5},
        {"step": 20, "train/loss": 0.01, "train/lr": None, "dev/loss/loss": 1.4, "dev/digits/accuracy": 0.6},
        {"step": 20, "test/digits/accuracy": 0.55, "test/digits/ece": 0.1},
    ]
    charts = {chart.title: chart for chart in draw_metrics(records, "digits/accuracy")}

    assert list(charts) == ["digits/accuracy", "loss/loss", "lr"]  # the error of calibration is one point, no curve
    assert [(one.name, one.style, list(one.y)) for one in charts["digits/accuracy"].series] == [
        ("dev", "line", [0.5, 0.6]),
        ("test", "points", [0.55]),
    ]
    assert [one.name for one in charts["loss/loss"].series] == ["train", "dev"]
    assert charts["loss/loss"].log_y  # it varies by more than a factor of 50


def test_what_a_trainer_measures_in_its_steps_stands_beside_what_an_evaluator_finds_on_train():
    records = [
        {"step": 5, "train/loss": 2.0},
        {"step": 10, "train/loss": 1.0, "train/loss/loss": 0.75, "dev/loss/loss": 1.5},
        {"step": 20, "train/loss": 0.5, "train/loss/loss": 0.25, "dev/loss/loss": 1.4},
    ]

    (chart,) = draw_metrics(records, "")

    assert [(one.name, list(one.y)) for one in chart.series] == [
        ("training steps", [2.0, 1.0, 0.5]),
        ("train", [0.75, 0.25]),
        ("dev", [1.5, 1.4]),
    ]


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_a_report_that_cannot_be_written_is_an_error_with_its_place(finished, tmp_path, name):
    folder = shutil.copytree(finished.path, tmp_path / "run")
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir()

    with pytest.raises(DlpipeError, match=rf"run/{name} cannot be written: Is a directory"):
        write_report(RunFolder.open(folder))
