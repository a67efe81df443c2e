import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe_text.rnn_tagger import RNNTagger, reverse

LABELS = ["O", "B-from", "I-from", "B-to", "I-to", "B-day"]
CELLS = ["elman", "jordan", "gru", "lstm"]
LENGTHS = torch.tensor([5, 2])

VOCABULARY = ["<pad>", "<other>", *"abcdefghi"]


def tiny_tagger(**options):
    torch.manual_seed(0)
    sizes = {"embed_dim": 8, "hidden_dim": 9, "inputs": "both"}
    return RNNTagger(VOCABULARY, 13, LABELS, **{**sizes, **options})


def tiny_batch():
    """Return the columns of B = 2 sentences of T = 5 and 2 words of at most G = 7 trigrams."""
    random = torch.Generator().manual_seed(0)
    tokens = torch.randint(2, 11, (2, 5), generator=random)
    trigrams = torch.randint(2, 13, (2, 5, 7), generator=random)
    targets = torch.randint(6, (2, 5), generator=random)
    padding = torch.arange(5) >= LENGTHS[:, None]
    tokens[padding], trigrams[padding], targets[padding] = 0, 0, -100
    return {"tokens": tokens, "lengths": LENGTHS, "trigrams": trigrams}, targets


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_every_token_gets_one_logit_per_label(cell, bidirectional):
    columns, _ = tiny_batch()

    logits = tiny_tagger(cell=cell, bidirectional=bidirectional)(**columns)

    assert logits.shape == (2, 5, 6)


def test_a_batch_of_padded_sentences_alone_keeps_its_width():
    columns, _ = tiny_batch()

    logits = tiny_tagger()(**{name: column[1:] for name, column in columns.items()})

    assert logits.shape == (1, 5, 6)


@pytest.mark.parametrize("output", ["softmax", "crf"])
@pytest.mark.parametrize("cell", CELLS)
def test_padding_changes_neither_logits_nor_loss_nor_labels(cell, output):
    model = tiny_tagger(cell=cell, output=output, context_window=3).eval()
    columns, targets = tiny_batch()
    padded = {name: column[1:] for name, column in columns.items()}
    single = {"tokens": padded["tokens"][:, :2], "lengths": LENGTHS[1:], "trigrams": padded["trigrams"][:, :2]}

    logits, alone = model(**columns), model(**single)

    assert_close(logits[1:, :2], alone)
    assert_close(model(**padded)[:, :2], alone)
    assert_close(model.loss(logits[1:], targets[1:], LENGTHS[1:]), model.loss(alone, targets[1:, :2], LENGTHS[1:]))
    assert model.predict(logits, LENGTHS)[1:, :2].equal(model.predict(alone, LENGTHS[1:]))


@pytest.mark.parametrize("cell", CELLS)
def test_only_a_bidirectional_tagger_sees_later_words(cell):
    columns, _ = tiny_batch()
    changed = {**columns, "tokens": columns["tokens"].clone()}
    changed["tokens"][0, 4] = 1

    forward, both = (tiny_tagger(cell=cell, bidirectional=two).eval() for two in (False, True))

    assert_close(forward(**changed)[0, :4], forward(**columns)[0, :4])
    assert (both(**changed)[0, :4] != both(**columns)[0, :4]).any(dim=1).all()


def test_elman_network_agrees_with_the_equations_of_the_paper():
    model = tiny_tagger(cell="elman", bidirectional=False).eval()
    columns, _ = tiny_batch()
    weight_ih, weight_hh, bias_ih, bias_hh = model.net.recurrent.parameters()
    features = model.features(columns["tokens"], columns["trigrams"])

    hidden, logits = torch.zeros(9), []
    for t in range(5):
        hidden = (weight_ih @ features[0, t] + bias_ih + weight_hh @ hidden + bias_hh).tanh()
        logits.append(model.net.classify(hidden))

    assert_close(model(**columns)[0], torch.stack(logits))


