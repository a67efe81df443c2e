"""The regressor, and the layers of torch that all recurrent models here use, against the formulas of the papers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe.recurrent import hidden_states, recurrent_layers
from dlpipe_text.sequence_regressor import SequenceRegressor

CELLS = ("elman", "irnn", "gru", "lstm")
FEATURES, LENGTHS = torch.rand(3, 7, 2, generator=torch.Generator().manual_seed(1)), torch.tensor([7, 7, 7])


def tiny(**options) -> SequenceRegressor:
    torch.manual_seed(0)
    return SequenceRegressor(2, hidden_dim=5, **options).double()


def lstm_by_formula(layer: nn.LSTM, features: Tensor) -> tuple[Tensor, Tensor]:
    """Return hidden states and cells (B, T, H), gate by gate and position by position.

    Hochreiter & Schmidhuber 1997, section 4, with the forget gate of Gers et al. 2000, section 3; without peepholes:
    c' = g(z) f(z_i) + c f(z_f), and the output h(c') f(z_o), where f is the logistic function and g and h are tanh.
    """
    weights = [each.chunk(4) for each in (layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0)]
    names = ("input", "forget", "z", "output")  # the order of torch's rows
    gates = {name: [part[number] for part in weights] for number, name in enumerate(names)}
    hidden = cell = torch.zeros(len(features), layer.hidden_size, dtype=features.dtype)
    hiddens, cells = [], []
    for x in features.unbind(1):
        z = {name: x @ w.T + b + hidden @ u.T + d for name, (w, u, b, d) in gates.items()}
        f = {name: 1 / (1 + torch.exp(-value)) for name, value in z.items()}
        cell = torch.tanh(z["z"]) * f["input"] + cell * f["forget"]
        hidden = torch.tanh(cell) * f["output"]
        hiddens.append(hidden)
        cells.append(cell)
    return torch.stack(hiddens, 1), torch.stack(cells, 1)


def test_the_gates_of_an_lstm_follow_the_formulas():
    model = tiny(cell="lstm")
    features = FEATURES.double()

    hidden, cells = lstm_by_formula(model.recurrent, features)

    assert_close(hidden_states(model.recurrent, features, LENGTHS), hidden)
    _, states = model.unroll(features)
    assert_close(torch.cat([state[0] for state in states]).transpose(0, 1), hidden)
    assert_close(torch.cat([state[1] for state in states]).transpose(0, 1), cells)


def test_the_lstm_is_that_of_torch():
    model = tiny(cell="lstm", num_layers=2)
    reference = nn.LSTM(2, 5, 2, batch_first=True).double()
    reference.load_state_dict(model.recurrent.state_dict())

    hidden, _ = reference(FEATURES.double())

    assert_close(model(FEATURES.double(), LENGTHS), model.output(hidden[:, -1])[:, 0])


@pytest.mark.parametrize(("forget", "kept"), [(1000.0, True), (-1000.0, False)])
def test_the_forget_gate_keeps_the_cell_exactly_or_empties_it(forget, kept):
    layer = recurrent_layers("lstm", 2, 5)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.zero_()
            if name == "bias_ih_l0":
                parameter[:5], parameter[5:10] = -1000.0, forget  # the input gate is shut
    cell = torch.rand(1, 3, 5)

    _, (_, after) = layer(torch.rand(3, 1000, 2), (torch.rand(1, 3, 5), cell))

    assert torch.equal(after, cell if kept else torch.zeros_like(cell))


def test_the_forget_bias_is_that_of_the_forget_gate_alone():
    torch.manual_seed(0)
    plain = recurrent_layers("lstm", 2, 5, 2)
    for layer in range(2):
        bias = sum(
            getattr(tiny(cell="lstm", num_layers=2, forget_bias=3.0).recurrent, f"bias_{kind}_l{layer}")
            for kind in ("ih", "hh")
        )
        untouched = (getattr(plain, f"bias_ih_l{layer}") + getattr(plain, f"bias_hh_l{layer}")).double()

        assert bias[5:10].tolist() == [3.0] * 5
        assert_close(bias[:5], untouched[:5])
        assert_close(bias[10:], untouched[10:])


@pytest.mark.parametrize("num_layers", [1, 2])
def test_initial_matrices(num_layers):
    for cell, scale, expected in (("irnn", None, 1.0), ("irnn", 0.5, 0.5), ("elman", 0.9, 0.9)):
        recurrent = tiny(cell=cell, num_layers=num_layers, recurrent_scale=scale).recurrent
        for layer in range(num_layers):
            matrix = getattr(recurrent, f"weight_hh_l{layer}").detach()
            assert_close(matrix.T @ matrix, expected**2 * torch.eye(5).double(), atol=1e-6, rtol=0)
            assert (cell == "elman") != torch.equal(matrix, expected * torch.eye(5))
            assert (getattr(recurrent, f"bias_hh_l{layer}") == 0).all() == (cell == "irnn")


def test_an_irnn_has_rectified_units():
    hidden = hidden_states(tiny(cell="irnn").recurrent, 9 * FEATURES.double() - 4, LENGTHS)

    assert hidden.min() == 0
    assert hidden.max() > 1


@pytest.mark.parametrize("cell", CELLS)
def test_position_by_position_is_the_same_as_all_at_once(cell):
    model = tiny(cell=cell, num_layers=2)

    numbers, states = model.unroll(FEATURES.double())

    assert_close(numbers, model(FEATURES.double(), LENGTHS))
    assert len(states) == 7
    assert {part.shape for state in states for part in state} == {(2, 3, 5)}


@pytest.mark.parametrize("cell", CELLS)
def test_padding_does_not_change_the_numbers(cell):
    model = tiny(cell=cell)
    lengths = torch.tensor([7, 2, 5])

    numbers = model(F.pad(FEATURES.double(), (0, 0, 0, 3), value=9.0), lengths)

    for row, length in enumerate(lengths.tolist()):
        alone = model(FEATURES[row : row + 1, :length].double(), lengths[row : row + 1])
        assert_close(numbers[row : row + 1], alone)


@pytest.mark.parametrize("cell", CELLS)
def test_it_learns_a_batch_by_heart(cell):
    model = tiny(cell=cell)
    optimizer = torch.optim.Adam(model.parameters(), 0.03)
    targets = torch.tensor([0.3, -1.0, 2.0]).double()

    for _ in range(200):
        optimizer.zero_grad()
        model.loss(model(FEATURES.double(), LENGTHS), targets).backward()
        optimizer.step()

    assert_close(model.predict(model(FEATURES.double(), LENGTHS)), targets, atol=0.05, rtol=0)
