from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe_text.cnn_classifier import CNNClassifier

TOKENS, LENGTHS = torch.tensor([[4, 9, 2, 5, 3, 8], [7, 3, 0, 0, 0, 0]]), torch.tensor([6, 2])

VOCABULARY = ["<pad>", "<other>", *"abcdefghi"]


def tiny(**options) -> CNNClassifier:
    torch.manual_seed(0)
    return CNNClassifier(VOCABULARY, 3, **{"embed_dim": 4, "widths": (2, 5), "num_filters": 7} | options)


@pytest.mark.parametrize("bias", [5.0, -5.0])
def test_padding_does_not_change_the_scores(bias):
    model = tiny().eval()
    for filters in model.filters:  # the response to nothing but padding is the strongest, or no filter responds at all
        torch.nn.init.constant_(filters.bias, bias)

    logits = model(TOKENS, LENGTHS)

    assert logits.shape == (2, 3)
    assert_close(model(F.pad(TOKENS, (0, 3)), LENGTHS), logits)
    assert_close(model(TOKENS[1:, :2], LENGTHS[1:]), logits[1:])


def test_a_filter_by_hand():
    model = tiny(embed_dim=1, widths=(2,), num_filters=1).eval()
    model.embed.embed.weight.data = torch.arange(11.0).unsqueeze(1)
    filters = model.filters[0]
    filters.weight.data, filters.bias.data = torch.tensor([[[1.0, -2.0]]]), torch.tensor([0.5])
    model.classify.weight.data, model.classify.bias.data = torch.tensor([[1.0], [2.0], [0.0]]), torch.zeros(3)

    logits = model(torch.tensor([[3, 9, 4]]), torch.tensor([3]))

    # Pairs (0, 3), (3, 9), (9, 4), (4, 0): the strongest is the last, 4 - 2 * 0 + 0.5.
    assert_close(logits, torch.tensor([[4.5, 9.0, 0.0]]))


def test_gradients_reach_every_parameter():
    model = tiny(dropout=0.0)

    model(TOKENS, LENGTHS).logsumexp(1).sum().backward()

    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_it_learns_a_batch_by_heart():
    model = tiny(dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    targets = torch.tensor([2, 0])

    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(model(TOKENS, LENGTHS), targets).backward()
        optimizer.step()

    assert model.eval()(TOKENS, LENGTHS).argmax(1).tolist() == [2, 0]


def test_no_widths_are_refused():
    with pytest.raises(ValueError, match=r"widths = \[\]: expected at least one, such as \[3, 4, 5\]"):
        tiny(widths=())
