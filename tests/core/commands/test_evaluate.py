"""``dlpipe evaluate``: what it prints."""

from __future__ import annotations

import json
import re
from math import nan

import pytest
from click.testing import CliRunner

from dlpipe.cli import make_program
from dlpipe.errors import InputError
from dlpipe.registry.loading import load_plugins


@pytest.fixture
def dlpipe(toy_run):
    """Run the program with the folder of an untrained run in place of RUN."""
    registry, path = load_plugins(), str(toy_run("tagger").run)

    def dlpipe(*arguments):
        arguments = [path if argument == "RUN" else argument for argument in arguments]
        return CliRunner().invoke(make_program(registry), [*arguments, "--allow-local-plugins"], obj=registry)

    return dlpipe


@pytest.mark.parametrize("command", ["evaluate", "export"])
@pytest.mark.parametrize("key", ["trainer.steps", "trainer.keep"])
def test_a_setting_that_only_a_training_uses_is_refused(dlpipe, command, key):
    answer = dlpipe(command, "RUN", "--set", f"{key}=7")

    assert str(answer.exception) == (
        f"--set {key} has no effect on a trained model; leave it out, or continue the training with it: `dlpipe resume`"
    )


@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_another_model_than_that_of_the_weights_is_refused(dlpipe, command):
    answer = dlpipe(command, "RUN", "--set", 'model.use="toy.line"')

    assert isinstance(answer.exception, InputError)
    assert re.fullmatch(
        r"--set model\.use: the weights of \S+ do not fit such a model; leave it out, or train one: `dlpipe run`",
        str(answer.exception),
    )


@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_the_help_of_set_gives_examples_that_are_accepted(dlpipe, command):
    answer = dlpipe(command, "--help")

    assert "data.path=new_images or data.test=new.csv" in " ".join(answer.output.split())
    assert "trainer.epochs" not in answer.output


def test_a_metric_that_is_not_finite_is_null_in_json(dlpipe, monkeypatch):
    monkeypatch.setattr("dlpipe.engine.inference.evaluate_run", lambda *_, **__: {"slots/f1": nan, "slots/loss": 0.5})

    answer = dlpipe("evaluate", "RUN", "--json")

    assert answer.stdout == '{"slots": {"f1": null, "loss": 0.5}}\n'
    assert json.loads(answer.stdout)
