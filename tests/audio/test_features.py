from __future__ import annotations

import builtins

import pytest
import torch
from torch.testing import assert_close

from dlpipe.errors import InputError, PluginError
from dlpipe_audio.features import FrameFeatures

from .conftest import tone

WAVE = torch.from_numpy(tone())


@pytest.mark.parametrize(
    ("given", "width"),
    [({}, 13), ({"deltas": 2}, 39), ({"kind": "log_mel", "mels": 20}, 20), ({"coefficients": 7, "deltas": 1}, 14)],
)
def test_frames_have_the_announced_width_and_distance(given, width):
    features = FrameFeatures(given, 8000)

    frames = features.frames(WAVE, "")

    assert frames.shape == (len(WAVE) // 80 + 1, width)
    assert features.num_features == width


def test_loudness_does_not_matter():
    features = FrameFeatures({}, 8000)

    assert_close(features.frames(WAVE / 50, ""), features.frames(WAVE, ""), atol=1e-3, rtol=1e-3)


def test_normalized_frames_of_an_utterance_have_mean_0_and_deviation_1():
    parts = [3 + 2 * torch.randn(9, 4), 5 * torch.randn(7, 4)]

    found = FrameFeatures({}, 8000).normalized(parts, ["a", "b"])

    for part in found:
        assert_close(part.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
        assert_close(part.std(0, correction=0), torch.ones(4))


def test_normalizing_by_speaker_keeps_the_differences_between_words_of_one_speaker():
    parts = [torch.full((3, 2), 1.0), torch.full((5, 2), 3.0), torch.full((4, 2), 7.0)]

    first, second, other = FrameFeatures({"normalize": "speaker"}, 8000).normalized(parts, ["a", "a", "b"])

    assert first.mean() < 0 < second.mean()
    assert_close(torch.cat([first, second]).mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    assert_close(other, torch.zeros(4, 2))


def test_values_that_do_not_fit_together_are_refused():
    with pytest.raises(InputError, match=r"features.coefficients = 30: expected at most mels = 24"):
        FrameFeatures({"coefficients": 30}, 8000)
    with pytest.raises(InputError, match=r'features.coefficients has no effect with kind = "log_mel"'):
        FrameFeatures({"kind": "log_mel", "coefficients": 9}, 8000)
    with pytest.raises(InputError, match=r"hop_ms = 0.01: expected at least two samples in a window and one in a hop"):
        FrameFeatures({"hop_ms": 0.01}, 8000)


def test_a_torchaudio_that_does_not_load_is_one_sentence_with_the_cure(monkeypatch):
    load = builtins.__import__

    def broken(name, *rest):
        if name == "torchaudio":
            raise OSError("libtorch_cuda.so: cannot open shared object file\nmore")
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", broken)

    with pytest.raises(PluginError, match=r"torchaudio does not load with torch \S+ \(libtorch_cuda.so: .*\); install"):
        FrameFeatures({}, 8000)
