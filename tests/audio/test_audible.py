"""Features become sounds that resemble the recording."""

from __future__ import annotations

import pytest
import soundfile
import torch
from torch.testing import assert_close

from dlpipe.compute import Compute
from dlpipe.evaluation import Examples
from dlpipe_audio.audible import audible, denormalized
from dlpipe_audio.features import FrameFeatures
from dlpipe_audio.reconstruction import Reconstruction
from dlpipe_audio.seq2seq_autoencoder import Seq2SeqAutoEncoder
from dlpipe_audio.tone_words import ToneWords, tone_words

SPECTRUM = FrameFeatures({"kind": "log_mel", "mels": 40, "window_ms": 32.0}, 16_000)


def likeness(first, second):
    """Return the correlation of two sounds' spectra."""
    length = min(len(first), len(second))
    parts = [SPECTRUM.frames(sound[:length], "").flatten() for sound in (first, second)]
    return float(torch.corrcoef(torch.stack(parts))[0, 1])


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"hop_ms": 20.0, "deltas": 2},
        {"kind": "log_mel", "mels": 80},
        {"kind": "log_mel", "hop_ms": 20.0, "window_ms": 20.0},
    ],
)
def test_a_word_is_more_like_its_own_features_than_any_other_word(chosen):
    source = ToneWords(40, 10, 1)
    features = FrameFeatures(chosen, source.rate_hz)
    spoken = [source.waveform(segment) for segment in source.segments("test")[::4]]

    sound = audible(features.frames(spoken[0], ""), features)

    assert abs(len(sound) - len(spoken[0])) < 2 * features.hop + features.window
    assert 0.05 < float(sound.square().mean().sqrt()) < 0.2
    assert float(sound.abs().max()) <= 1
    assert likeness(sound, spoken[0]) > max(likeness(sound, other) for other in spoken[1:])


def test_the_normalization_of_a_word_is_undone():
    raw = torch.randn(7, 3) * torch.tensor([2.0, 5.0, 0.0]) + 1
    normalized = (raw - torch.tensor([1.0, 4.0, 1.0])) / torch.tensor([3.0, 2.0, 1.0])

    assert_close(denormalized(normalized, normalized, raw), raw)


def test_one_frame_and_extreme_frames_make_a_finite_sound():
    features = FrameFeatures({}, 16_000)

    for frames in (torch.zeros(1, 13), torch.full((3, 13), 1e6), torch.full((3, 13), -1e6)):
        assert audible(frames, features).isfinite().all()


def test_words_and_what_is_reconstructed_can_be_played(tmp_path):
    data = tone_words(num_words=40, num_speakers=10, features={"hop_ms": 20.0, "normalize": "speaker"})
    torch.manual_seed(0)
    model = Seq2SeqAutoEncoder(13, hidden_dim=4, vector_dim=3)
    evaluator = Reconstruction(count=2)

    evaluator.evaluate(model, Examples(data, "test", Compute(torch.device("cpu"))))
    evaluator.write(tmp_path)

    assert (tmp_path / "reconstructions.png").is_file()
    word = data.segments("test")[0].word
    names = [f"1_{word}_{kind}.wav" for kind in ("features", "original", "reconstructed")]
    assert sorted(path.name for path in (tmp_path / "sounds").iterdir())[:3] == names
    features, original, reconstructed = (
        torch.from_numpy(soundfile.read(tmp_path / "sounds" / name, dtype="float32")[0]) for name in names
    )
    assert_close(original, data.waveform("test", 0), atol=1e-4, rtol=0)
    assert len(reconstructed) == len(features)
    assert likeness(features, original) > likeness(reconstructed, original)
