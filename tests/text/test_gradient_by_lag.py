from __future__ import annotations

import csv

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dlpipe.compute import Compute
from dlpipe.data import Columns, Ragged
from dlpipe.errors import InputError
from dlpipe.evaluation import Examples
from dlpipe_text.adding_problem import AddingProblem
from dlpipe_text.gradient_by_lag import GradientByLag, gradients_by_lag
from dlpipe_text.impulse import Impulse
from dlpipe_text.one_unit import OneUnit
from dlpipe_text.sequence_regressor import SequenceRegressor

CPU = Compute(torch.device("cpu"))
FEATURES = torch.rand(3, 9, 2, generator=torch.Generator().manual_seed(0))


def regressor(**options) -> SequenceRegressor:
    torch.manual_seed(0)
    return SequenceRegressor(2, hidden_dim=6, **options)


@pytest.mark.parametrize("weight", [0.5, 1.0, 2.0])
def test_in_a_linear_unit_it_is_a_power_of_the_weight(weight):
    norms = gradients_by_lag(OneUnit(1, weight=weight), torch.ones(1, 9, 1))

    assert_close(norms, weight ** torch.arange(9.0).double()[None])


def test_the_metrics_of_a_linear_unit():
    data = Impulse(length=200)

    metrics = GradientByLag().evaluate(OneUnit(1, weight=0.5), Examples(data, "test", CPU))

    assert metrics == {
        "per_step": pytest.approx(0.5),
        "first_to_last": pytest.approx(0.5**199),
    }  # 0 in single precision


def test_in_an_irnn_with_positive_states_it_is_a_power_of_the_scale():
    model = regressor(cell="irnn", recurrent_scale=0.75)
    with torch.no_grad():
        model.recurrent.weight_ih_l0.abs_()

    (norms,) = gradients_by_lag(model, FEATURES)

    assert_close(norms, norms[0] * 0.75 ** torch.arange(9.0).double())


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_it_is_the_change_of_the_output_when_a_state_changes(cell, num_layers):
    model = regressor(cell=cell, num_layers=num_layers).double()
    features, lag = FEATURES.double(), 4

    norms = gradients_by_lag(model, features)

    def output_after(*state: torch.Tensor) -> torch.Tensor:
        given = state if cell == "lstm" else state[0]
        _, last = model.recurrent(features[:, -lag:], given)
        return model.output((last[0] if cell == "lstm" else last)[-1])[:, 0].sum()

    state = tuple(part.detach() for part in model.unroll(features[:, :-lag])[1][-1])
    expected = torch.autograd.functional.jacobian(output_after, state)
    assert_close(norms[:, lag], torch.stack([part.pow(2).sum((0, 2)).sqrt().mean() for part in expected]))


def test_an_lstm_that_never_forgets_keeps_the_gradient_of_its_cell():
    model = regressor(cell="lstm", forget_bias=50.0)
    with torch.no_grad():
        model.recurrent.weight_hh_l0.zero_()

    hidden, cell = gradients_by_lag(model, FEATURES)

    assert_close(cell[1:], cell[1].expand(8))
    assert hidden[1:].abs().max() == 0
    assert cell[0] == 0  # the output reads the hidden state


def test_the_files(tmp_path):
    evaluator = GradientByLag(count=3)
    metrics = evaluator.evaluate(regressor(), Examples(AddingProblem(length=9, num_dev=5), "dev", CPU))
    evaluator.write(tmp_path)

    heading, *rows = csv.reader((tmp_path / "gradient_by_lag.csv").open())
    norms = torch.tensor([[float(cell) for cell in row] for row in rows])
    assert heading == ["lag", "hidden state", "cell"]
    assert norms[:, 0].tolist() == list(range(9))
    whole = norms[:, 1:].square().sum(1).sqrt()
    assert metrics["first_to_last"] == pytest.approx(float(whole[-1] / whole[0]))
    assert metrics["per_step"] == pytest.approx(metrics["first_to_last"] ** (1 / 8))
    assert (tmp_path / "gradient_by_lag.png").stat().st_size > 5000


@pytest.mark.parametrize(("count", "used"), [(3, 3), (5, 5), (9, 7)])
def test_sequences_of_several_batches_are_used(count, used):
    model, data = regressor(), AddingProblem(length=9, num_dev=7)
    compute = Compute(torch.device("cpu"), evaluation_batch_size=2)

    metrics = GradientByLag(count=count).evaluate(model, Examples(data, "dev", compute))

    features = data.split("dev").columns["features"].concatenated().view(7, 9, 2)
    norms = gradients_by_lag(model, features[:used]).square().sum(0).sqrt()
    assert metrics["first_to_last"] == pytest.approx(float(norms[-1] / norms[0]))


def test_the_model_is_not_changed_and_gets_no_gradient():
    model = regressor()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    GradientByLag().evaluate(model, Examples(AddingProblem(length=9, num_dev=5), "dev", CPU))

    assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_without_states_is_refused():
    class Mean(nn.Module):
        def forward(self, features):
            return features.mean((1, 2))

        def predict(self, outputs):
            return outputs

    with pytest.raises(
        InputError, match=r"needs a model that shows its states, such as text.sequence_regressor; .* Mean"
    ):
        GradientByLag().evaluate(Mean(), Examples(AddingProblem(length=9, num_dev=5), "dev", CPU))


def test_sequences_of_several_lengths_are_refused():
    class Mixed(AddingProblem):
        def split(self, name):
            return Columns({"features": Ragged(torch.rand(7, 2), torch.tensor([4, 3]), padding=0.0)})

    with pytest.raises(InputError, match="got sequences of 3 to 4 positions; expected one length"):
        GradientByLag().evaluate(regressor(), Examples(Mixed(), "dev", CPU))
