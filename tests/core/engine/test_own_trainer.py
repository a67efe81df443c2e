"""A trainer that has everything a trainer may have, and a run that is used without items."""

from __future__ import annotations

import json
import os
import re

import pytest
from click.testing import CliRunner

from dlpipe.cli import make_program
from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import run
from dlpipe.errors import DlpipeError, PipelineError, PluginError
from dlpipe.registry.loading import load_plugins
from dlpipe.testing import check_resume

pytestmark = pytest.mark.usefixtures("without_report")

PLUGIN = '''
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from dlpipe import DataSpec, EvaluatorSpec, ModelSpec, TrainerSpec, hookimpl
from dlpipe.runs.checkpoint import StateBlock
from dlpipe.fields import Positive

class World:
    splits = ("train", "dev", "test")
    facts = {"num_inputs": 3}
    def split(self, name): return None
    def state(self): return {}
    def restore(self, state): pass
    def fingerprint(self): return "world"
    def close(self): Path("closed.txt").write_text("data")

class Agent(nn.Module):
    def __init__(self, num_inputs: int):
        super().__init__()
        self.score = nn.Linear(num_inputs, 1)
    def forward(self, points): return self.score(points)

class Remember:
    """Remembers what it sees in a ring of four parts, and learns from one of the memories.

    Args:
        moves: how often to move; two moves make a step.
        forgetful: forget to save the memories.
    """
    SIZE, PART = 12, 3
    def __init__(self, model, data, compute, seed: int, *, moves: Positive | None = None, forgetful: bool = False,
                 warned: bool = False, unrepeatable: bool = False, warned_late: bool = False):
        self.model, self.steps_per_epoch = model, None
        self.total_steps = moves // 2 if moves else None
        self.caveats = ["the world cannot be saved"] if warned else []
        self.memory, self.count, self.forgetful = torch.zeros(self.SIZE, 3), 0, forgetful
        self.unrepeatable, self.warned_late = unrepeatable, warned_late
    def steps(self):
        while True:
            for _ in range(2):
                self.memory[self.count % self.SIZE] = torch.randn(3)
                self.count += 1
            seen = self.memory[int(torch.randint(min(self.count, self.SIZE), ()))]
            loss = (self.model(seen) - seen.sum()).square().mean()
            self.model.zero_grad()
            loss.backward()
            with torch.no_grad():
                for parameter in self.model.parameters():
                    parameter -= 0.01 * parameter.grad
            yield {"loss": loss.detach()}
    def log_values(self): return {"moves": self.count}
    def on_score(self, score, goal): pass
    def state_dict(self): return {"count": self.count}
    def load_state_dict(self, state):
        self.count = state["count"] + self.unrepeatable
        if self.warned_late: self.caveats = ["the world is another one now"]
    def state_blocks(self):
        writes = [sum(1 for at in range(self.count) if at % self.SIZE // self.PART == part) for part in range(4)]
        return {f"part-{part}": StateBlock(writes[part], {"seen": self.memory[part * self.PART:(part + 1) * self.PART]})
                for part in range(4) if writes[part]}
    def load_state_blocks(self, blocks):
        for name, tensors in blocks:
            part = int(name[5:])
            if not self.forgetful:
                self.memory[part * self.PART:(part + 1) * self.PART] = tensors["seen"]
    def close(self): Path("closed-trainer.txt").write_text("trainer")

class Judge:
    primary, goal = "score", "max"
    def __init__(self, moves: Positive | None = None): self.moves = moves
    def evaluate(self, model, examples): return {"score": float(model.score.bias.detach()), "moves": float(self.moves)}
    def sample(self, folder, step): (folder / f"step-{step:08d}.txt").write_text(str(step))
    def write(self, folder): pass

class FullDisk(Judge):
    def evaluate(self, model, examples): raise OSError(28, "No space left on device")

def play(model: nn.Module, data, compute, *, episodes: Positive = 1, style: Literal["bold", "shy"] = "bold",
         name: str = "agent", aloud: bool = False, quick: bool = True, output: Path | None = None, log: Path = Path("log.txt")) -> Iterator[dict[str, Any]]:
    """Play.

    Args:
        episodes: how many to play.
        output: a file to write.
    """
    for number in range(episodes):
        yield {"episode": number, "style": style, "name": name, "aloud": aloud, "quick": quick, "bias": float(model.score.bias.detach())}
    if output:
        output.write_text("played")

def echo(model: nn.Module, data, compute, *, items: Sequence[str], mark: str) -> Iterator[dict[str, Any]]:
    for item in items:
        yield {"said": item + mark}

@hookimpl
def dlpipe_data(): return [DataSpec("world", ":World", "a world", facts=("num_inputs",), application="APPLICATION")]
@hookimpl
def dlpipe_models(): return [ModelSpec("agent", ":Agent", "an agent")]
@hookimpl
def dlpipe_trainers(): return [TrainerSpec("remember", ":Remember", "remembers", budget=("moves",))]
@hookimpl
def dlpipe_evaluators(): return [EvaluatorSpec("judge", ":Judge", "judges", from_trainer=("moves",)), EvaluatorSpec("full_disk", ":FullDisk", "cannot write", from_trainer=("moves",))]
'''

