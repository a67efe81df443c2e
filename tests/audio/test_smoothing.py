from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from dlpipe_audio.retrieval import cosines
from dlpipe_audio.smoothing import embedded, smoothed


def speech(count=20, spread=0.45):
    """Return vectors, words and speakers: two words by two speakers, whose voices are far apart."""
    generator = torch.Generator().manual_seed(0)
    words = torch.arange(4 * count) % 2
    speakers = torch.arange(4 * count) // (2 * count)
    centers = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    voices = torch.tensor([[0.0, 0.0, 5.0, 0.0], [0.0, 0.0, 0.0, 5.0]])
    noise = spread * torch.randn(4 * count, 4, generator=generator)
    return centers[words] + voices[speakers] + noise, words, speakers


def contrast(vectors, words):
    same = words.unsqueeze(1) == words
    found = cosines(vectors)
    return float(found[same].mean() - found[~same].mean())


def test_recordings_of_one_word_move_together_whoever_speaks():
    vectors, words, speakers = speech()

    found = smoothed(vectors, speakers, 10)

    assert_close(found.norm(dim=1), torch.ones(len(found)))
    assert contrast(vectors, words) < 0.1
    assert contrast(found, words) > contrast(smoothed(vectors, speakers, 0), words) + 0.3


def test_without_neighbors_vectors_are_centered_by_speaker_only():
    vectors, _, speakers = speech()

    found = smoothed(vectors, speakers, 0)

    centered = torch.cat([vectors[speakers == who] - vectors[speakers == who].mean(0) for who in (0, 1)])
    assert_close(found, torch.nn.functional.normalize(centered, dim=1))


def test_the_order_of_the_recordings_has_no_effect():
    vectors, _, speakers = speech()
    order = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(1))

    assert_close(smoothed(vectors[order], speakers[order], 3), smoothed(vectors, speakers, 3)[order])


def test_a_speaker_of_one_recording_keeps_a_vector():
    vectors, _, speakers = speech()
    speakers[0] = 7

    assert float(smoothed(vectors, speakers, 3)[0].norm()) == pytest.approx(1.0)


def test_more_neighbors_than_recordings_are_all_recordings():
    vectors, _, speakers = speech(count=2)

    assert_close(smoothed(vectors, speakers, 100), smoothed(vectors, speakers, len(vectors) - 1))


def test_embedded_distances_are_those_of_the_vectors():
    points = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    distances = torch.cdist(points, points).square()

    found = embedded(distances)

    assert_close(torch.cdist(found, found).square(), distances, atol=1e-3, rtol=1e-3)
