from functools import partial

import pytest
import torch
from torch import nn
from torch.testing import assert_close

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

    assert caller.predictions(
        torch.tensor([[0.1, 3.0, 0.2], [5.0, 0.0, 1.0]]), {"images": torch.zeros(2)}
    ).tolist() == [1, 0]


def test_numbers_without_predict_are_no_scores():
    caller = ModelCaller(Sorter(), ("images",))

    with pytest.raises(
        InputError,
        match=r"Sorter returns outputs of shape \(2,\) for 2 examples, which are no .* expected a method predict\(out",
    ):
        caller.predictions(torch.tensor([0.1, 3.0]), {"images": torch.zeros(2)})


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


def test_a_loss_may_ask_for_the_number_of_steps_and_no_column():
    class OnlyStep(Warmed):
        def loss(self, scores, step):
            return step

    assert ModelCaller(OnlyStep(), tuple(BATCH)).own_loss()(torch.ones(2), BATCH, 7) == 7


class Counting(Scorer):
    """Says how many terms its loss has."""

    def count_loss_terms(self, lengths, class_weights=None):
        return lengths.sum() if class_weights is None else float(class_weights.sum())


def test_the_terms_of_the_loss_are_those_of_the_model_or_the_targets():
    caller = ModelCaller(Counting(), tuple(BATCH))

    assert caller.count_loss_terms(BATCH) == 14
    assert caller.count_loss_terms(BATCH, torch.tensor([0.5, 2.0])) == 2.5
    assert caller.count_loss_terms({}) == 0  # of a process that has none of the examples
    assert ModelCaller(Scorer(), tuple(BATCH)).count_loss_terms(BATCH) == 2


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


class Static(Sorter):
    """Its loss and predictions need no ``self``."""

    @staticmethod
    def loss(outputs, targets):
        return (outputs - targets).sum()

    @staticmethod
    def predict(outputs, lengths):
        return outputs + lengths


class Stored(Sorter):
    """Its loss and predictions are functions that it was given."""

    def __init__(self):
        super().__init__()
        self.loss = lambda outputs, targets: (outputs - targets).sum()
        self.predict = partial(lambda scale, outputs, lengths: outputs + scale * lengths, 1)


@pytest.mark.parametrize("kind", [Static, Stored])
def test_a_loss_that_is_no_plain_method_is_used(kind):
    caller = ModelCaller(kind(), ("images", "targets", "lengths"))
    outputs = torch.tensor([3.0, 5.0])

    assert caller.own_loss()(outputs, BATCH, None) == 7
    assert caller.predictions(outputs, BATCH).tolist() == [10, 12]
    assert columns_needed(kind()) == {"images", "targets", "lengths", "outputs"}


def test_a_loss_may_take_all_columns():
    class Summing(Sorter):
        def loss(self, outputs, **columns):
            return torch.tensor(len(columns))

    assert ModelCaller(Summing(), ("images", "targets")).own_loss()(None, {"images": 0, "targets": 1}, None) == 2
    assert columns_needed(Summing()) == set()


@pytest.mark.parametrize(
    ("forward", "parameter"), [(lambda self, *images: images, r"\*images"), (lambda self, images, /: images, "images")]
)
def test_a_column_that_is_taken_by_position_is_refused(forward, parameter):
    model = type("Net", (nn.Module,), {"forward": forward})()

    with pytest.raises(
        InputError, match=rf"Net.forward takes {parameter} by position, but .* expected the names of co"
    ):
        ModelCaller(model, ("images",))


def test_the_outputs_may_be_taken_by_position():
    class Net(Sorter):
        def loss(self, outputs, /, targets):
            return (outputs - targets).sum()

    assert ModelCaller(Net(), ("images", "targets")).own_loss()(torch.tensor([3.0, 5.0]), BATCH, None) == 7


def test_probabilities_are_the_softmax_or_what_the_model_says():
    class Scores(nn.Module):
        def forward(self, points):
            return points

    class Own(Scores):
        def predict(self, outputs):
            return outputs.argmin(1)

    class Says(Own):
        def probabilities(self, outputs, lengths):
            return (-outputs).softmax(1)[: len(lengths)]

    class Numbers(Own):
        def probabilities(self, outputs):
            return None

    batch = {"points": torch.tensor([[0.0, 2.0], [1.0, 0.0]]), "lengths": torch.tensor([1, 2])}

    def probabilities_of(model, batch=batch):
        caller = ModelCaller(model, tuple(batch))
        outputs = caller.outputs(batch)
        return caller.probabilities(outputs, caller.predictions(outputs, batch), batch)

    assert_close(probabilities_of(Scores()), batch["points"].double().softmax(1))
    assert probabilities_of(Own()) is None
    assert probabilities_of(Numbers()) is None
    assert_close(probabilities_of(Says()), (-batch["points"]).softmax(1).double())
    with pytest.raises(InputError, match=r"Says.probabilities returns shape \(1, 2\) for predictions of shape \(2,\)"):
        probabilities_of(Says(), batch | {"lengths": torch.tensor([1])})
