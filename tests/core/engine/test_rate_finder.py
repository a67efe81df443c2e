"""`dlpipe plan --find-lr`: a range test suggests a rate that learns and does not diverge."""

from __future__ import annotations

import json
import math
import tomllib

import pytest
from click.testing import CliRunner
from PIL import Image

from dlpipe.commands.plan import plan as command
from dlpipe.config.check import load_pipeline
from dlpipe.engine.build import build_for_training
from dlpipe.engine.inference import find_in
from dlpipe.engine.measure import stepper
from dlpipe.engine.rate_finder import MOST_ATTEMPTS, _diverges, _step_not_skipped, find_rate, suggestions
from dlpipe.errors import InputError
from dlpipe.registry.loading import load_plugins

PLUGIN = """
import torch
from torch import nn
from dlpipe import DataSpec, ModelSpec, TrainerSpec, hookimpl
from dlpipe.data import Columns

class Points:
    facts, splits = {}, ("train",)
    def split(self, name):
        points = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
        return Columns({"points": points, "targets": points.sum(1, keepdim=True)})
    def state(self): return {}
    def restore(self, state): pass
    def fingerprint(self): return ""

class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.score = nn.Linear(3, 1)
    def forward(self, points):
        return self.score(points)

@hookimpl
def dlpipe_data(): return [DataSpec("points", ":Points", "points")]
@hookimpl
def dlpipe_models(): return [ModelSpec("line", ":Line", "a line")]
"""
#: Gradient descent on a quadratic: it diverges above 2 divided by the largest curvature.
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
batch_size = "full"
loss = "mse"
optimizer = { use = "sgd", lr = 1e-6 }
"""
RANGE = {"lowest": 1e-5, "highest": 100.0, "steps": 100}


@pytest.fixture
def project(project_of):
    return project_of(PLUGIN, PIPELINE)


def load(*assignments):
    return load_pipeline("points.toml", load_plugins(), assignments, allow_local_plugins=True)


def losses_with(rate):
    """Return the losses of 40 steps with a rate."""
    pipeline = load(f"trainer.optimizer.lr={rate}")
    components = build_for_training(pipeline.settings, pipeline.stages[""], find_in({}, pipeline))
    take_step = stepper(pipeline.stages[""], components.trainer)
    return [float(take_step()["loss"]) for _ in range(40)]


def test_the_suggestion_learns_and_lies_below_the_rate_that_diverges(project):
    found = find_rate(load(), "", {}, **RANGE)

    learned, diverged = losses_with(found.suggested), losses_with(found.rates[-1])

    assert found.stopped.startswith("the loss diverges at a rate of ")
    assert found.suggested <= min(found.steepest, found.minimum) * 1.05
    assert learned[-1] < 0.5 * learned[0]
    assert not diverged[-1] < 4 * diverged[0]  # it may be NaN
    assert found.suggested < found.rates[-1] / 5


def test_the_rates_grow_exponentially_over_the_range_and_the_loss_is_smoothed_as_in_fastai(project):
    found = find_rate(load(), "", {}, lowest=1e-6, highest=1e-4, steps=21)

    assert found.stopped == "after 21 steps at a rate of 0.0001"
    assert found.rates == pytest.approx([1e-6 * 10 ** (place / 10) for place in range(21)])
    raw, mean = [], 0.0
    pipeline = load("trainer.optimizer.lr=1e-6", f"trainer.schedule={{use='exponential', gamma={10**0.1}}}")
    components = build_for_training(pipeline.settings, pipeline.stages[""], find_in({}, pipeline))
    take_step = stepper(pipeline.stages[""], components.trainer)
    for number in range(1, 22):
        mean = 0.98 * mean + 0.02 * float(take_step()["loss"])
        raw.append(mean / (1 - 0.98**number))
    assert found.losses == pytest.approx(raw)


def test_warm_up_schedule_and_the_rate_of_the_file_do_not_count(project):
    file = ("trainer.warmup_steps=50", "trainer.schedule={use='cosine_annealing'}", "trainer.optimizer.lr=5.0")

    found, plain = find_rate(load(*file), "", {}, **RANGE), find_rate(load(), "", {}, **RANGE)

    assert (found.rates, found.losses) == (plain.rates, plain.losses)
    assert (found.now, plain.now) == (5.0, 1e-6)


def test_steepest_descent_and_a_tenth_of_the_minimum_are_suggested():
    rates = [10.0 ** (place / 10) for place in range(30)]
    losses = [9.0] * 10 + [8.9, 8.5, 6.0, 5.5, 5.0, 4.9] + [5.0 + place for place in range(14)]

    assert suggestions(rates, losses, "core.supervised") == (rates[12], rates[15] / 10)


def test_a_loss_that_does_not_fall_gives_no_suggestion():
    rates = [10.0 ** (place / 10) for place in range(30)]

    with pytest.raises(InputError, match=r"the loss of core.supervised falls at none of the 30 rates from 1 on"):
        suggestions(rates, [1.0 + place for place in range(30)], "core.supervised")
    with pytest.raises(
        InputError, match=r"is not a number in the first step; choose a lower first rate with --lr-from"
    ):
        suggestions([], [], "core.supervised")


@pytest.mark.parametrize(
    ("lowest", "last", "diverges"),
    [
        (0.5, 2.1, True),
        (0.5, 1.9, False),
        (-3.0, 2.0, False),
        (-3.0, 12.1, True),
        (-0.1, 3.0, False),
        (-0.1, 6.3, True),
    ],
)
def test_a_loss_diverges_that_is_four_times_its_lowest_or_has_risen_by_three_times_its_fall(lowest, last, diverges):
    assert _diverges([2.0, lowest, last]) == diverges


def test_a_loss_that_falls_once_and_diverges_asks_for_a_lower_rate():
    with pytest.raises(
        InputError, match=r"core.supervised falls at only the first of the 3 rates from 0.1 on; choose a lower first"
    ):
        suggestions([0.1, 0.2, 0.4], [2.0, 1.5, 9.0], "core.supervised")


def test_a_loss_that_is_no_number_ends_the_test(project):
    found = find_rate(load(), "", {}, lowest=1e-3, highest=1e30, steps=40)

    assert all(math.isfinite(loss) for loss in found.losses)


def test_a_step_that_is_skipped_in_float16_is_repeated_with_the_same_rate(project):
    half, whole = (find_rate(load(f"precision={kind}"), "", {}, **RANGE) for kind in ("'float16'", "'float32'"))

    count = min(len(half.rates), len(whole.rates))
    assert count > 50
    assert half.rates[:count] == pytest.approx(whole.rates[:count])
    assert half.losses[:20] == pytest.approx(whole.losses[:20], rel=0.01)


def test_gradients_that_always_overflow_in_float16_are_said_to(project_of):
    project_of(PLUGIN.replace("points.sum(", "1e9 * points.sum("), PIPELINE)

    with pytest.raises(
        InputError,
        match=r"\[trainer\] core.supervised: the gradients overflow in float16 at a rate of 1e-05 with any factor of the "
        r'loss; set precision = "bfloat16" or "float32"',
    ):
        find_rate(load("precision='float16'"), "", {}, **RANGE)


def test_gradients_that_overflow_in_float16_at_a_large_rate_end_the_test(project_of):
    forward = "self.calls = getattr(self, 'calls', 0) + 1; return self.score(points)"
    project_of(PLUGIN.replace("return self.score(points)", f"{forward} * (1 if self.calls < 70 else 1e9)"), PIPELINE)

    found = find_rate(load("precision='float16'"), "", {}, **RANGE)

    assert found.stopped.startswith("the gradients overflow in float16 at a rate of 0.")
    assert 40 < len(found.rates) < 70


def test_a_step_is_not_repeated_for_ever():
    attempts = iter([{"skipped": 1.0}] * 99)

    assert _step_not_skipped(lambda: next(attempts)) == {"skipped": 1.0}
    assert len(list(attempts)) == 99 - MOST_ATTEMPTS


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"lowest": 0.0}, r"from 0 to 100 in 100 steps: expected two rates above 0, the second one larger"),
        ({"lowest": 200.0}, r"from 200 to 100 in 100 steps"),
        ({"steps": 19}, r"in 19 steps: .* at least 20 steps"),
    ],
)
def test_a_range_that_is_none_is_refused(project, options, text):
    with pytest.raises(InputError, match=text):
        find_rate(load(), "", {}, **RANGE | options)


def test_a_trainer_without_a_rate_is_refused_by_name(project):
    with pytest.raises(InputError, match=r"\[trainer\] core.no_training has no learning rate that can be tested: its "):
        find_rate(load("trainer={use='core.no_training'}"), "", {}, **RANGE)


def call(*arguments):
    return CliRunner().invoke(command, ["points.toml", "--allow-local-plugins", *arguments], obj=load_plugins())


def test_the_command_prints_a_patch_draws_a_figure_and_leaves_no_run(project):
    told = call("--find-lr", "--json")
    found = json.loads(told.stdout)["learning_rate"]

    patch = tomllib.loads(found["patch"])

    assert patch == {"trainer": {"optimizer": {"lr": found["suggested"]}}}
    assert load(f"trainer.optimizer.lr={found['suggested']}")
    with Image.open(found["figure"]) as image:
        assert image.size == (768, 456)
    assert {path.name for path in project.iterdir()} <= {"toy.py", "points.toml", "__pycache__", "learning_rates.png"}


def test_the_command_refuses_what_would_have_no_effect_or_overwrite(project):
    (project / "learning_rates.png").write_text("mine")

    exists, unused = call("--find-lr"), call("--lr-steps", "50")

    assert str(exists.exception).startswith("learning_rates.png exists; choose another file with --lr-figure")
    assert str(unused.exception) == "--lr-steps has no effect without --find-lr; leave it out"
    assert (project / "learning_rates.png").read_text() == "mine"
