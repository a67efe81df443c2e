"""Optimizers, schedules and losses that plugins offer are selected by name, like those of torch."""

from __future__ import annotations

import json
import re
from importlib import metadata

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from dlpipe.commands.list import list_ as list_command
from dlpipe.commands.show import show as show_command
from dlpipe.config.check import load_pipeline
from dlpipe.config.json_schema import pipeline_schema
from dlpipe.engine.execute import run
from dlpipe.errors import InputError, PipelineError
from dlpipe.registry.loading import load_plugins
from dlpipe.runs.identity import identity
from dlpipe.testing import check_resume, comparable_metrics
from dlpipe.training.optimizers import build_optimizer

PLUGIN = '''
import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from dlpipe import DataSpec, LossSpec, ModelSpec, OptimizerSpec, ScheduleSpec, hookimpl
from dlpipe.data import Columns
from dlpipe.fields import NonNegativeFloat, Positive, PositiveFloat

class Points:
    facts, splits = {}, ("train", "dev")
    def split(self, name):
        points = torch.linspace(-1, 1, 72).view(24, 3)
        return Columns({"points": points, "targets": (points.sum(1) > 0).long()})
    def state(self): return {}
    def restore(self, state): pass
    def fingerprint(self): return ""

class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.score = nn.Linear(3, 2)
    def forward(self, points): return self.score(points)

class Lion(torch.optim.Optimizer):
    """Steps in the direction of the sign of a momentum.

    Args:
        lr: of each step.
        beta: of the momentum.
    """
    def __init__(self, params, *, lr: PositiveFloat = 1e-2, beta: NonNegativeFloat = 0.9):
        super().__init__(params, {"lr": lr, "beta": beta})
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                momentum.lerp_(parameter.grad, 1 - group["beta"])
                parameter.sub_(momentum.sign(), alpha=group["lr"])

class Root(LRScheduler):
    def __init__(self, optimizer, *, total_steps: Positive, offset: Positive = 2):
        self.total_steps, self.offset = total_steps, offset
        super().__init__(optimizer)
    def get_lr(self):
        return [lr * (1 - self.last_epoch / self.total_steps) ** 0.5 / self.offset for lr in self.base_lrs]

class Focal(nn.Module):
    def __init__(self, *, gamma: NonNegativeFloat = 2.0):
        super().__init__()
        self.gamma = gamma
        self.register_buffer("weight", torch.tensor([1.0, 3.0]))
    def forward(self, outputs, targets):
        losses = nn.functional.cross_entropy(outputs, targets, self.weight, reduction="none")
        return ((1 - (-losses).exp()) ** self.gamma * losses).mean()

class Trained(Focal):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

class Each(Focal):
    def forward(self, outputs, targets): return nn.functional.cross_entropy(outputs, targets, reduction="none")

def refuses(*, gamma: float = 0.0):
    raise ValueError(f"gamma = {gamma} is too small")

@hookimpl
def dlpipe_data(): return [DataSpec("points", ":Points", "points")]
@hookimpl
def dlpipe_models(): return [ModelSpec("line", ":Line", "a line")]
@hookimpl
def dlpipe_optimizers():
    return [OptimizerSpec("lion", ":Lion", "signs", formerly=("signs",), renamed={"momentum": "beta"}),
            OptimizerSpec("line", ":Line", "none"), OptimizerSpec("far", ":Lion", "far", requires=("no-such-dist",))]
@hookimpl
def dlpipe_schedules(): return [ScheduleSpec("root", ":Root", "falls"), ScheduleSpec("lion", ":Lion", "none")]
@hookimpl
def dlpipe_losses():
    return [LossSpec(name.lower(), f":{name}", "a loss") for name in ("Focal", "Trained", "Each", "refuses", "Points")]
'''
PIPELINE = """
name = "points"
plugins = ["./toy.py"]
[data]
use = "toy.points"
[model]
use = "toy.line"
[trainer]
use = "core.supervised"
steps = 8
log_every = 1
batch_size = 8
optimizer = { use = "toy.lion", lr = 0.02 }
schedule = { use = "toy.root" }
loss = { use = "toy.focal", gamma = 1.5 }
[evaluators.loss]
use = "core.loss"
"""


