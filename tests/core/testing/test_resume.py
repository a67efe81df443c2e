"""`check_resume` finds what a trainer forgets, also where it would matter later only."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dlpipe.testing import check_resume

PLUGIN = '''
import torch
from torch import nn
from dlpipe import DataSpec, ModelSpec, TrainerSpec, hookimpl
from dlpipe.fields import Positive

class Nothing:
    splits, facts = ("train",), {}
    def split(self, name): return None
    def state(self): return {}
    def restore(self, state): pass
    def fingerprint(self): return "nothing"

class Number(nn.Module):
    def __init__(self):
        super().__init__()
        self.value = nn.Parameter(torch.zeros(3))
    def forward(self): return self.value

class Count:
    """Counts.

    Args:
        late: the step from which on it counts, and the count matters.
        saved: save the count.
    """
    steps_per_epoch = 5
    def __init__(self, model, data, compute, seed: int, *, late: Positive = 1, saved: bool = False):
        self.model, self.late, self.saved = model, late, saved
        self.step, self.count, self.seen, self.names = 0, 0, 0, {"a": [torch.zeros(2)]}
    def steps(self):
        while True:
            self.step, self.seen = self.step + 1, self.seen + 1
            self.count += self.step >= self.late
            self.names["a"][0] += 1
            with torch.no_grad():
                self.model.value += self.count if self.step >= self.late else 1
            yield {"loss": self.model.value.sum().detach()}
    def log_values(self): return {}
    def on_score(self, score, goal): pass
    def state_dict(self):
        return {"step": self.step, "names": self.names["a"][0]} | ({"count": self.count, "seen": self.seen} if self.saved else {})
    def load_state_dict(self, state):
        self.step, self.names = state["step"], {"a": [state["names"]]}
        self.count, self.seen = state.get("count", 0), state.get("seen", 0)

@hookimpl
def dlpipe_data(): return [DataSpec("nothing", ":Nothing", "nothing")]
@hookimpl
def dlpipe_models(): return [ModelSpec("number", ":Number", "a number")]
@hookimpl
def dlpipe_trainers(): return [TrainerSpec("count", ":Count", "counts")]
'''
PIPELINE = """
name = "count"
plugins = ["./toy.py"]
[data]
use = "toy.nothing"
[model]
use = "toy.number"
[trainer]
use = "toy.count"
steps = 9
"""
STAGES = """
name = "count"
plugins = ["./toy.py"]
[stages.first.data]
use = "toy.nothing"
[stages.first.model]
use = "toy.number"
[stages.first.trainer]
use = "toy.count"
steps = 4
saved = true
[stages.second.data]
use = "toy.nothing"
[stages.second.model]
use = "toy.number"
[stages.second.trainer]
use = "toy.count"
steps = 3
"""


@pytest.fixture
def check(project_of):
    """Check the pipeline with changes."""

    def check(*assignments, pipeline=PIPELINE, **options):
        folder = project_of(PLUGIN, pipeline)
        check_resume("points.toml", folder / "runs", assignments=assignments, allow_local_plugins=True, **options)
        return sorted(path.name for path in (folder / "runs").iterdir())

    return check


def test_a_state_that_matters_late_is_missed(check):
    with pytest.raises(AssertionError, match=r"stopped after step 8: at step 9, train/loss is .*, uninterrupted"):
        check("trainer.late=8", ignore=["seen"])

    check("trainer.late=8", ignore=["seen", "count"], stops=(1, 2, 5))  # what the default once was


def test_stops_are_spread_over_the_whole_run(check):
    assert check("trainer.saved=true") == ["stopped-1", "stopped-3", "stopped-6", "stopped-8", "whole"]


def test_each_stage_is_stopped(check):
    with pytest.raises(AssertionError, match="stopped after step 1 of second: at step 2, train/loss is"):
        check(pipeline=STAGES)

    assert check("stages.second.trainer.saved=true", pipeline=STAGES) == [
        *(f"stopped-first-{step}" for step in (1, 2, 3)),
        *(f"stopped-second-{step}" for step in (1, 2)),
        "whole",
    ]


def test_an_attribute_that_differs_at_the_end_is_named_although_no_metric_shows_it(check):
    with pytest.raises(AssertionError) as caught:
        check("trainer.late=100", stops=[4])

    assert str(caught.value) == (
        "stopped after step 4: seen of the trainer differs at the end of the run from that of an uninterrupted one "
        "(5, uninterrupted 9); save it in state_dict() and restore it in load_state_dict(). If no later step depends "
        'on it: check_resume(…, ignore=["seen"])'
    )


def test_an_attribute_that_may_differ_can_be_named(check):
    check("trainer.late=100", stops=[4], ignore=["seen"])


def test_a_run_of_one_step_has_nothing_to_resume(check):
    with pytest.warns(UserWarning, match="the run takes one step, so there is nothing to resume"):
        assert check("trainer.steps=1") == ["whole"]


def test_a_run_of_two_steps_is_stopped_after_the_first(check):
    assert check("trainer.steps=2", "trainer.saved=true") == ["stopped-1", "whole"]


def test_a_stop_behind_the_end_of_the_run_is_refused(check):
    with pytest.raises(AssertionError, match=r"stops = \(4, 9\): the run ended after step 9, so it cannot be stopped"):
        check("trainer.saved=true", stops=(4, 9))


def test_the_public_names_are_imported_without_torch():
    code = "import sys; from dlpipe.testing import component_checks; print('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