def test_jordan_net_feeds_back_the_probabilities_of_the_previous_label():
    model = tiny_tagger(cell="jordan", bidirectional=False).eval()
    columns, _ = tiny_batch()
    features = model.features(columns["tokens"], columns["trigrams"])

    remembered, logits = torch.zeros(6), []
    for t in range(5):
        hidden = (model.net.features[0](features[0, t]) + model.net.feedback[0].weight @ remembered).tanh()
        logits.append(model.net.classify[0](hidden))
        remembered = logits[-1].exp() / logits[-1].exp().sum()

    assert_close(model(**columns)[0], torch.stack(logits))


def test_second_direction_of_a_jordan_net_reads_the_sentence_backward():
    model = tiny_tagger(cell="jordan").eval()
    columns, _ = tiny_batch()
    features = model.features(columns["tokens"], columns["trigrams"])[1:, :2]

    forward = model.net._read(0, features)
    backward = model.net._read(1, features.flip(1)).flip(1)

    assert_close(model(**columns)[1:, :2], forward + backward)


def test_reversing_leaves_the_padding_in_place():
    assert reverse(torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]]), torch.tensor([4, 2])).tolist() == [
        [4, 3, 2, 1],
        [6, 5, 7, 8],
    ]


def test_softmax_loss_is_the_cross_entropy_of_the_real_tokens():
    model = tiny_tagger()
    columns, targets = tiny_batch()
    logits = model(**columns)
    real = targets != -100

    expected = -logits[real].log_softmax(dim=1)[torch.arange(7), targets[real]].mean()

    assert_close(model.loss(logits, targets, LENGTHS), expected)


def test_crf_loss_starts_as_the_softmax_loss():
    columns, targets = tiny_batch()
    logits = tiny_tagger()(**columns)

    loss = tiny_tagger(output="crf").loss(logits, targets, LENGTHS)

    assert_close(loss, F.cross_entropy(logits.flatten(0, 1), targets.flatten()))


@pytest.mark.parametrize("output", ["softmax", "crf"])
def test_a_label_that_training_lacks_is_left_out_of_the_loss(output):
    model, (columns, targets) = tiny_tagger(output=output).eval(), tiny_batch()
    logits = model(**columns)
    targets[0, 2] = -100
    known = targets != -100

    loss = model.loss(logits, targets, LENGTHS)

    assert_close(loss, F.cross_entropy(logits[known], targets[known]))


def test_crf_predictions_respect_the_transitions():
    model = tiny_tagger(output="crf")
    model.crf.transitions.data = 100 * torch.eye(6)  # so every change of label costs 100

    labels = model.predict(torch.randn(2, 5, 6), LENGTHS)

    assert (labels[0] == labels[0, 0]).all()


@pytest.mark.parametrize("output", ["softmax", "crf"])
@pytest.mark.parametrize("cell", CELLS)
def test_one_batch_can_be_overfitted(cell, output):
    model = tiny_tagger(cell=cell, output=output, num_layers=1, dropout=0.0, word_dropout=0.0)
    columns, targets = tiny_batch()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)

    for _ in range(40):
        loss = model.loss(model(**columns), targets, LENGTHS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    labels = model.predict(model(**columns), LENGTHS)
    assert loss < 0.1
    assert labels[targets != -100].equal(targets[targets != -100])


@pytest.mark.parametrize("options", [{"output": "crf", "num_layers": 2}, {"cell": "jordan"}, {"embedding": "one_hot"}])
def test_weights_survive_saving_and_loading(options):
    model, other = tiny_tagger(**options).eval(), tiny_tagger(**options).eval()
    columns, _ = tiny_batch()
    for parameter in other.parameters():
        nn.init.zeros_(parameter)

    other.load_state_dict(load(save(model.state_dict())))

    assert_close(other(**columns), model(**columns))


def test_deep_jordan_net_is_refused():
    with pytest.raises(ValueError, match='num_layers = 2: cell = "jordan" supports 1 layer only'):
        tiny_tagger(cell="jordan", num_layers=2)


def test_deep_networks_have_dropout_between_their_layers():
    """Dropout of the layer before and after the recurrent network is left out here."""
    for num_layers in (1, 2):
        model = tiny_tagger(cell="gru", num_layers=num_layers, dropout=0.5, word_dropout=0.0)
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0

        first, second = model(**tiny_batch()[0]), model(**tiny_batch()[0])

        assert torch.equal(first, second) == (num_layers == 1)
