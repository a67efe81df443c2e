import pytest
import torch
from torch import nn

from dlpipe.data.model_caller import ModelCaller, column_names, columns_needed
from dlpipe.errors import InputError


class Scorer(nn.Module):
    """Names its columns: one needed, one that it can do without."""

    def forward(self, tokens, mask=None):
        return tokens if mask is None else tokens * mask

    def loss(self, scores, targets, *, lengths):
        return (scores - targets).sum() + lengths.sum()

    def predict(self, scores, lengths, temperature=1.0):
        return scores + lengths


class Sorter(nn.Module):
    """Has a forward only."""

    def forward(self, images):
        return images


BATCH = {
    "tokens": torch.tensor([2, 5]),
    "mask": torch.tensor([0, 1]),
    "lengths": torch.tensor([7, 7]),
    "targets": torch.tensor([0, 1]),
}


def test_names_of_parameters_are_told_apart_by_their_defaults():
    def function(first, second, *rest, third, fourth=4, **more):
        pass

    assert column_names(function) == (["first", "second", "third"], ["fourth"])
    assert column_names(function, skip=1) == (["second", "third"], ["fourth"])


def test_forward_gets_the_columns_that_it_names():
    caller = ModelCaller(Scorer(), tuple(BATCH))

    assert caller.outputs(BATCH).tolist() == [0, 5]


def test_an_optional_column_can_be_missing():
    batch = {name: column for name, column in BATCH.items() if name != "mask"}

    assert ModelCaller(Scorer(), tuple(batch)).outputs(batch).tolist() == [2, 5]


def test_predict_gets_the_outputs_first():
    caller = ModelCaller(Scorer(), tuple(BATCH))

    assert caller.predictions(torch.tensor([1, 2]), BATCH).tolist() == [8, 9]


def test_without_predict_the_class_with_the_highest_score_is_predicted():
    caller = ModelCaller(Sorter(), ("images",))

    assert caller.predictions(torch.tensor([[0.1, 3.0, 0.2], [5.0, 0.0, 1.0]]), {}).tolist() == [1, 0]


def test_a_loss_of_the_models_own_is_asked_for_by_its_columns():
    model = Scorer()
    loss = ModelCaller(model, tuple(BATCH)).own_loss()

    assert loss is not None
    assert loss(torch.ones(2), BATCH, None) == model.loss(torch.ones(2), BATCH["targets"], lengths=BATCH["lengths"])
    assert ModelCaller(Sorter(), ("images",)).own_loss() is None


class Warmed(Scorer):
    """A model whose loss depends on the number of steps."""

    def loss(self, scores, targets, step=None):
        return step


def test_a_loss_may_ask_for_the_number_of_steps():
    loss = ModelCaller(Warmed(), tuple(BATCH)).own_loss()

    assert [loss(torch.ones(2), BATCH, step) for step in (0, 7, None)] == [0, 7, None]
    assert "step" not in columns_needed(Warmed())


def test_all_columns_that_a_model_may_ask_for_are_known_beforehand():
    assert {"tokens", "mask", "targets", "lengths"} <= columns_needed(Scorer())
    assert columns_needed(Sorter()) == {"images", "targets"}


class Anything(nn.Module):
    """Takes whatever there is."""

    def forward(self, **columns):
        return sorted(columns)


def test_a_model_may_take_all_columns():
    assert ModelCaller(Anything(), tuple(BATCH)).outputs(BATCH) == sorted(BATCH)
    assert columns_needed(Anything()) == set()  # `Batches` leaves out none then


def test_a_missing_column_is_an_error_that_names_it():
    with pytest.raises(
        InputError, match=r"Sorter\.forward needs the column 'images', but the data has tokens, targets"
    ):
        ModelCaller(Sorter(), ("tokens", "targets"))


def test_a_missing_column_of_the_loss_is_an_error_that_names_it():
    caller = ModelCaller(Scorer(), ("tokens", "lengths"))

    with pytest.raises(InputError, match=r"Scorer\.loss needs the column 'targets', but the data has tokens, lengths"):
        caller.own_loss()
