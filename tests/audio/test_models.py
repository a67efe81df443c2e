"""What all models of spoken words have in common, and what is particular to the auto-encoder."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe.errors import InputError
from dlpipe_audio.keyword_cnn import KeywordCNN
from dlpipe_audio.keyword_rnn import KeywordRNN
from dlpipe_audio.seq2seq_autoencoder import Seq2SeqAutoEncoder

FRAMES, LENGTHS = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([7, 4])


def autoencoder(**options):
    torch.manual_seed(0)
    return Seq2SeqAutoEncoder(3, **{"hidden_dim": 6, "vector_dim": 5, **options})


def classifiers():
    torch.manual_seed(0)
    return [
        KeywordCNN(3, 4, channels=(5, 6)),
        KeywordCNN(3, 4, channels=()),
        KeywordRNN(3, 4, hidden_dim=5),
        KeywordRNN(3, 4, cell="gru", num_layers=2),
    ]


@pytest.mark.parametrize("model", classifiers(), ids=["cnn", "pooling", "lstm", "gru"])
def test_padding_does_not_change_the_scores_of_a_word(model):
    frames = FRAMES - 2  # mostly below the zeros of padding
    model.eval()

    together = model(frames, LENGTHS)
    alone = model(frames[1:, :4], LENGTHS[1:])
    padded = model(F.pad(frames, (0, 0, 0, 5), value=9.0), LENGTHS)

    assert together.shape == (2, 4)
    assert_close(together[1:], alone)
    assert_close(padded, together)


@pytest.mark.parametrize("model", classifiers(), ids=["cnn", "pooling", "lstm", "gru"])
def test_a_classifier_learns_a_batch_by_heart(model):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    targets = torch.tensor([3, 1])
    for _ in range(60):
        loss = F.cross_entropy(model(FRAMES, LENGTHS), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    assert model.eval()(FRAMES, LENGTHS).argmax(1).equal(targets)


@pytest.mark.parametrize("options", [{}, {"cell": "lstm"}, {"bidirectional": True}, {"num_layers": 2}])
def test_padding_changes_neither_vectors_nor_loss(options):
    model = autoencoder(**options).eval()

    together = model(FRAMES, LENGTHS)
    alone = [
        model(FRAMES[row : row + 1, :length], LENGTHS[row : row + 1]) for row, length in enumerate(LENGTHS.tolist())
    ]
    losses = [
        model.loss(out, FRAMES[row : row + 1, :length], LENGTHS[row : row + 1])
        for (row, length), out in zip(enumerate(LENGTHS.tolist()), alone, strict=True)
    ]

    assert together.vectors.shape == (2, 5)
    assert together.frames.shape == (2, 7, 3)
    assert_close(together.vectors, torch.cat([out.vectors for out in alone]))
    assert_close(model.loss(together, FRAMES, LENGTHS), (losses[0] * 7 + losses[1] * 4) / 11)
    assert model.count_loss_terms(LENGTHS) == 11
    assert model.predict(together) is together.vectors


def test_the_decoder_sees_only_the_vector():
    model = autoencoder().eval()
    vectors = model.encode(FRAMES, LENGTHS)

    assert_close(model.decode(vectors, 7), model(FRAMES, LENGTHS).frames)
    model.encode = lambda frames, lengths: vectors  # whatever the frames are
    assert_close(model(torch.zeros_like(FRAMES), LENGTHS).frames, model.decode(vectors, 7))


def test_noise_sets_numbers_to_zero_in_training_only():
    model = autoencoder(noise=0.5)
    seen = []
    model.encode = lambda frames, lengths: seen.append(frames) or torch.zeros(2, 5)

    model.train()(FRAMES, LENGTHS)
    model.eval()(FRAMES, LENGTHS)

    zeros = seen[0] == 0
    assert 0.2 < zeros.float().mean() < 0.8
    assert torch.equal(seen[0][~zeros], FRAMES[~zeros])
    assert torch.equal(seen[1], FRAMES)


def test_a_correspondence_auto_encoder_reconstructs_its_partner():
    model = autoencoder(target="same_word").eval()
    partners, partners_lengths = torch.randn(2, 9, 3), torch.tensor([2, 9])

    outputs = model(FRAMES, LENGTHS, partners, partners_lengths)
    loss = model.loss(outputs, FRAMES, LENGTHS, partners, partners_lengths)

    errors = [
        (outputs.frames[row, :length] - partners[row, :length]).square().sum() for row, length in ((0, 2), (1, 9))
    ]
    assert_close(loss, sum(errors) / (11 * 3))
    assert model.count_loss_terms(LENGTHS, torch.tensor([2, 8])) == 10


def test_a_correspondence_auto_encoder_needs_pairs():
    with pytest.raises(InputError, match=r'target = "same_word": the data provides no pairs; set pairs = "same_word"'):
        autoencoder(target="same_word")(FRAMES, LENGTHS)


def test_an_auto_encoder_learns_words_by_heart():
    model = autoencoder(hidden_dim=24, vector_dim=16)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(250):
        loss = model.loss(model(FRAMES, LENGTHS), FRAMES, LENGTHS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    assert loss < 0.05
