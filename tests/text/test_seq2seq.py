from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe.data import IGNORE_INDEX
from dlpipe_text.parallel_text import END, RESERVED_TARGETS
from dlpipe_text.seq2seq import Seq2Seq
from dlpipe_text.word_features import OTHER

TARGETS = [*RESERVED_TARGETS, "a", "b", "c", "d"]
KINDS = [
    {},
    {"attention": "multiplicative", "cell": "lstm", "num_layers": 2},
    {"input_feeding": True, "bidirectional": False},
    {"attention": "none", "cell": "lstm"},
]


def tiny(**options):
    torch.manual_seed(0)
    return Seq2Seq(9, TARGETS, **{"embed_dim": 6, "hidden_dim": 5, "dropout": 0.0} | options)


def batch(generator=None):
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(2, 9, (3, 7), generator=generator)
    lengths = torch.tensor([7, 4, 2])
    targets = torch.randint(END + 1, len(TARGETS), (3, 5), generator=generator)
    for row, length in enumerate([5, 2, 3]):
        targets[row, length - 1] = END
        targets[row, length:] = IGNORE_INDEX
    return tokens.masked_fill(torch.arange(7) >= lengths.unsqueeze(1), 0), lengths, targets


@pytest.mark.parametrize("options", KINDS)
def test_neither_padding_nor_other_texts_change_a_text(options):
    model = tiny(**options).eval()
    tokens, lengths, targets = batch()

    outputs = model(tokens, lengths, targets)
    predictions = model.predict(outputs)

    for row, (length, written) in enumerate(zip(lengths.tolist(), [5, 2, 3], strict=True)):
        alone = model(tokens[row : row + 1, :length], lengths[row : row + 1], targets[row : row + 1, :written])
        assert_close(outputs.logits[row, :written], alone.logits[0])
        found = model.predict(alone)[0]
        assert predictions[row][predictions[row] >= 0].tolist() == found[found >= 0].tolist()


@pytest.mark.parametrize("options", KINDS)
def test_a_unit_depends_on_those_before_it_and_on_no_later_one(options):
    model = tiny(**options).eval()
    tokens, lengths, targets = batch()
    changed = targets.clone()
    changed[0, 2] = END + 1 + (targets[0, 2] - END) % 4

    before, after = (model(tokens, lengths, each).logits[0] for each in (targets, changed))

    assert_close(before[:3], after[:3])
    assert not torch.allclose(before[3], after[3])


@pytest.mark.parametrize("options", KINDS)
def test_writing_unit_by_unit_gives_the_scores_of_training(options):
    """What greedy search writes is, unit by unit, the most probable one given what it has written."""
    model = tiny(**options).eval()
    tokens, lengths, _ = batch()

    written = model.predict(model(tokens, lengths))
    logits = model(tokens, lengths, written).logits

    logits[:, :, : OTHER + 1] = -torch.inf
    real = written != IGNORE_INDEX
    assert real[:, 0].all()
    assert (logits.argmax(2)[real] == written[real]).all()
    assert written[real].min() >= END


def test_texts_are_at_most_as_long_as_asked():
    tokens, lengths, _ = batch()
    for model, longest in ((tiny(), [24, 18, 14]), (tiny(max_length=3), [3, 3, 3])):
        model.output.bias.data[END] = -100.0

        written = model.eval().predict(model(tokens, lengths))

        assert (written != IGNORE_INDEX).sum(1).tolist() == longest


def test_the_loss_is_the_cross_entropy_of_units_and_ends():
    model = tiny().eval()
    tokens, lengths, targets = batch()
    outputs = model(tokens, lengths, targets)
    known = targets != IGNORE_INDEX
    scores = outputs.logits[known].log_softmax(1)

    assert_close(model.loss(outputs, targets), -scores.gather(1, targets[known].unsqueeze(1)).mean())
    smoothed = F.cross_entropy(outputs.logits[known], targets[known], label_smoothing=0.2)
    assert_close(model.loss(outputs, targets, label_smoothing=0.2), smoothed)


@pytest.mark.parametrize("options", KINDS)
def test_every_parameter_gets_a_gradient(options):
    model = tiny(**options)
    tokens, lengths, targets = batch()

    model.loss(model(tokens, lengths, targets), targets).backward()

    assert [name for name, each in model.named_parameters() if each.grad is None or not each.grad.any()] == []


@pytest.mark.parametrize("options", KINDS)
def test_it_learns_to_write_a_text_backward(options):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(2, 6, (64, 4), generator=generator)
    targets = F.pad(tokens.flip(1) + 1, (0, 1), value=END)
    lengths = torch.full((64,), 4)
    model = tiny(hidden_dim=32, embed_dim=16, **options)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(300 if options.get("attention") == "none" else 150):
        optimizer.zero_grad()
        model.loss(model(tokens, lengths, targets), targets).backward()
        optimizer.step()

    written = model.eval().predict(model(tokens, lengths))

    assert (F.pad(written, (0, 5), value=IGNORE_INDEX)[:, :5] == targets).all(1).float().mean() > 0.95


def test_without_attention_there_is_none_to_show():
    tokens, lengths, targets = batch()

    assert tiny(attention="none")(tokens, lengths, targets).attention is None
    weights = tiny()(tokens, lengths, targets).attention
    assert weights.shape == (3, 5, 7)
    assert (weights[2, :, 2:] == 0).all()


def test_a_length_penalty_needs_texts_to_compare():
    with pytest.raises(
        ValueError,
        match=r"length_penalty = 0.5: has no effect with beam_size = 1, which writes one text; remove it, or",
    ):
        tiny(length_penalty=0.5)
