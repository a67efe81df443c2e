"""Lists and comparisons in Python are those of the commands."""

import json
import subprocess
import sys

import pytest

import dlpipe
from dlpipe.errors import InputError

from .conftest import TABLES


def output_of(*command: str) -> str:
    answer = subprocess.run([sys.executable, "-m", "dlpipe", *command], capture_output=True, text=True, check=True)
    return answer.stdout


def test_components_and_pipelines_are_those_of_the_command():
    listed = json.loads(output_of("list", "--json"))

    table = dlpipe.list_components()

    assert set(table["kind"]) == {kind for kind, rows in listed.items() if rows}
    assert dlpipe.list_components("model")["name"] == [row["name"] for row in listed["model"]]
    assert "cnn_digits" in dlpipe.list_pipelines()["name"]


def test_the_parameters_of_a_component_are_those_of_the_command():
    shown = json.loads(output_of("show", "core.mlp", "--json"))["parameters"]

    assert json.loads(json.dumps(list(dlpipe.describe("core.mlp")), default=str)) == shown


def test_an_evaluator_without_baselines_has_no_option_for_them():
    options = {name: dlpipe.describe(name)["name"] for name in ("core.classification", "core.loss")}

    assert [name for name, keys in options.items() if "compare_baselines" in keys] == ["core.classification"]


def test_unknown_names_get_the_nearest():
    with pytest.raises(InputError, match=r"kind \"modl\": expected one of data, model, .* Did you mean \"model\"\?"):
        dlpipe.list_components("modl")
    with pytest.raises(InputError, match=r"there is no component 'core.mpl'. Did you mean \"core.mlp\"\?"):
        dlpipe.describe("core.mpl")
    with pytest.raises(InputError, match=r"state \"faild\": expected one of running, .* Did you mean \"failed\"\?"):
        dlpipe.list_runs(states=["faild"])
    with pytest.raises(InputError, match=r"reason \"fats\": expected one of fast, .* Did you mean \"fast\"\?"):
        dlpipe.clean_runs(only=["fats"])


def test_the_schema_is_that_of_the_command():
    assert dlpipe.pipeline_schema() == json.loads(output_of("schema"))


def test_runs_are_listed_and_those_that_nobody_needs_are_deleted_on_request(make_run, tmp_path):
    make_run("digits/2026-01-01_000000-aaaa", fast=True, age=7200)
    make_run("digits/2026-01-02_000000-bbbb", metrics=[{"step": 3, "dev/digits/loss": 0.5}])
    runs = tmp_path / "runs"

    assert [path.name[-4:] for path in dlpipe.list_runs(runs)["path"]] == ["bbbb", "aaaa"]
    assert dlpipe.list_runs(runs, last=1)[0]["state"] == "finished"
    assert len(dlpipe.list_runs(runs, name="other*")) == 0
    [proposed] = dlpipe.clean_runs(runs)
    assert (proposed["path"].name[-4:], proposed["reason"], proposed["deleted"]) == ("aaaa", "fast", False)
    assert proposed["path"].is_dir()
    assert len(dlpipe.clean_runs(runs, older_than=1e9, dry_run=False)) == 0

    [deleted] = dlpipe.clean_runs(runs, dry_run=False)

    assert deleted["deleted"]
    assert not deleted["path"].exists()


def test_a_comparison_says_what_differs_and_whether_scores_do(small_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = dlpipe.load(TABLES, {"model.hidden_dim": 9}).run(quiet=True)

    comparison = dlpipe.compare(small_run, other)

    assert json.loads(json.dumps(comparison.plain())) == json.loads(
        output_of("compare", str(small_run.path), str(other.path), "--json")
    )
    assert comparison.metric == "test/digits/accuracy"
    assert comparison.differs == [comparison.plain()["comparisons"][0]["differs"]]
    assert comparison.verdicts[0] in repr(comparison)
    assert "model.hidden_dim" in str(comparison.differences)
    assert comparison.metrics[0]["metric"] == "test/digits/accuracy"
    assert comparison.metrics[0]["A"] == small_run.scores["digits/accuracy"]
    assert "<h4>What differs</h4>" in comparison._repr_html_()
    assert comparison.draw_curves(tmp_path / "curves.png").stat().st_size > 1000
    assert comparison.write_page(tmp_path / "page.html").read_text().startswith("<!")
    with pytest.raises(InputError, match="dlpipe compare needs at least two runs"):
        dlpipe.compare(small_run)


def test_a_sweep_returns_its_table_and_its_best_pipeline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    axis = {"sweep": {"trainer.optimizer.lr": [1e-3, 3e-2]}}
    experiment = dlpipe.load(TABLES, {"name": "swept", "trainer.optimizer": {"use": "adam"}}, axis)

    result = experiment.sweep(jobs=1, quiet=True)

    assert result.metric == "dev/digits/accuracy"
    assert result.table["trainer.optimizer.lr"] == ["0.001", "0.03"]
    means = result.table[result.metric]
    best = dlpipe.load(result.best).config["trainer"]["optimizer"]["lr"]
    assert best == [1e-3, 3e-2][means.index(max(means))]
    assert [len(runs) for runs in result.table["runs"]] == [1, 1]
    assert dlpipe.Run(result.table["runs"][0][0]).best[result.metric] == means[0]
    assert (result.path / "table.json").is_file()
    assert "curves.png" in repr(result.figures)
    assert "0.03" in result._repr_html_()
    assert result.plain()["command"] == "Experiment.sweep()"
