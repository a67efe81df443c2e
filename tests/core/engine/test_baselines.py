"""What simple predictors reach beside a trained model."""

from __future__ import annotations

import json
import math

import pytest
import torch

from dlpipe.compute import randomness
from dlpipe.config.check import load_pipeline
from dlpipe.engine import baselines
from dlpipe.engine.execute import run
from dlpipe.errors import InputError
from dlpipe.registry.loading import load_plugins

DIGITS = """
name = "digits"
[data]
use = "vision.digits"
limit = 96
[model]
use = "core.mlp"
hidden = [8]
[trainer]
use = "core.supervised"
steps = 3
optimizer = { use = "sgd", lr = 1e-9 }
[evaluators.digits]
use = "core.classification"
"""
ON_DEV = DIGITS + 'splits = ["dev"]\n'  # without the figures of the test split
FLIGHTS = """
name = "flights"
[data]
use = "text.flights"
num_train = 40
num_dev = 10
num_test = 10
[model]
use = "text.feedforward_tagger"
[trainer]
use = "core.supervised"
steps = 1
[evaluators.slots]
use = "text.slot_f1"
"""
TEXTS = """
name = "texts"
[data]
use = "text.labeled"
path = "texts.csv"
[model]
use = "text.cnn_classifier"
[trainer]
use = "core.supervised"
steps = 1
[evaluators.kind]
use = "core.classification"
splits = ["dev"]
"""
REGISTRY = load_plugins({})


@pytest.fixture
def ran(tmp_path, capsys):
    """Return a function that runs a pipeline: what is in baselines.json, and what was shown."""

    def run_it(text: str, **options):
        file = tmp_path / "pipeline.toml"
        file.write_text(text)
        folder = run(load_pipeline(file, REGISTRY), REGISTRY, tmp_path / "runs", **options)
        path = folder.path / "baselines.json"
        shown = " ".join(capsys.readouterr().err.split())
        return json.loads(path.read_text()) if path.exists() else None, shown, folder.path

    return run_it


def test_a_model_that_is_below_its_baselines_is_called_so(ran):
    found, shown, _ = ran(DIGITS)

    reached = {name: each["metrics"]["accuracy"] for name, each in found["digits"].items()}
    assert list(reached) == ["core.majority_class", "core.logistic_regression"]
    assert reached["core.logistic_regression"] > 0.7
    assert found["digits"]["core.majority_class"]["examples"] == found["digits"]["core.logistic_regression"]["examples"]
    assert (
        f"baselines of test/digits/accuracy: core.majority_class {reached['core.majority_class']:.4f}, core." in shown
    )
    assert "is below that of core.logistic_regression" in shown


def test_a_run_is_the_same_with_and_without_baselines(ran):
    _, _, folder = ran(DIGITS)
    after = randomness()
    found, _, other = ran(DIGITS + "compare_baselines = false\n")

    assert found is None
    assert torch.equal(randomness()["torch"], after["torch"])
    metrics = [
        [{key: value for key, value in json.loads(line).items() if "/" in key} for line in lines.splitlines()]
        for lines in ((path / "metrics.jsonl").read_text() for path in (folder, other))
    ]
    assert metrics[0] == metrics[1]


def test_a_baseline_is_not_compared_with_itself_and_a_fast_run_has_none(ran):
    text = DIGITS.replace('"core.mlp"\nhidden = [8]', '"core.majority_class"')
    text = text.replace('"core.supervised"\nsteps = 3\noptimizer = { use = "sgd", lr = 1e-9 }', '"core.fit"')

    assert list(ran(text)[0]["digits"]) == ["core.logistic_regression"]
    assert ran(DIGITS, fast=True)[0] is None


@pytest.mark.parametrize(
    ("error", "reason"),
    [(ZeroDivisionError("no numbers"), "ZeroDivisionError: no numbers"), (InputError("no numbers"), "no numbers")],
)
def test_a_baseline_that_fails_is_left_out_with_the_reason(ran, monkeypatch, error, reason):
    def fit(self, seed, targets):
        raise error

    monkeypatch.setattr("dlpipe.baselines.majority_class.MajorityClass.fit", fit)

    found, _, _ = ran(ON_DEV)

    assert found["digits"]["core.majority_class"] == {"reason": reason}
    assert "metrics" in found["digits"]["core.logistic_regression"]


def test_a_baseline_that_is_not_for_such_data_is_left_out_without_a_word(ran, tmp_path):
    rows = [f"{word} {number},{label}" for number in range(10) for label, word in (("pos", "good"), ("neg", "bad"))]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *rows]))

    found, shown, _ = ran(TEXTS)

    assert list(found["kind"]) == ["core.majority_class"]
    assert "logistic_regression" not in shown


def test_a_metric_that_is_not_finite_is_null_and_not_compared(ran, monkeypatch):
    monkeypatch.setattr(baselines, "evaluate", lambda *_, **__: {"dev/digits/accuracy": math.nan})

    found, shown, _ = ran(ON_DEV)

    assert found["digits"]["core.majority_class"]["metrics"] == {"accuracy": None}
    assert "baselines of" not in shown


def test_a_baseline_is_fitted_to_a_part_of_much_data_and_says_so(ran, monkeypatch):
    monkeypatch.setattr(baselines, "MAX_NUMBERS", 65 * 10 * 30)

    found, shown, _ = ran(ON_DEV)

    assert found["digits"]["core.logistic_regression"]["examples"] == 30
    assert "(fitted to 30 of " in shown


def test_without_a_test_split_the_dev_split_is_used(ran):
    found, shown, _ = ran(ON_DEV)

    assert "baselines of dev/digits/accuracy" in shown
    assert "metrics" in found["digits"]["core.majority_class"]


def test_taggers_are_compared_with_the_most_frequent_tag_of_each_word(ran):
    found, shown, _ = ran(FLIGHTS)

    assert found["slots"]["text.most_frequent_tag"]["metrics"]["token_accuracy"] > 0.5
    assert "is below that of text.most_frequent_tag" in shown
