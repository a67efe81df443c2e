from __future__ import annotations

import torch
from torch.testing import assert_close

from dlpipe_audio.segments import Segment
from dlpipe_audio.word_vectors import WordVectors, mean_vectors, principal_plane


def test_the_mean_of_a_word_is_over_all_who_say_it():
    segments = [Segment(f"{word}-{speaker}", word, speaker) for word, speaker in ("by", "ax", "bx", "az", "ay")]
    vectors = torch.tensor([[1.0, 0], [2, 5], [3, 4], [4, 5], [9, 2]])

    means = mean_vectors(WordVectors(segments, vectors, []))

    assert list(means) == ["a", "b"]
    assert_close(torch.stack([*means.values()]), torch.tensor([[5.0, 4], [2, 2]]))


def test_vectors_of_one_number_are_on_a_line_of_the_plane():
    assert_close(principal_plane(torch.tensor([[2.0], [-3.0]])).abs(), torch.tensor([[2.0, 0], [3, 0]]))
