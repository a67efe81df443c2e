"""The coach, asked about trainings with a known fault, and about sound ones."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from dlpipe.api.run import Run
from dlpipe.cli import make_program
from dlpipe.coach import Finding, Remedy
from dlpipe.coach.diagnosis import Diagnosis, coach
from dlpipe.coach.experiments import sweep_command, sweep_text
from dlpipe.coach.verdict import Scores
from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import run
from dlpipe.errors import DlpipeError, InputError
from dlpipe.registry.loading import load_plugins

pytestmark = pytest.mark.usefixtures("without_report")

ROOT = Path(__file__).parents[3]
BASE = """
name = "patient"
threads = 1
[data]
use = "vision.digits"
[model]
use = "core.mlp"
hidden = [100, 100]
[trainer]
use = "core.supervised"
steps = 400
log_every = 20
evaluate_every = 50
batch_size = 50
optimizer = { use = "adam", lr = 1e-3 }
[evaluators.digits]
use = "core.classification"
"""
SGD = "trainer.optimizer={use='sgd',lr=0.1}"
#: What is done to the pipeline, the verdict (None where it depends on the best checkpoint), and the rules that must find it; no other fault is found.
SICK = {
    "deep sigmoids": (
        ["model.hidden=[100,100,100,100,100,100,100,100]", "model.activation=sigmoid", SGD],
        "not learned",
        ["vanishing-gradients", "no-progress"],
    ),
    "inputs as they are": (
        [
            "data={use='core.table',path='sklearn:wine',scale='none'}",
            "trainer.batch_size=20",
            "model.activation=leaky_relu",
        ],
        None,
        ["unscaled-inputs"],
    ),
    "a rate that is too large": (["trainer.optimizer.lr=3.0"], "not learned", ["dead-units"]),
    "a rate that is too large for tanh": (
        ["model.activation=tanh", "trainer.optimizer.lr=1.0"],
        "not learned",
        ["saturated-units"],
    ),
    "a rate that grows": (
        ["model.hidden=[]", "trainer.schedule={use='exponential',gamma=1.025}"],
        None,
        ["diverging"],
    ),
    "a rate that is too small": (["trainer.optimizer.lr=1e-8"], "not learned", ["no-progress"]),
    "a rate that is too small, for longer": (
        ["trainer.optimizer.lr=1e-6", "trainer.steps=1000", "trainer.log_every=50"],
        "not learned",
        ["no-progress"],
    ),
    "squared error of classes": (["trainer.loss=mse", SGD], "underfitting", ["loss", "unfinished"]),
    "one batch of all": (
        ["trainer.batch_size=full", "trainer.steps=20", "trainer.log_every=2", "trainer.evaluate_every=5"],
        "underfitting",
        ["few-steps", "unfinished"],
    ),
    "few steps": (
        ["trainer.steps=40", "trainer.log_every=2", "trainer.optimizer.lr=2e-4"],
        "underfitting",
        ["unfinished"],
    ),
    "few examples": (["data.limit=60"], "overfitting", ["overfitting"]),
    "wrong labels": (
        ["data.label_noise=0.4", "data.limit=500", "data.dev_size=400", "trainer.steps=800"],
        "overfitting",
        ["late", "overfitting"],
    ),
    "a rare class": (
        ["data.classes=[0,1]", "data.imbalance=30", "trainer.optimizer.lr=1e-6"],
        "overfitting",
        ["imbalance", "overfitting"],
    ),
}
SOUND = {
    "as it is": [],
    "plain gradient descent": [SGD],
    "tanh": ["model.activation=tanh"],
    "deep": ["model.hidden=[100,100,100,100,100,100]"],
    "convolutions": ["model={use='vision.cnn'}"],
    "dropout, a schedule and averaged weights": [
        "model.dropout=0.3",
        "trainer.schedule={use='cosine_annealing'}",
        "trainer.ema_decay=0.9",
    ],
    "batch normalization": ["model.norm=batch"],
    "gradient accumulation": ["trainer.gradient_accumulation_steps=2", "trainer.batch_size=25"],
    "a table": ["data={use='core.table',path='sklearn:wine'}", "trainer.batch_size=20"],
    "an auto-encoder": [
        "model={use='generative.autoencoder'}",
        "evaluators.digits={use='generative.reconstruction'}",
        "data={use='vision.digits',normalize='unit'}",
        "trainer.steps=2000",
        "trainer.evaluate_every=500",
    ],
}


def train(folder, *assignments):
    (folder / "patient.toml").write_text(BASE)
    pipeline = load_pipeline(folder / "patient.toml", load_plugins(), assignments)
    return run(pipeline, load_plugins(), folder / "runs").path


@pytest.mark.parametrize("name", SICK)
def test_a_training_with_a_fault_is_found_by_the_rules_for_it(name, tmp_path):
    changes, verdict, rules = SICK[name]

    found = coach(train(tmp_path, *changes), load_plugins())

    names = [each.rule for each in found.findings]
    assert found.verdict == (verdict or found.verdict)
    assert [name for name in names if name in rules] == rules
    assert not [each.rule for each in found.findings if not each.advice and each.rule not in rules]


@pytest.mark.parametrize("name", SOUND)
def test_nothing_is_found_in_a_sound_training(name, tmp_path):
    found = coach(train(tmp_path, *SOUND[name]), load_plugins())

    assert (found.verdict, found.findings, found.notes) == ("good", [], [])


def test_a_run_that_ended_at_a_nan(tmp_path):
    with pytest.raises(DlpipeError):
        train(tmp_path, "trainer.optimizer={use='sgd',lr=1e10}")

    found = coach(tmp_path / "runs" / "patient" / "latest", load_plugins())

    assert [each.rule for each in found.findings] == ["nan"]
    assert "the run has no checkpoint, so only its start was examined" in found.notes


@pytest.fixture(scope="module")
def underfitted(tmp_path_factory):
    return train(tmp_path_factory.mktemp("coach"), *SICK["few steps"][0])


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_run_is_left_as_it_is(underfitted):
    before = files_of(underfitted)

    coach(underfitted, load_plugins())

    assert files_of(underfitted) == before


def test_what_is_found_does_not_depend_on_how_often_it_is_asked(underfitted):
    assert coach(underfitted, load_plugins()) == coach(underfitted, load_plugins())


def test_a_remedy_that_the_pipeline_does_not_take_is_left_out(tmp_path):
    found = coach(train(tmp_path, "data.limit=60", "model={use='vision.cnn'}"), load_plugins())

    overfitting = found.findings[0]
    assert [each.name for each in overfitting.remedies] == ["weight decay"]


def test_a_target_and_the_number_of_examples_are_obeyed(underfitted):
    found = coach(underfitted, load_plugins(), target=0.3, examples=50, steps=2)

    assert (found.verdict, found.findings) == ("good", [])
    assert (found.scores.count, found.scores.train_count) == (50, 50)


def test_a_stage_is_chosen_and_named_in_what_to_write(tmp_path):
    (tmp_path / "patient.toml").write_text(
        """