@pytest.fixture
def project(project_of):
    return project_of(PLUGIN, PIPELINE)


def load(*assignments):
    return load_pipeline("points.toml", load_plugins(), assignments, allow_local_plugins=True)


def metrics_of(project, *assignments):
    return comparable_metrics(run(load(*assignments), load_plugins(), project / "runs", rehearsal=True).path)


def test_they_are_used_with_their_options(project):
    found = metrics_of(project)

    rates = [line["train/lr"] for line in found if "train/lr" in line]
    assert rates == [pytest.approx(0.01 * (1 - step / 8) ** 0.5) for step in range(1, 9)]
    for change in ("trainer.optimizer.beta=0.1", "trainer.schedule.offset=3", "trainer.loss.gamma=0.5"):
        assert metrics_of(project, change) != found
    assert metrics_of(project, "trainer.schedule.total_steps=8") == found
    assert metrics_of(project, "trainer.loss.gamma=0.0") == metrics_of(
        project, "trainer.loss={use='toy.focal', gamma=0}"
    )


def test_a_loss_without_options_may_be_given_by_its_name(project):
    assert metrics_of(project, "trainer.loss=toy.focal") == metrics_of(
        project, "trainer.loss={use='toy.focal', gamma=2}"
    )
    assert metrics_of(project, "trainer.loss={use='mse'}") == metrics_of(project, "trainer.loss=mse")


def test_a_run_with_them_is_resumed_exactly(project):
    check_resume("points.toml", project / "runs", allow_local_plugins=True)


def test_what_was_run_can_be_run_again_from_its_resolved_tables(project):
    folder = run(load(), load_plugins(), project / "runs").path

    again = load_pipeline(folder / "resolved.toml", load_plugins(), allow_local_plugins=True)
    assert again.plain()["trainer"] == load().plain()["trainer"]
    assert again.plain()["trainer"]["optimizer"] == {"use": "toy.lion", "lr": 0.02, "beta": 0.9}
    assert again.plain()["trainer"]["loss"] == {"use": "toy.focal", "gamma": 1.5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "optimizer={use='toy.loin'}",
            '[trainer] optimizer use = "toy.loin": no plugin offers this optimizer. Did you mean "toy.lion"?',
        ),
        ("optimizer={use='adan'}", '[trainer] optimizer use = "adan": unknown optimizer. Did you mean "adam"?'),
        (
            "optimizer={use='mine.lion'}",
            "[trainer] optimizer use = \"mine.lion\": no installed plugin has the namespace 'mine'",
        ),
        (
            "optimizer={use='toy.root'}",
            '[trainer] optimizer use = "toy.root": toy.root is a schedule, not an optimizer.',
        ),
        ("optimizer={use='toy.far'}", '[trainer] optimizer use = "toy.far" needs no-such-dist'),
        ("optimizer.lr=0", "[trainer.optimizer] lr = 0: expected a number above 0"),
        ("optimizer.bet=0.5", '[trainer.optimizer] bet: unknown key of optimizer toy.lion. Did you mean "beta"?'),
        (
            "optimizer.params=3",
            "[trainer.optimizer] params = 3: the optimizer updates the parameters of the model; remove it",
        ),
        (
            "schedule={use='toy.rot'}",
            '[trainer] schedule use = "toy.rot": no plugin offers this schedule. Did you mean "toy.root"?',
        ),
        (
            "schedule.optimizer=3",
            "[trainer.schedule] optimizer = 3: the schedule is that of the trainer's own optimizer",
        ),
        ("loss=toy.vocal", '[trainer] loss use = "toy.vocal": no plugin offers this loss. Did you mean "toy.focal"?'),
        ("loss=crossentropy", '[trainer] loss use = "crossentropy": unknown loss. Did you mean "cross_entropy"?'),
        ("loss={use='mse', gamma=1}", "[trainer.loss] gamma: unknown key of loss mse. It takes no keys."),
        (
            "loss=3",
            '[trainer] loss = 3: expected a name such as "cross_entropy", or a table such as { use = "mine.focal"',
        ),
        (
            "label_smoothing=0.1",
            '[trainer] label_smoothing = 0.1 has an effect only with loss = "auto" or "cross_entropy"',
        ),
    ],
)
def test_a_mistake_in_their_tables_is_named(project, change, message):
    with pytest.raises(PipelineError, match=re.escape(message)):
        load(f"trainer.{change}")


