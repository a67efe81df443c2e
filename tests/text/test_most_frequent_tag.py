import torch
from torch.testing import assert_close

from dlpipe.data import IGNORE_INDEX
from dlpipe_text.most_frequent_tag import MostFrequentTag


def fitted() -> MostFrequentTag:
    model = MostFrequentTag(5, ["O", "B-city", "I-city"])
    tokens = torch.tensor([[2, 3, 3], [3, 2, 0]])
    model.fit(tokens, torch.tensor([[0, 1, 2], [1, 0, IGNORE_INDEX]]))
    return model


def test_each_word_gets_its_most_frequent_tag_and_an_unknown_word_that_of_all_words():
    scores = fitted()(torch.tensor([[2, 3, 4]]))

    assert scores.shape == (1, 3, 3)
    assert scores.argmax(2).tolist() == [[0, 1, 0]]


def test_scores_are_the_logarithms_of_probabilities():
    scores = fitted()(torch.tensor([[2, 3], [4, 0]]))

    assert_close(scores.exp().sum(2), torch.ones(2, 2))
    # Word 3: O, B-city and I-city 0, 2 and 1 times, and one more occurrence shared as 3 : 3 : 2 among 8.
    assert_close(scores[0, 1].exp(), torch.tensor([0.375, 2.375, 1.25]) / 4)


def test_a_saved_model_gives_the_same_scores():
    model, other = fitted(), MostFrequentTag(5, ["O", "B-city", "I-city"])

    other.load_state_dict(model.state_dict())

    assert_close(other(torch.tensor([[2, 3]])), model(torch.tensor([[2, 3]])))
