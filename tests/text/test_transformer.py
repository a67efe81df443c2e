from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe.data import IGNORE_INDEX
from dlpipe_text.attention import Memory
from dlpipe_text.parallel_text import END, RESERVED_TARGETS
from dlpipe_text.transformer import DecoderLayer, EncoderLayer, Transformer, position_encoding
from dlpipe_text.word_features import OTHER

from .test_seq2seq import batch

TARGETS = [*RESERVED_TARGETS, "a", "b", "c", "d"]


def tiny(**options):
    torch.manual_seed(0)
    return Transformer(9, TARGETS, **{"hidden_dim": 6, "num_heads": 2, "dropout": 0.0} | options)


def test_positions_have_the_sines_and_cosines_of_the_paper():
    found = position_encoding(4, 3, torch.zeros(1, 5))

    for row, position in enumerate(range(3, 7)):
        for place in range(5):
            angle = torch.tensor(position / 10_000 ** (2 * (place // 2) / 5))
            assert_close(found[row, place], angle.cos() if place % 2 else angle.sin())


def test_layers_are_those_of_torch_normalized_before():
    torch.manual_seed(0)
    hidden, mask = torch.randn(2, 5, 6), torch.arange(5) < torch.tensor([[3], [5]])
    own, layer = EncoderLayer(6, 2, 7, 0.0), nn.TransformerEncoderLayer(6, 2, 7, 0.0, batch_first=True, norm_first=True)
    names = {"self_attn": "attention", "linear1": "feedforward.0", "linear2": "feedforward.3"}
    names |= {"norm1": "attention_norm", "norm2": "feedforward_norm"}
    state = {}
    for name, value in layer.state_dict().items():
        part = next(part for part in names if name.startswith(part))
        state[name.replace(part, names[part])] = value
    own.load_state_dict(state)

    assert_close(own(hidden, mask)[mask], layer(hidden, src_key_padding_mask=~mask)[mask])


def test_padding_and_other_texts_change_nothing():
    model = tiny().eval()
    tokens, lengths, targets = batch()

    outputs = model(tokens, lengths, targets)
    predictions = model.predict(outputs)

    for row, (length, written) in enumerate(zip(lengths.tolist(), [5, 2, 3], strict=True)):
        alone = model(tokens[row : row + 1, :length], lengths[row : row + 1], targets[row : row + 1, :written])
        assert_close(outputs.logits[row, :written], alone.logits[0])
        assert_close(outputs.attention[row, :written, :length], alone.attention[0])
        found = model.predict(alone)[0]
        assert predictions[row][predictions[row] >= 0].tolist() == found[found >= 0].tolist()


def test_a_unit_depends_on_those_before_it_and_on_no_later_one():
    model = tiny().eval()
    tokens, lengths, targets = batch()
    changed = targets.clone()
    changed[0, 2] = END + 1 + (targets[0, 2] - END) % 4

    before, after = (model(tokens, lengths, each).logits[0] for each in (targets, changed))

    assert_close(before[:3], after[:3])
    assert not torch.allclose(before[3], after[3])


def test_writing_unit_by_unit_gives_the_scores_of_training():
    model = tiny().eval()
    tokens, lengths, _ = batch()
    scores = []
    handle = model.output.register_forward_hook(lambda _, inputs, outputs: scores.append(outputs))

    written = model.predict(model.encode(tokens, lengths))

    handle.remove()
    logits = model(tokens, lengths, written).logits
    real = written != IGNORE_INDEX
    assert real[:, 0].all()
    assert written[real].min() > OTHER
    assert written.size(1) == len(scores)
    for position in range(written.size(1)):
        assert_close(scores[position][real[:, position]], logits[real[:, position], position])


def test_every_parameter_gets_a_gradient():
    model = tiny()
    tokens, lengths, targets = batch()

    model.loss(model(tokens, lengths, targets), targets).backward()

    without = [name for name, each in model.named_parameters() if each.grad is None or not each.grad.any()]
    assert without == []


def test_it_learns_to_write_a_text_backward():
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(2, 6, (64, 4), generator=generator)
    targets = F.pad(tokens.flip(1) + 1, (0, 1), value=END)
    lengths = torch.full((64,), 4)
    model = tiny(hidden_dim=32)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(120):
        optimizer.zero_grad()
        model.loss(model(tokens, lengths, targets), targets).backward()
        optimizer.step()

    written = model.eval().predict(model(tokens, lengths))

    assert (F.pad(written, (0, 5), value=IGNORE_INDEX)[:, :5] == targets).all(1).float().mean() > 0.95


def test_heads_must_share_the_numbers_of_a_position():
    with pytest.raises(
        ValueError, match=r"hidden_dim = 10: not a multiple of num_heads = 4, which share it; change one"
    ):
        Transformer(9, TARGETS, hidden_dim=10)


def test_a_decoder_layer_looks_at_nothing_that_comes_later():
    torch.manual_seed(0)
    layer = DecoderLayer(6, 2, 7, 0.0)
    values = torch.randn(2, 3, 6)
    memory = Memory(values, values, torch.ones(2, 3, dtype=torch.bool))
    hidden = torch.randn(2, 4, 6)

    whole, _, _ = layer(hidden, memory, None)
    past = hidden[:, :0]
    for position in range(4):
        step, _, past = layer(hidden[:, position : position + 1], memory, past)
        assert_close(step[:, 0], whole[:, position])
