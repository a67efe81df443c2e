"""Whole runs on tables: the shipped pipelines, predictions, baselines, and the loss of the trainer."""

import json
import re

import pytest
from click.testing import CliRunner

from dlpipe.commands.predict import predict
from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import run
from dlpipe.registry.loading import load_plugins

CITIES = {"Oslo": -3.0, "Rome": 4.0, "Bonn": 0.0}
PIPELINE = """
name = "rows"
device = "cpu"
threads = 1
[data]
use = "core.table"
path = "rows.csv"
target = "price"
task = "regression"
missing = "median"
[model]
use = "core.mlp"
hidden = [32]
[trainer]
use = "core.supervised"
epochs = 60
evaluate_every = 60
loss = { use = "huber", delta = 0.5 }
optimizer = { use = "adam", lr = 1e-2 }
[evaluators.numbers]
use = "core.regression"
[evaluators.loss]
use = "core.loss"
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that learned prices in thousands from a number, a category and a number that is useless."""
    folder = tmp_path_factory.mktemp("rows")
    lines = ["size,city,noise,price"]
    for number in range(300):
        size, city = (number * 37 % 100) / 10, list(CITIES)[number % 3]
        price = 1000 * (50 + abs(size - 5) + CITIES[city])
        lines.append(f"{'' if number == 7 else size},{city},{number * 13 % 29},{price}")
    (folder / "rows.csv").write_text("\n".join(lines))
    (folder / "rows.toml").write_text(PIPELINE)
    return run(load_pipeline(folder / "rows.toml", load_plugins()), load_plugins(), folder / "runs")


def metrics_of(finished):
    lines = (finished.path / "metrics.jsonl").read_text().splitlines()
    return {name: value for line in lines for name, value in json.loads(line).items() if name.startswith("test/")}


def test_the_network_learns_prices_better_than_the_baselines(finished):
    r2 = metrics_of(finished)["test/numbers/r2"]
    baselines = json.loads((finished.path / "baselines.json").read_text())["numbers"]

    assert -0.2 < baselines["core.mean"]["metrics"]["r2"] <= 0
    assert 0.5 < baselines["core.linear_regression"]["metrics"]["r2"] < 0.9 < r2


def test_what_was_filled_is_a_warning_of_the_run(finished):
    (warning,) = json.loads((finished.path / "provenance.json").read_text())["warnings"]

    assert re.search(r'missing values were filled: "size" 1 of \d+ \(with 4\.\d+\)', str(warning))


def test_errors_are_in_the_units_of_the_target_and_the_loss_is_not(finished):
    metrics = metrics_of(finished)

    assert 50 < metrics["test/numbers/mae"] < 1500
    assert 0 < metrics["test/loss/loss"] < 0.1


def test_rows_of_a_file_and_objects_get_prices(finished, tmp_path):
    (tmp_path / "new.csv").write_text("size,city,noise\n0.5,Rome,3\n,Atlantis,4\n")
    registry = load_plugins()

    answers = CliRunner().invoke(
        predict, [str(finished.path), "--file", str(tmp_path / "new.csv"), "--json"], obj=registry
    )
    single = CliRunner().invoke(
        predict, [str(finished.path), '{"size": 0.5, "city": "Rome", "noise": 3}', "--json"], obj=registry
    )

    first, second = map(json.loads, answers.stdout.splitlines())
    assert first["price"] == pytest.approx(1000 * (50 + 4.5 + 4), rel=0.03)
    assert second["unknown"] == ["city"]
    assert json.loads(single.stdout) | {"item": first["item"]} == first


def test_a_cell_that_cannot_be_used_is_named_with_its_line(finished, tmp_path):
    (tmp_path / "new.csv").write_text("size,city,noise\nlarge,Rome,3\n")

    arguments = [str(finished.path), "--file", str(tmp_path / "new.csv")]

    answer = CliRunner().invoke(predict, arguments, obj=load_plugins())

    assert answer.stderr.splitlines()[-1].endswith('new.csv:2: "size" is "large"; expected a number')


def test_each_row_of_test_is_kept_for_comparisons_with_its_place(finished):
    lines = [json.loads(line) for line in (finished.path / "predictions.jsonl").read_text().splitlines()]
    of_r2 = [line for line in lines if line["metric"] == "numbers/r2"]

    assert sum(line["score"] for line in of_r2) / len(of_r2) == pytest.approx(metrics_of(finished)["test/numbers/r2"])
    assert all(".csv:" in line["name"] for line in of_r2)
