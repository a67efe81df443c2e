"""Training in float16."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dlpipe.compute import Compute
from dlpipe.config.check import load_pipeline
from dlpipe.data.columns import Columns
from dlpipe.engine.execute import run
from dlpipe.errors import InputError, NonFiniteError, PipelineError
from dlpipe.registry.loading import load_plugins
from dlpipe.training.supervised import Supervised

HALF = Compute(torch.device("cpu"), torch.float16)


class Vectors:
    splits = ("train",)

    def __init__(self, scale=1.0):
        generator = torch.Generator().manual_seed(3)
        self._vectors = scale * torch.randn(24, 5, generator=generator)
        self._targets = torch.randint(3, (24,), generator=generator)

    def split(self, name):
        return Columns({"vectors": self._vectors, "targets": self._targets})


class Classifier(nn.Module):
    """Scores 3 classes for 5 numbers; its gradients are multiplied by `gain`."""

    def __init__(self, gain=1.0):
        super().__init__()
        self.gain, self.layer = gain, nn.Linear(5, 3)

    def forward(self, vectors):
        scores = self.layer(vectors)
        return scores if self.gain == 1 else Amplified.apply(scores, self.gain)


class Amplified(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, gain):
        ctx.gain = gain
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.gain, None


def trainer(compute=HALF, gain=1.0, **options):
    torch.manual_seed(5)
    given = {"batch_size": 8, "optimizer": {"use": "sgd", "lr": 0.1}} | options
    return Supervised(Classifier(gain), Vectors(), compute, 7, **given)


def steps(made, count):
    return [
        {name: float(value) for name, value in metrics.items()}
        for _, metrics in zip(range(count), made.steps(), strict=False)
    ]


def test_float16_learns_what_float32_learns_also_with_clipped_gradients():
    for options in ({}, {"max_grad_norm": 0.1}, {"gradient_accumulation_steps": 2}):
        half, whole = (steps(trainer(compute, **options), 6) for compute in (HALF, Compute(torch.device("cpu"))))

        for found, expected in zip(half, whole, strict=True):
            assert found.pop("skipped") == 0
            assert found == pytest.approx(expected, rel=0.01)


def test_a_step_that_overflows_is_skipped_and_the_loss_scaled_less():
    made = trainer(gain=32.0, ema_decay=0.5, warmup_steps=9)  # 65504 is the largest number in float16
    before = copy.deepcopy(made._live.state_dict())

    (first,) = steps(made, 1)

    assert first == {"skipped": 1.0}
    assert made.state_dict()["loss_scale"]["scale"] == 2.0**15
    assert_close(made._live.state_dict(), before, rtol=0, atol=0)
    assert made.log_values()["lr"] == trainer(warmup_steps=9).log_values()["lr"]
    later = steps(made, 9)
    assert later[-1]["skipped"] == 0
    assert later[-1]["loss"] > 0


def test_a_resumed_run_continues_with_the_same_factor():
    made = trainer(gain=32.0)
    steps(made, 3)
    state, weights = copy.deepcopy(made.state_dict()), copy.deepcopy(made._live.state_dict())
    expected = steps(made, 4)

    resumed = trainer(gain=32.0)
    resumed._live.load_state_dict(weights)
    resumed.load_state_dict(state)

    assert steps(resumed, 4) == expected


PIPELINE = """
name = "half"
device = "cpu"
threads = 1
precision = "float16"
[data]
use = "vision.digits"
limit = 60
[model]
use = "core.mlp"
hidden = [4]
[trainer]
use = "core.supervised"
steps = 40
log_every = 5
optimizer = { use = "sgd", lr = 1e30 }
[evaluators.loss]
use = "core.loss"
"""


def pipeline_of(folder, *assignments):
    (folder / "mine.toml").write_text(PIPELINE)
    return load_pipeline(folder / "mine.toml", load_plugins(), assignments)


@pytest.mark.slow
def test_gradients_that_are_not_finite_without_a_factor_end_the_run(tmp_path):
    with pytest.raises(NonFiniteError, match=r"step \d+: train/skipped is nan. The first non-finite tensor is the"):
        run(pipeline_of(tmp_path), load_plugins(), tmp_path / "runs", fresh=True)


def test_an_optimizer_that_cannot_skip_a_step_is_refused():
    with pytest.raises(
        InputError, match=r'^precision = "float16": the optimizer lbfgs computes the loss several times'
    ):
        trainer(optimizer={"use": "lbfgs"})


def test_a_trainer_that_does_not_scale_its_loss_is_refused(tmp_path):
    with pytest.raises(
        PipelineError, match=r'precision = "float16": \[trainer\] use = "core.no_training" does not scale its loss'
    ):
        pipeline_of(tmp_path, "trainer={use='core.no_training'}")