name = "patient"
threads = 1
[stages.first.data]
use = "vision.digits"
[stages.first.model]
use = "core.mlp"
[stages.first.trainer]
use = "core.supervised"
steps = 10
log_every = 1
[stages.first.evaluators.digits]
use = "core.classification"
[stages."v1.0".data]
use = "vision.digits"
[stages."v1.0".model]
use = "core.mlp"
start = { stage = "first" }
[stages."v1.0".trainer]
use = "core.supervised"
steps = 10
log_every = 1
optimizer = { use = "adam", lr = 1e-4 }
[stages."v1.0".evaluators.digits]
use = "core.classification"
"""
    )
    path = run(load_pipeline(tmp_path / "patient.toml", load_plugins()), load_plugins(), tmp_path / "runs").path

    found, first = (coach(path, load_plugins(), stage=stage) for stage in (None, "first"))

    assert (found.stage, first.stage) == ("v1.0", "first")
    assert found.scores.untrained > 0.5  # it began where the first stage had ended
    assert first.scores.untrained < 0.2
    assert found.assignments(found.remedies[0])[0].startswith('stages."v1.0".trainer.')


@pytest.mark.parametrize(("model", "verdict"), [("majority_class", "unknown"), ("nearest_neighbors", "good")])
def test_a_learner_without_a_loss_is_judged_only(tmp_path, model, verdict):
    found = coach(train(tmp_path, f"model={{use='core.{model}'}}", "trainer={use='core.fit'}"), load_plugins())

    assert (found.verdict, found.scores.untrained) == (verdict, None)
    assert found.notes == ["gradients and units were not examined: core.fit minimizes no loss over training examples"]


def program(*arguments):
    registry = load_plugins()
    return CliRunner().invoke(make_program(registry), list(map(str, arguments)), obj=registry)


def test_the_command_shows_scores_evidence_and_what_to_write(underfitted):
    result = program("coach", underfitted)

    assert result.exit_code == 0
    text = result.output
    assert "vision.digits, core.mlp, core.supervised" in text
    assert "on train, " in text
    assert "  verdict: underfitting: it is not good on its training examples" in text
    assert "1. the training ended while it made progress [unfinished]" in text
    assert "   try three times as long  --set trainer.steps=120\n" in text
    assert "   try ten times the rate   --set trainer.optimizer.lr=0.002\n" in text


def test_the_answer_as_json(underfitted):
    result = program("coach", underfitted, "--json")

    answer = json.loads(result.output)
    assert (answer["verdict"], answer["stage"]) == ("underfitting", "pipeline")
    assert 0.05 < answer["scores"]["left"] < 0.9
    assert [each["rule"] for each in answer["findings"]] == ["unfinished"]
    assert answer["findings"][0]["remedies"][0] == {
        "name": "three times as long",
        "set": {"trainer.steps": 120},
    }
    assert Run(underfitted).coach() == answer
    assert Run(underfitted).coach(target=0.3)["verdict"] == "good"


def test_the_remedies_as_a_sweep(underfitted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    result = program("coach", underfitted, "--sweep", "try.toml")

    assert "to try all of them:  dlpipe sweep try.toml --seeds 3" in result.output
    sweep = tomllib.loads((tmp_path / "try.toml").read_text())["sweep"]
    assert sweep == {
        "remedy": {
            "unchanged": {},
            "three times as long": {"trainer.steps": 120},
            "ten times the rate": {"trainer.optimizer.lr": 0.002},
        }
    }
    swept = program("sweep", "try.toml", "--json")
    assert swept.exit_code == 0, swept.output
    (folder,) = (tmp_path / "runs" / "patient" / "sweeps").glob("2*")
    scores = {row["label"]: row["mean"] for row in json.loads((folder / "table.json").read_text())["trials"]}
    assert scores["ten times the rate"] > scores["unchanged"] + 0.1


def test_each_change_is_tried_once_and_under_a_name_of_its_own(tmp_path):
    remedies = [
        Remedy("longer", {"trainer.steps": 5}),
        Remedy("longer", {"trainer.steps": 6}),
        Remedy("as long", {"trainer.steps": 5}),
        Remedy("unchanged", {"trainer.steps": 7}),
    ]

    found = Diagnosis(tmp_path, "", "", None, "unknown", [], [Finding("t", "e", "r", remedies)])

    assert {each.name: each.values["trainer.steps"] for each in found.remedies} == {
        "longer": 5,
        "longer (2)": 6,
        "unchanged (2)": 7,
    }


def test_the_commands_are_those_of_this_stage_target_and_permission(tmp_path):
    scores = Scores("digits/accuracy", "max", 0.5, 0.5, "dev", 100, 0.1, target=0.9)
    found = Diagnosis(tmp_path / "run", "v 1", "", scores, "unknown", [], [])
    plain = replace(found, stage="", scores=None)
    (tmp_path / "run").mkdir()

    assert plain.command == f"dlpipe coach {tmp_path}/run"
    assert sweep_command(plain, tmp_path / "a b.toml") == f"dlpipe sweep '{tmp_path}/a b.toml' --seeds 3"
    (tmp_path / "run" / "mine.py").touch()
    allowed = "--allow-local-plugins"
    assert found.command == f"dlpipe coach {tmp_path}/run {allowed} --stage 'v 1' --target 0.9"
    assert sweep_text(found, tmp_path / "try.toml").splitlines()[:3] == [
        f"# What `{found.command}` advises, each change by itself:",
        f"# dlpipe sweep {tmp_path}/try.toml {allowed} --seeds 3",
        'extends = "run/resolved.toml"',
    ]


def test_a_sweep_overwrites_nothing_and_is_refused_before_anything_is_computed(underfitted, tmp_path):
    (tmp_path / "try.toml").write_text("mine")

    result = program("coach", underfitted, "--sweep", tmp_path / "try.toml")

    assert isinstance(result.exception, InputError)
    assert "try.toml exists; remove it, or choose another name with --sweep FILE" in str(result.exception)
    assert "verdict" not in result.output
    assert (tmp_path / "try.toml").read_text() == "mine"


def test_a_run_that_has_not_begun_is_refused(underfitted, tmp_path):
    shutil.copytree(underfitted, tmp_path / "run")
    provenance = json.loads((tmp_path / "run" / "provenance.json").read_text())
    (tmp_path / "run" / "provenance.json").write_text(json.dumps(provenance | {"stages": {}}))

    result = program("coach", tmp_path / "run")

    assert isinstance(result.exception, InputError)
    assert "run has not begun its training; train it first: dlpipe resume" in str(result.exception)


def test_an_agent_is_judged_where_it_acts(tmp_path):
    pipeline = load_pipeline(ROOT / "pipelines" / "dqn_cartpole.toml", load_plugins(), ["trainer.timesteps=1500"])
    path = run(pipeline, load_plugins(), tmp_path / "runs", fast=True).path

    found = coach(path, load_plugins())

    assert found.scores.train is None
    assert found.notes == ["gradients and units were not examined: rl.dqn minimizes no loss over training examples"]
    assert (found.verdict, [each.rule for each in found.findings]) == ("not learned", ["no-gain"])
    assert found.findings[0].remedies[0].values == {"trainer.timesteps": 4500}


@pytest.mark.parametrize("target", ["nan", "inf"])
def test_a_target_that_is_not_finite_is_refused(underfitted, target):
    result = program("coach", underfitted, "--target", target)

    assert str(result.exception) == f"target {target}: expected a finite number"


def test_the_metric_that_decides_is_that_of_the_curve_on_dev(tmp_path):
    changes = ["data.label_noise=0.4", "data.limit=500", "evaluators.loss={use='core.loss'}"]
    monitored = ["trainer.monitor=dev/loss/loss", "trainer.goal=min"]

    found = coach(train(tmp_path, *changes, *monitored), load_plugins())

    (late,) = [each for each in found.findings if each.rule == "late"]
    best, last = re.match(r"on dev (\S+) at step \d+ and (\S+) at the end", late.evidence).groups()
    assert 1 > float(best) > float(last) > 0.5  # accuracies, as scores are; the loss is what selects checkpoints


def test_the_steps_are_those_that_were_taken_not_those_of_the_best_checkpoint(tmp_path):
    changes = ["trainer.batch_size=full", "trainer.steps=20", "trainer.log_every=2", "trainer.evaluate_every=1"]
    path = train(tmp_path, *changes, "trainer.optimizer.lr=0.05", "data.label_noise=0.9")

    found = coach(path, load_plugins())

    (few,) = [each for each in found.findings if each.rule == "few-steps"]
    assert few.evidence.endswith("20 steps in all")
    assert json.loads((path / "metrics.jsonl").read_text().splitlines()[-1])["step"] < 20  # the best one was tested


def test_the_loss_of_an_agent_is_not_to_fall(tmp_path):
    changes = ["trainer.steps=12", "trainer.log_every=1", "trainer.evaluate_every=4", "evaluators.play.episodes=2"]
    pipeline = load_pipeline(ROOT / "pipelines" / "reinforce_cartpole.toml", load_plugins(), changes)
    path = run(pipeline, load_plugins(), tmp_path / "runs").path
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    grown = [
        record | ({"train/loss": 10.0**number} if "train/loss" in record else {}) for number, record in enumerate(lines)
    ]
    (path / "metrics.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in grown))

    assert "diverging" not in [each.rule for each in coach(path, load_plugins()).findings]
    assert sum("train/loss" in record for record in grown) >= 10
