import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe_text.feedforward_tagger import FeedForwardTagger

LABELS = ["O", "B-from", "I-from", "B-to", "I-to", "B-day"]


def tiny_tagger(**options):
    torch.manual_seed(0)
    return FeedForwardTagger(11, 13, LABELS, **{"inputs": "both", "embed_dim": 8, "hidden_dim": 9, **options})


def tiny_batch():
    """Return tokens (2, 5), trigrams (2, 5, 7), targets (2, 5); the second sentence has two words."""
    random = torch.Generator().manual_seed(0)
    tokens = torch.randint(2, 11, (2, 5), generator=random)
    trigrams = torch.randint(2, 13, (2, 5, 7), generator=random)
    targets = torch.randint(6, (2, 5), generator=random)
    tokens[1, 2:], trigrams[1, 2:], targets[1, 2:] = 0, 0, -100
    return tokens, trigrams, targets


def test_every_token_gets_one_logit_per_label():
    tokens, trigrams, _ = tiny_batch()

    assert tiny_tagger()(tokens, trigrams).shape == (2, 5, 6)


@pytest.mark.parametrize("window", [0, 1, 3])
def test_only_words_within_the_window_change_a_label(window):
    model = tiny_tagger(window=window).eval()
    tokens, trigrams = torch.full((1, 9), 4), torch.full((1, 9, 7), 5)
    changed = tokens.clone()
    changed[0, 4] = 6

    differs = (model(tokens, trigrams) != model(changed, trigrams)).any(dim=2)[0]

    assert differs.nonzero().flatten().tolist() == list(range(4 - window, 4 + window + 1))


def test_padding_does_not_change_the_logits_of_real_tokens():
    model = tiny_tagger(window=2).eval()
    tokens, trigrams, _ = tiny_batch()

    assert_close(model(tokens, trigrams)[1:, :2], model(tokens[1:, :2], trigrams[1:, :2]))


def test_one_hot_words_without_window_give_the_network_of_the_lecture():
    model = tiny_tagger(inputs="words", embedding="one_hot", window=0).eval()
    tokens, trigrams, _ = tiny_batch()
    hidden, classify = (layer for layer in model.classify if isinstance(layer, nn.Linear))

    one_of_n = torch.eye(11)[tokens[0]]
    expected = (one_of_n @ hidden.weight.T + hidden.bias).clamp(min=0) @ classify.weight.T + classify.bias

    assert_close(model(tokens, trigrams)[0], expected)


def test_num_layers_sets_the_number_of_hidden_layers():
    model = tiny_tagger(num_layers=3)

    sizes = [layer.out_features for layer in model.classify if isinstance(layer, nn.Linear)]

    assert sizes == [9, 9, 9, 6]


def test_one_batch_can_be_overfitted():
    model = tiny_tagger(dropout=0.0, word_dropout=0.0)
    tokens, trigrams, targets = tiny_batch()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)

    for _ in range(40):
        loss = F.cross_entropy(model(tokens, trigrams).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    assert loss < 0.05


def test_weights_survive_saving_and_loading():
    model, other = tiny_tagger().eval(), tiny_tagger().eval()
    tokens, trigrams, _ = tiny_batch()
    for parameter in other.parameters():
        nn.init.zeros_(parameter)

    other.load_state_dict(load(save(model.state_dict())))

    assert_close(other(tokens, trigrams), model(tokens, trigrams))
