"""Ensembles: what they return, which columns their members get, and what does not fit."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dlpipe.data.model_caller import ModelCaller
from dlpipe.engine.export_formats import NamedOutputs, trace
from dlpipe.errors import InputError
from dlpipe.training.ensemble import Ensemble


class Words(nn.Module):
    """Scores 2 classes by one column."""

    def forward(self, tokens):
        return tokens


class Pairs(nn.Module):
    """Scores 2 classes by another column."""

    def forward(self, ngrams):
        return ngrams


class Inverted(nn.Module):
    """Predicts the class with the lowest score, and says so."""

    def forward(self, tokens):
        return tokens

    def predict(self, outputs):
        return outputs.argmin(-1)

    def probabilities(self, outputs):
        return (-outputs).softmax(-1)


class Numbers(nn.Module):
    """Predicts a number."""

    def forward(self, tokens):
        return tokens

    def predict(self, outputs):
        return outputs


BATCH = {
    "tokens": torch.tensor([[1.0, 0.0], [0.2, 0.1]]),
    "ngrams": torch.tensor([[-4.0, 0.0], [0.0, 3.0]]),
    "targets": torch.tensor([0, 1]),
}


def test_probabilities_are_averaged():
    outputs = ModelCaller(Ensemble([Words(), Pairs()]), tuple(BATCH)).outputs(BATCH)

    expected = (BATCH["tokens"].softmax(1) + BATCH["ngrams"].softmax(1)) / 2
    assert_close(outputs.exp(), expected)
    assert_close(outputs.softmax(1), expected)


def test_log_probabilities_are_averaged():
    outputs = ModelCaller(Ensemble([Words(), Pairs()], average="log_probabilities"), tuple(BATCH)).outputs(BATCH)

    product = (BATCH["tokens"].softmax(1) * BATCH["ngrams"].softmax(1)).sqrt()
    assert_close(outputs.softmax(1), product / product.sum(1, keepdim=True))


@pytest.mark.parametrize("average", ["probabilities", "log_probabilities"])
def test_one_member_keeps_the_probabilities_that_it_gives_itself(average):
    outputs = ModelCaller(Ensemble([Inverted()], average=average), tuple(BATCH)).outputs(BATCH)

    assert_close(outputs.softmax(1), (-BATCH["tokens"]).softmax(1))


def test_probabilities_are_computed_in_float32():
    class Multiplied(Inverted):
        def probabilities(self, outputs):
            return (outputs @ torch.eye(outputs.size(1)) / 100).softmax(1)  # a product that autocast would round

    with torch.autocast("cpu", torch.bfloat16):
        outputs = ModelCaller(Ensemble([Multiplied()]), tuple(BATCH)).outputs(BATCH)

    assert_close(outputs.softmax(1), (BATCH["tokens"] / 100).softmax(1), rtol=1e-6, atol=0)


@pytest.mark.parametrize("average", ["probabilities", "log_probabilities"])
def test_the_logit_of_a_class_without_any_probability_is_finite(average):
    outputs = Ensemble([Words()], average=average)(tokens=torch.tensor([[-1000.0, 0.0]]))

    assert outputs.isfinite().all()
    assert_close(outputs.softmax(1), torch.tensor([[0.0, 1.0]]))


@pytest.mark.parametrize("size", [1, 3])
def test_the_logits_of_sequences_are_averaged_at_each_token(size):
    sequences = {name: torch.randn(size, 5, 4) for name in ("tokens", "ngrams")}
    ensemble = Ensemble([Words(), Pairs()], weights=[3.0, 1.0])

    outputs = ModelCaller(ensemble, tuple(sequences)).outputs(sequences)

    assert_close(outputs.exp(), 0.75 * sequences["tokens"].softmax(2) + 0.25 * sequences["ngrams"].softmax(2))


def test_weights_are_divided_by_their_sum():
    words, pairs = BATCH["tokens"].softmax(1), BATCH["ngrams"].softmax(1)

    mean = Ensemble([Words(), Pairs()], weights=[6.0, 2.0])
    product = Ensemble([Words(), Pairs()], average="log_probabilities", weights=[6.0, 2.0])

    assert_close(ModelCaller(mean, tuple(BATCH)).outputs(BATCH).exp(), 0.75 * words + 0.25 * pairs)
    expected = words**0.75 * pairs**0.25
    assert_close(ModelCaller(product, tuple(BATCH)).outputs(BATCH).exp(), expected)


def test_weights_of_another_pipeline_are_not_loaded_with_those_of_the_members():
    state = Ensemble([nn.Linear(2, 2), nn.Linear(2, 2)], weights=[6.0, 2.0]).state_dict()

    other = Ensemble([nn.Linear(2, 2), nn.Linear(2, 2)], weights=[1.0, 3.0])
    other.load_state_dict(state)

    assert other.weights.tolist() == [0.25, 0.75]


def test_an_ensemble_is_exported_for_any_number_of_examples():
    ensemble = Ensemble([Words(), Pairs()]).eval()
    inputs = {name: torch.randn(3, 2) for name in ("tokens", "ngrams")}

    traced = trace(NamedOutputs(ensemble), inputs, dict.fromkeys(inputs, ("batch", 2)))

    others = {name: torch.randn(5, 2) for name in ("tokens", "ngrams")}
    assert_close(traced.program.module()(**others)["outputs"], ensemble(**others))


def test_each_member_has_one_weight():
    with pytest.raises(
        InputError, match=r"weights = \[1.0, 2.0, 3.0\]: 3 weights for 2 members; expected one for each"
    ):
        Ensemble([Words(), Pairs()], weights=[1.0, 2.0, 3.0])


def test_members_that_do_not_fit_together_are_refused():
    ensemble = Ensemble([Words(), Pairs()])

    with pytest.raises(
        InputError, match=r"core.ensemble give probabilities of shape \(2, 2\), \(2, 3\); expected the same"
    ):
        ensemble(tokens=torch.zeros(2, 2), ngrams=torch.zeros(2, 3))


def test_a_column_that_a_member_needs_is_named():
    with pytest.raises(InputError, match=r"Pairs\.forward needs the column 'ngrams', but the data has tokens"):
        Ensemble([Words(), Pairs()])(tokens=torch.zeros(2, 2))


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (Words(), r"Words returns outputs of shape \(2,\) for 2 examples, which are no scores of classes"),
        (Numbers(), "Numbers, a member of core.ensemble, gives no probabilities; expected a classifier"),
    ],
)
def test_a_member_that_is_no_classifier_is_refused(member, message):
    with pytest.raises(InputError, match=message):
        Ensemble([member])(tokens=torch.zeros(2))
