"""`dlpipe plan --tune`: which settings are faster, and what they change, with a clock that only a model moves."""

from __future__ import annotations

import json
import tomllib
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

from dlpipe.commands.plan import plan as command
from dlpipe.config.check import load_pipeline
from dlpipe.data import Columns
from dlpipe.engine import measure, tuning
from dlpipe.engine.tuning import ALTERNATIVES, Alternative, Comparison, tune
from dlpipe.errors import InputError
from dlpipe.registry.loading import load_plugins
from dlpipe.registry.targets import load_target

PLUGIN = """
import torch
from torch import nn
from dlpipe import DataSpec, ModelSpec, hookimpl
from dlpipe.data import Columns

class Clock:
    now = 0.0
    def __call__(self): return self.now
clock = Clock()

class Points:
    facts, splits = {"num_inputs": 3}, ("train",)
    def split(self, name):
        points = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
        return Columns({"points": points, "targets": (points.sum(1) > 0).long()})
    def state(self): return {}
    def restore(self, state): pass
    def fingerprint(self): return ""

class Line(nn.Module):
    def __init__(self, num_inputs: int, *, cost_of_bfloat16: float = 0.5):
        super().__init__()
        self.score, self.dropout, self.cost = nn.Linear(num_inputs, 2), nn.Dropout(0.5), cost_of_bfloat16
    def forward(self, points):
        low = torch.is_autocast_enabled("cpu")
        clock.now += 0.1 * (self.cost if low else 1.0) * (1 if torch.get_num_threads() == 2 else 1.2)
        return self.score(self.dropout(points))

@hookimpl
def dlpipe_data():
    return [DataSpec("points", ":Points", "points", facts=("num_inputs",))]
@hookimpl
def dlpipe_models():
    return [ModelSpec("line", ":Line", "a line")]
"""
PIPELINE = """
name = "points"
device = "cpu"
threads = 1
plugins = ["./toy.py"]
[data]
use = "toy.points"
[model]
use = "toy.line"
[trainer]
use = "core.supervised"
steps = 100
"""


@pytest.fixture
def tuned(project_of, monkeypatch):
    """Tune the pipeline on a machine that seems to have four cores, with some assignments."""
    project_of(PLUGIN, PIPELINE)
    threads = [3]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda count: threads.__setitem__(0, count))
    monkeypatch.setattr(tuning, "usable_cores", lambda: 4)
    registry = load_plugins()

    def tuned(*assignments, **options):
        def load(more):
            return load_pipeline("points.toml", registry, (*assignments, *more), allow_local_plugins=True)

        load(())
        target = registry.components["model"]["toy.line"].spec.target
        clock = load_target(target.replace(":Line", ":clock"))
        quick = [each for each in ALTERNATIVES if each.key != "compile"]
        return tune(load, "", {}, clock=clock, **{"alternatives": quick} | options)

    return tuned


def test_what_is_faster_is_found_with_what_it_changes(tuned):
    found = tuned()

    assert [each.values for each in found.tried] == [{"threads": 2}, {"threads": 4}, {"precision": "bfloat16"}]
    assert [round(each.gain, 3) for each in found.tried] == [1.2, 1.0, 2.0]
    assert {each.rounds for each in found.tried} == {7}
    two, four, low = found.tried
    assert two.numbers == four.numbers == "same bits"
    assert low.numbers.startswith("changes the numbers (")
    assert 1e-4 < low.difference < 0.1
    assert found.noise == 0.05
    assert found.best.values == {"threads": 2, "precision": "bfloat16"}
    assert found.best.gain == pytest.approx(2.4)
    assert tomllib.loads(found.best.patch) == found.best.values
    assert found.best.patch.startswith("# 2.40 times as fast, the median of 7 rounds; changes the numbers (")
    assert torch.get_num_threads() == 3  # as before


def test_a_gain_within_the_noise_is_none(tuned):
    found = tuned("threads=2", "model.cost_of_bfloat16=0.96")

    assert [round(each.gain, 3) for each in found.tried] == [0.833, 0.833, 1.042]
    assert found.best is None


def test_a_value_that_is_refused_is_reported_and_the_others_are_tried(tuned):
    rows = [
        Alternative("trainer", "ema_decay", lambda stage, data: (2.0, 0.5)),
        Alternative("", "unknown", lambda stage, data: (1,)),
    ]

    found = tuned(alternatives=rows)

    wrong, right = found.tried
    assert wrong.problem.startswith("--set: [trainer] ema_decay = 2.0: expected ")
    assert right.values == {"trainer.ema_decay": 0.5}
    assert right.numbers == "same bits"


def test_a_difference_that_grows_from_rounding_is_rounding(monkeypatch):
    assert Comparison({}, difference=3e-7).numbers == "same up to rounding (3e-07 of a metric in the first steps)"
    first, later = {"loss": 1.0}, {"loss": 2.0}

    assert tuning._difference([first, first], [first, first]) is None
    assert tuning._difference([first, later], [first, first]) == 0.5
    assert tuning._difference([{"loss": float("nan")}], [{"loss": float("nan")}]) is None
    assert tuning._difference([first], [{}]) == float("inf")


def test_too_few_steps_are_refused(tuned):
    with pytest.raises(InputError, match="7 steps are too few to compare; expected at least 8"):
        tuned("trainer.steps=7")


def test_workers_are_tried_only_for_data_that_is_read_item_by_item(monkeypatch):
    monkeypatch.setattr(tuning, "usable_cores", lambda: 6)
    row = next(each for each in ALTERNATIVES if each.key == "num_workers")

    class Points:
        def __init__(self, split):
            self._split = split

        def split(self, name):
            return self._split

    assert list(row.values(None, Points([{"points": torch.ones(3)}]))) == [0, 1, 2, 4, 6]
    assert list(row.values(None, Points(Columns({"points": torch.ones(5, 3)})))) == []


@pytest.mark.parametrize(("compiles", "expected"), [(True, [True]), (False, [])])
def test_only_a_trainer_that_compiles_is_tried_compiled(compiles, expected):
    row = next(each for each in ALTERNATIVES if each.key == "compile")
    spec = SimpleNamespace(compile=compiles)

    found = row.values(SimpleNamespace(trainer=SimpleNamespace(component=SimpleNamespace(spec=spec))), None)

    assert list(found) == expected


def test_a_patch_has_tables():
    values = {"threads": 2, "stages.second.trainer.num_workers": 4}

    assert tomllib.loads(Comparison(values).patch) == {
        "threads": 2, "stages": {"second": {"trainer": {"num_workers": 4}}}
    }  # fmt: skip


@pytest.mark.parametrize(("rows", "end"), [((), "this file is as fast as it gets here\n"), (None, 'bfloat16"\n')])
def test_the_command_shows_the_patch_or_that_there_is_none(project_of, monkeypatch, rows, end):
    project_of(PLUGIN, PIPELINE)
    monkeypatch.setattr(measure, "MOST", 3)
    fast = [Comparison({"precision": "bfloat16"}, 2.0, 7)]
    found = tuning.Tuning("", 0.05, fast if rows is None else [], fast[0] if rows is None else None)
    monkeypatch.setattr(tuning, "tune", lambda load, stage, models: found)
    arguments = ["points.toml", "--allow-local-plugins", "--tune"]

    text = CliRunner().invoke(command, arguments, obj=load_plugins()).stdout
    plain = json.loads(CliRunner().invoke(command, [*arguments, "--json"], obj=load_plugins()).stdout)

    assert text.endswith(end)
    assert plain["tuning"] == json.loads(json.dumps(found.plain()))
