import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe_text.word_features import Counts, WordFeatures

TOKENS = torch.tensor([[4, 9, 2, 4, 1], [3, 3, 8, 0, 0]])  # B = 2, T = 5, the second sentence padded
TRIGRAMS = torch.randint(1, 13, (2, 5, 7), generator=torch.Generator().manual_seed(0)) * (TOKENS > 0)[:, :, None]


def features_of(**options):
    torch.manual_seed(0)
    return WordFeatures(11, 13, **options)


@pytest.mark.parametrize(
    ("options", "num_features"),
    [
        ({"embed_dim": 6}, 6),
        ({"inputs": "trigrams", "embed_dim": 6}, 6),
        ({"inputs": "both", "embed_dim": 6}, 12),
        ({"inputs": "both", "embedding": "one_hot"}, 11 + 13),
        ({"inputs": "both", "embed_dim": 6, "context_window": 3}, 36),
    ],
)
def test_num_features_is_the_size_of_the_output(options, num_features):
    features = features_of(**options)

    assert features(TOKENS, TRIGRAMS).shape == (2, 5, num_features)
    assert features.num_features == num_features


def test_one_hot_words_are_one_hot_vectors():
    found = features_of(embedding="one_hot")(TOKENS, TRIGRAMS)

    expected = F.one_hot(TOKENS, 11).float()
    expected[1, 3:] = 0  # the padding is no word
    assert_close(found, expected)


def test_one_hot_trigrams_are_counted():
    trigrams = torch.tensor([[[5, 2, 5, 0], [3, 0, 0, 0]]])

    found = features_of(inputs="trigrams", embedding="one_hot")(torch.tensor([[4, 6]]), trigrams)

    assert found[0, 0].tolist() == [0, 0, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]
    assert found[0, 1].tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]


def test_learned_vectors_are_counts_times_a_matrix():
    learned = features_of(inputs="both", embed_dim=6)
    counted = Counts(11)(TOKENS.reshape(10, 1)), Counts(13)(TRIGRAMS.reshape(10, 7))

    expected = [counts @ learned.bags[name].weight for name, counts in zip(learned.bags, counted, strict=True)]

    assert_close(learned(TOKENS, TRIGRAMS), torch.cat(expected, dim=1).reshape(2, 5, 12))


def test_window_contains_the_neighbors_in_order():
    found = features_of(embedding="one_hot", context_window=3)(TOKENS, TRIGRAMS)

    words = found.reshape(2, 5, 11, 3)  # the last axis: left neighbor, the word, right neighbor
    alone = features_of(embedding="one_hot")(TOKENS, TRIGRAMS)
    assert_close(words[:, :, :, 1], alone)
    assert_close(words[:, 1:, :, 0], alone[:, :-1])
    assert_close(words[:, :-1, :, 2], alone[:, 1:])
    assert not words[:, 0, :, 0].any()


def test_window_sees_the_same_in_padding_as_beyond_the_batch():
    features = features_of(inputs="both", embed_dim=6, context_window=5)

    padded, single = features(TOKENS, TRIGRAMS), features(TOKENS[1:, :3], TRIGRAMS[1:, :3])

    assert_close(padded[1:, :3], single)


def test_dropped_words_become_other_and_keep_their_trigrams():
    features = features_of(inputs="both", embed_dim=6, word_dropout=0.3)
    tokens, trigrams = torch.full((50, 20), 7), torch.full((50, 20, 2), 5)
    tokens[:, 19] = trigrams[:, 19] = 0

    words, letters = features(tokens, trigrams).split(6, dim=2)

    other = (words == features.bags["words"].weight[1]).all(dim=2)
    kept = (words == features.bags["words"].weight[7]).all(dim=2)
    assert (other | kept)[:, :19].all()
    assert 0.25 < other[:, :19].float().mean() < 0.35
    assert not words[:, 19].any()  # padding stays padding
    assert_close(letters[:, :19], (2 * features.bags["trigrams"].weight[5]).expand(50, 19, 6))


def test_padding_stays_zero_in_training():
    features = features_of(inputs="both", embed_dim=6)

    features(TOKENS, TRIGRAMS).sum().backward()

    for bag in features.bags.values():
        assert not bag.weight[0].any()
        assert not bag.weight.grad[0].any()


def test_no_word_is_dropped_in_evaluation():
    features = features_of(embed_dim=6, word_dropout=0.9).eval()

    assert_close(features(TOKENS, TRIGRAMS), features.bags["words"].weight[TOKENS])


def test_an_even_window_is_refused():
    with pytest.raises(ValueError, match="context_window = 4: expected an odd number"):
        features_of(context_window=4)
