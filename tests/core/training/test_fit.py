"""core.fit: one step with all examples, a model whose sizes are learned, and what it refuses."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from dlpipe.compute import Compute
from dlpipe.config.check import load_pipeline
from dlpipe.data import Columns, Ragged
from dlpipe.engine.execute import run
from dlpipe.errors import DlpipeError, InputError
from dlpipe.registry.loading import load_plugins
from dlpipe.training.fit import Fit

#: A model that keeps what it has learned where no checkpoint finds it.
FORGETFUL = """
import torch
from dlpipe import ModelSpec, hookimpl

@hookimpl
def dlpipe_models():
    return [ModelSpec("model", ":Model", "remembers an object")]

class Model(torch.nn.Module):
    def fit(self, images, targets):
        self.best = targets.mode().values

    def forward(self, images):
        return torch.nn.functional.one_hot(self.best, 10).float().expand(len(images), -1)
"""
PIPELINE = """
name = "forgetful"
plugins = ["./forgetful.py"]
[data]
use = "vision.digits"
limit = 50
[model]
use = "forgetful.model"
[trainer]
use = "core.fit"
[evaluators.digits]
use = "core.loss"
"""
CPU = Compute(torch.device("cpu"))


class Means(nn.Module):
    """Remembers the mean point of each class."""

    means: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("means", torch.empty(0, 0))

    def fit(self, points: Tensor, targets: Tensor, seed: int) -> Mapping[str, float]:
        self.seen = points, seed
        self.means = torch.stack([points[targets == number].mean(0) for number in targets.unique()])
        return {"spread": float(self.means.std())}

    def forward(self, points: Tensor) -> Tensor:
        return -torch.cdist(points, self.means)


class Points:
    def __init__(self, split):
        self._split = split

    def split(self, name):
        return self._split


def columns(**more):
    points = torch.arange(12.0).view(6, 2)
    return Columns({"points": points, "targets": torch.tensor([0, 0, 1, 1, 2, 2]), **more})


def test_the_model_gets_the_columns_that_it_names_all_examples_at_once_and_in_order():
    model = Means()
    lengths = torch.tensor([3, 1, 2, 1, 1, 1])
    trainer = Fit(model, Points(columns(words=Ragged(torch.arange(9), lengths))), CPU, 7)

    metrics = next(trainer.steps())

    points, seed = model.seen
    assert torch.equal(points, torch.arange(12.0).view(6, 2))
    assert seed == 7
    assert metrics["spread"] == pytest.approx(float(model.means.std()))
    assert trainer.total_steps == 1


def test_images_are_prepared_as_for_an_evaluation():
    def prepare(batch, generator, training):
        assert not training
        return batch | {"points": batch["points"] / 2}

    split = columns()
    split.prepare = prepare
    model = Means()

    next(Fit(model, Points(split), CPU, 7).steps())

    assert torch.equal(model.seen[0], torch.arange(12.0).view(6, 2) / 2)


class Endless(IterableDataset):
    def __iter__(self):
        return iter(())


class Needy(Means):
    def fit(self, points, weights):
        raise AssertionError


@pytest.mark.parametrize(
    ("model", "split", "message"),
    [
        (nn.Linear(2, 2), columns(), r"core.fit got a model of type Linear, which has no method fit\(\); choose"),
        (Means(), Endless(), r"needs all examples at once, but this data is an endless stream \(Endless\)"),
        (Needy(), columns(), "Needy.fit needs the column 'weights', but the data has points, targets"),
    ],
)
def test_what_cannot_be_fitted_is_refused(model, split, message):
    with pytest.raises(InputError, match=message):
        next(Fit(model, Points(split), CPU, 7).steps())


def test_a_model_that_forgets_what_it_learned_is_refused_before_the_run(tmp_path):
    (tmp_path / "forgetful.py").write_text(FORGETFUL)
    (tmp_path / "forgetful.toml").write_text(PIPELINE)
    registry = load_plugins()
    pipeline = load_pipeline(tmp_path / "forgetful.toml", registry, allow_local_plugins=True)

    with pytest.raises(DlpipeError, match=r"'Model' object has no attribute 'best' \(.*forgetful.py:14"):
        run(pipeline, registry, tmp_path / "runs", rehearsal=True)