PIPELINE = """
name = "world"
plugins = ["./own.py"]
[data]
use = "own.world"
[model]
use = "own.agent"
[trainer]
use = "own.remember"
moves = 40
evaluate_every = 5
[evaluators.judge]
use = "own.judge"
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(PLUGIN.replace("APPLICATION", ":play"))
    (tmp_path / "world.toml").write_text(PIPELINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLPIPE_ALLOW_LOCAL_PLUGINS", "1")
    return tmp_path


def run_it(project, *assignments, **options):
    registry = load_plugins()
    pipeline = load_pipeline("world.toml", registry, assignments, allow_local_plugins=True)
    return run(pipeline, registry, project / "runs", **options).path


def dlpipe(*arguments):
    return CliRunner().invoke(make_program(registry := load_plugins()), [*map(str, arguments)], obj=registry)


def test_a_budget_of_the_trainers_own_ends_the_run(project):
    folder = run_it(project)

    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-2])
    assert last["step"] == 20


@pytest.mark.parametrize(("steps", "ends"), [("12", 12), ("300", 20)])
def test_the_smaller_of_two_budgets_counts(project, steps, ends):
    folder = run_it(project, f"trainer.steps={steps}")

    assert sorted((folder / "checkpoints").glob("step-*"))[-1].name == f"step-{ends:08d}"


def test_a_trainer_without_any_budget_is_told_that_its_own_would_do(project):
    (project / "world.toml").write_text(PIPELINE.replace("moves = 40\n", ""))

    with pytest.raises(PipelineError, match=r"\[trainer\] has no end; give moves, epochs, steps or minutes"):
        run_it(project)


def test_a_state_in_blocks_is_resumed_exactly(project):
    check_resume("world.toml", project / "checked", stops=(1, 3, 6, 11, 17), allow_local_plugins=True)


def test_a_state_that_is_forgotten_shows(project):
    with pytest.raises(AssertionError, match="stopped after step 6: at step"):
        check_resume(
            "world.toml", project / "c", assignments=["trainer.forgetful=true"], stops=(6,), allow_local_plugins=True
        )


def test_what_may_differ_after_a_resume_is_warned_of_and_written_down(project, capfd):
    folder = run_it(project, "trainer.warned=true")

    assert "warning: [trainer] a resumed run may differ: the world cannot be saved" in capfd.readouterr().err
    told = json.loads((folder / "provenance.json").read_text())
    assert told["caveats"] == {"[trainer]": ["the world cannot be saved"]}
    assert "caveats" not in json.loads((run_it(project) / "provenance.json").read_text())


def test_what_only_a_restored_trainer_knows_is_found_by_the_rehearsal_and_written_down(project, capfd):
    folder = run_it(project, "trainer.warned_late=true", rehearsal=True)

    assert "warning: [trainer] a resumed run may differ: the world is another one now" in capfd.readouterr().err
    told = json.loads((folder / "provenance.json").read_text())
    assert told["caveats"] == {"[trainer]": ["the world is another one now"]}


def test_a_trainer_that_says_that_it_cannot_be_restored_is_not_refused_for_it(project):
    folder = run_it(project, "trainer.warned=true", "trainer.unrepeatable=true", rehearsal=True)

    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
    with pytest.raises(PluginError, match=re.escape("state_dict()['count'] is not the same after load_state_dict()")):
        run_it(project, "trainer.unrepeatable=true", rehearsal=True)


def test_components_are_closed_also_when_a_run_fails(project):
    with pytest.raises(DlpipeError, match=r"^\[evaluators\.judge\] No space left on device"):
        run_it(project, "evaluators.judge.use=own.full_disk")

    assert (project / "closed.txt").read_text() == "data"
    assert (project / "closed-trainer.txt").read_text() == "trainer"


@pytest.mark.parametrize(("assignments", "moves"), [([], 40), (["evaluators.judge.moves=7"], 7)])
def test_an_evaluator_takes_over_a_value_of_the_trainer_unless_it_has_its_own(project, assignments, moves):
    folder = run_it(project, *assignments)

    log = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {line["dev/judge/moves"] for line in log if "dev/judge/moves" in line} == {moves}
    assert dlpipe("evaluate", folder).exit_code == 0


def test_evaluators_write_what_develops_at_each_evaluation(project):
    folder = run_it(project)

    names = sorted(path.name for path in (folder / "samples" / "judge").iterdir())
    assert names == [f"step-{step:08d}.txt" for step in (5, 10, 15, 20)]
    assert not (folder / "figures" / "judge").exists()


def test_a_run_is_applied_with_the_options_of_its_application(project):
    folder = run_it(project)

    done = dlpipe("predict", folder, "--episodes", 2, "--style", "shy", "--name", 7, "--aloud", "--no-quick", "--json")

    assert done.exit_code == 0, done.output
    first, second = map(json.loads, done.output.splitlines())
    assert first | {"bias": 0} == {
        "episode": 0, "style": "shy", "name": "7", "aloud": True, "quick": False, "bias": 0,
    }  # fmt: skip
    assert second["episode"] == 1


def test_options_have_the_applications_defaults(project):
    answer = json.loads(dlpipe("predict", run_it(project), "--json").output)

    assert {**answer, "bias": 0} == {
        "episode": 0, "style": "bold", "name": "agent", "aloud": False, "quick": True, "bias": 0,
    }  # fmt: skip


def test_a_file_that_the_user_has_not_named_is_not_overwritten(project):
    folder = run_it(project)
    (project / "log.txt").symlink_to("photos.png")  # also if it is a link

    refused, named = dlpipe("predict", folder), dlpipe("predict", folder, "--log", "log.txt")

    assert str(refused.exception) == (
        "log.txt exists; choose another name with --log FILE, or overwrite it with --log log.txt"
    )
    assert named.exit_code == 0


def test_another_checkpoint_can_be_applied(project):
    folder = run_it(project, "trainer.keep=9")

    answers = [json.loads(dlpipe("predict", folder, "--checkpoint", which, "--json").output) for which in (5, "last")]

    assert answers[0]["bias"] != answers[1]["bias"]


def test_help_lists_the_options_of_the_run(project):
    done = dlpipe("predict", run_it(project), "--help")

    assert "--episodes EPISODES" in done.output
    assert "How many to play. (default: 1)" in done.output
    assert re.search(r'--log LOG .*\(default: "log\.txt"\)', done.output)
    assert "--checkpoint" in done.output
    assert "--episodes" not in dlpipe("predict", "--help").output


def test_show_tells_how_a_trained_run_is_used(project):
    (project / "shown.toml").write_text(PIPELINE)
    registry = load_plugins()
    load_pipeline("shown.toml", registry, allow_local_plugins=True)

    done = CliRunner().invoke(make_program(registry), ["show", "own.world"], obj=registry)

    assert "dlpipe predict RUN --episodes --style --name --aloud --quick --output --log" in done.output


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--episodes", "no"], "--episodes no: expected a whole number above 0"),
        (["--style", "loud"], '--style loud: expected one of "bold", "shy"'),
        (["leave taipei", "--aloud"], r"--aloud cannot be combined with items of \S+; leave out --aloud or the items"),
        (["--output", "nowhere/x.txt"], "nowhere/x.txt cannot be used: No such file or directory"),
        (["--checkpoint", "worst"], 'checkpoint "worst": expected best, last or one of the steps 15, 20'),
        (["--stage", "second"], "world has no stage 'second'; it has only one, without a name"),
    ],
)
def test_mistakes_of_options_are_told(project, arguments, text):
    folder = run_it(project)

    done = dlpipe("predict", os.path.relpath(folder), *arguments)

    assert isinstance(done.exception, DlpipeError)
    assert re.search(text, str(done.exception)), done.exception


def test_an_unknown_option_names_the_nearest(project):
    done = dlpipe("predict", run_it(project), "--episode", "3")

    assert done.exit_code == 2
    assert "--episodes" in done.output


def test_an_application_may_take_items(project):
    (project / "own.py").write_text(PLUGIN.replace("APPLICATION", ":echo"))
    folder = run_it(project)

    said = dlpipe("predict", folder, "hello", "you", "--mark", "!", "--json")
    missing = dlpipe("predict", folder, "hello")

    assert [json.loads(line)["said"] for line in said.output.splitlines()] == ["hello!", "you!"]
    assert str(missing.exception) == "missing option --mark: expected a string"