def test_their_former_names_work_with_a_warning(project):
    pipeline = load("trainer.optimizer={use='toy.signs', momentum=0.5}")

    assert pipeline.plain()["trainer"]["optimizer"] == {"use": "toy.lion", "lr": 0.01, "beta": 0.5}
    assert pipeline.warnings == (
        '--set: [trainer] optimizer use = "toy.signs" was renamed to "toy.lion"; use the new name',
        "--set: [trainer.optimizer] momentum was renamed to beta; use the new name",
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "optimizer={use='toy.line'}",
            "[trainer] optimizer toy.line: Line.__init__() takes 1 positional argument but 2 were",
        ),
        ("schedule={use='toy.lion'}", "missing key `params` of schedule toy.lion"),
        (
            "loss='toy.trained'",
            "[trainer] loss toy.trained has the parameter 'scale', which nothing trains; make it a buffer",
        ),
        (
            "loss='toy.each'",
            "[trainer] loss toy.each returns a tensor of shape (8,); expected a tensor with one number",
        ),
        ("loss='toy.refuses'", "[trainer] loss toy.refuses: gamma = 0.0 is too small"),
        ("loss='toy.points'", "[trainer] loss toy.points is Points; expected what maps outputs and targets to a loss"),
    ],
)
def test_one_that_cannot_be_used_is_named_before_the_first_step(project, change, message):
    with pytest.raises(InputError, match=re.escape(message)):
        run(load(f"trainer.{change}"), load_plugins(), project / "runs", rehearsal=True)


def test_a_parameter_list_that_is_empty_is_named(project):
    with pytest.raises(InputError, match="there is no parameter to optimize; choose a model with parameters"):
        build_optimizer([], {"use": "adam"})
    with pytest.raises(
        InputError, match="optimizer toy.lion: expected a name of torch, or a table of a checked pipeline"
    ):
        build_optimizer([nn.Parameter(torch.ones(1))], {"use": "toy.lion"})


def test_commands_show_them(project):
    registry = load_plugins()
    load_pipeline("points.toml", registry, allow_local_plugins=True)

    listed = CliRunner().invoke(list_command, ["optimizers"], obj=registry).output
    shown = CliRunner().invoke(show_command, ["toy.lion"], obj=registry).output
    losses = json.loads(CliRunner().invoke(list_command, ["losses", "--json"], obj=registry).output)["loss"]
    schema = pipeline_schema(registry)["definitions"]

    assert re.search(r"^  adam +torch.optim.Adam$", listed, re.M)
    assert re.search(r"^  toy.lion +signs$", listed, re.M)
    assert "provided by dlpipe or by the data: params" in shown
    assert "lr = 0.01\n      a number above 0: of each step." in shown
    assert [row["name"] for row in losses][:3] == ["auto", "cross_entropy", "mse"]
    assert "toy.focal" in [row["name"] for row in losses]
    assert {table["title"] for table in schema["optimizer"]["oneOf"]} > {"adam", "toy.lion"}
    assert "toy.focal" in schema["loss"]["oneOf"][0]["enum"]


def test_the_plugin_of_an_optimizer_decides_the_result_too(project, entry_point):
    code = (
        PLUGIN[PLUGIN.index("import torch") : PLUGIN.index("class Points")]
        + PLUGIN[PLUGIN.index("class Lion") : PLUGIN.index("class Root")]
    )
    offers = '@hookimpl\ndef dlpipe_optimizers(): return [OptimizerSpec("lion", ":Lion", "signs")]'
    core = metadata.EntryPoint("core", "dlpipe.plugin", "dlpipe.plugins")
    registry = load_plugins({}, [core, entry_point("other", code + offers)])
    pipelines = [
        load_pipeline("points.toml", registry, [f"trainer.optimizer={{use='{name}'}}"], allow_local_plugins=True)
        for name in ("adam", "other.lion")
    ]

    without, with_it = (identity(each, each.stages.values(), torch.device("cpu")) for each in pipelines)

    assert with_it["the version of plugin other"] == "dlpipe-other 1.0"
    assert "the version of plugin other" not in without
    assert with_it["trainer.optimizer.use"] == "other.lion"
