from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from dlpipe.errors import InputError
from dlpipe_audio.segments import Segment
from dlpipe_audio.word_vectors import WordVectors, known_phones, mean_vectors, principal_plane


def test_the_mean_of_a_word_is_over_all_who_say_it():
    segments = [Segment(f"{word}-{speaker}", word, speaker) for word, speaker in ("by", "ax", "bx", "az", "ay")]
    vectors = torch.tensor([[1.0, 0], [2, 5], [3, 4], [4, 5], [9, 2]])

    means = mean_vectors(WordVectors(segments, vectors, []))

    assert list(means) == ["a", "b"]
    assert_close(torch.stack([*means.values()]), torch.tensor([[5.0, 4], [2, 2]]))


@pytest.mark.parametrize("order", [1, -1])
def test_a_word_has_the_same_phones_in_all_recordings(order):
    segments = [Segment(f"{phones}.wav", "yes", "ann", tuple(phones)) for phones in ("yes", "yas")][::order]
    first, second = ("y e s", "y a s")[::order]

    with pytest.raises(
        InputError, match=rf"who: the phones of 'yes' are '{first}' and, in \w+.wav, '{second}'; expected"
    ):
        known_phones(segments, "who")


def test_vectors_of_one_number_are_on_a_line_of_the_plane():
    assert_close(principal_plane(torch.tensor([[2.0], [-3.0]])).abs(), torch.tensor([[2.0, 0], [3, 0]]))
