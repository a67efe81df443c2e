"""Generated speech: what is measured of it, and what `dlpipe predict` makes of a model."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import soundfile
import torch
from torch import nn

from dlpipe.compute import Compute
from dlpipe.errors import InputError
from dlpipe.evaluation import Examples
from dlpipe_audio import generated_speech
from dlpipe_audio.generate_speech import generate
from dlpipe_audio.generated_speech import GeneratedSpeech, spectrogram
from dlpipe_audio.mu_law import to_levels, to_wave
from dlpipe_audio.recorded_words import folder
from dlpipe_audio.waveform_likelihood import WaveformLikelihood
from dlpipe_audio.waveforms import tone_waveforms
from dlpipe_audio.wavenet import WaveNet
from dlpipe_audio.wavenet_sampling import draw_recordings
from dlpipe_audio.word_recognizer import WordRecognizer

from .conftest import digits

CPU = Compute(torch.device("cpu"))
SMALL = {"layers": 2, "channels": 3, "skip_channels": 4, "condition_dim": 5}


@pytest.fixture(scope="module")
def data():
    return tone_waveforms(num_words=3, num_speakers=2, takes=20)


def network(data, **options):
    torch.manual_seed(0)
    facts = data.facts
    return WaveNet(facts["num_levels"], facts["words"], facts["speakers"], **SMALL, **options).eval()


def padded(waves):
    return nn.utils.rnn.pad_sequence([to_levels(wave) for wave in waves], batch_first=True)


def test_a_network_that_knows_nothing_misses_eight_bits_of_each_sample(data):
    model = network(data)
    for parameter in model.output[-1].parameters():
        nn.init.zeros_(parameter)
    evaluator = WaveformLikelihood()

    assert evaluator.evaluate(model, Examples(data, "test", CPU)) == pytest.approx({"bits": 8})


def test_the_bits_are_a_mean_over_samples_and_so_are_those_of_the_recordings(data, tmp_path):
    model, evaluator = network(data), WaveformLikelihood()

    bits = evaluator.evaluate(model, Examples(data, "test", CPU))["bits"]

    batch = data.split("test").batch(torch.arange(12))
    with torch.inference_mode():
        nats = model(**batch)
    assert bits == pytest.approx(float(nats.sum() / batch["lengths"].sum()) / math.log(2), rel=1e-5)
    scores = evaluator.example_scores()
    weighted = sum(w * s for w, s in zip(scores.weights, scores.scores, strict=True)) / sum(scores.weights)
    assert weighted == pytest.approx(bits)
    place = scores.rows.index(3)
    assert scores.scores[place] == pytest.approx(float(nats[3].sum() / batch["lengths"][3]) / math.log(2), rel=1e-5)
    assert [item.file for item in evaluator.write(tmp_path)] == ["bits.png"]


def test_recordings_are_recognized_as_what_they_are_and_noise_is_not(data, monkeypatch, tmp_path):
    real = [data.waveform("test", row) for row in range(12)]
    monkeypatch.setattr(generated_speech, "draw_recordings", lambda *_, **__: padded(real))
    evaluator, model = GeneratedSpeech(recognizer_steps=60), network(data, conditions=["word"])

    as_recorded = evaluator.evaluate(model, Examples(data, "test", CPU))
    noise = torch.randint(256, (12, 6000), generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(generated_speech, "draw_recordings", lambda *_, **__: noise)
    of_noise = evaluator.evaluate(model, Examples(data, "test", CPU))

    assert as_recorded["recognized"] == as_recorded["recognized_recorded"] == of_noise["recognized_recorded"] > 0.8
    assert of_noise["recognized"] <= 0.5
    files = [item.file for item in evaluator.write(tmp_path)]
    assert files == ["spectrograms.png", "sounds"]
    assert (tmp_path / "spectrograms.png").stat().st_size > 5000
    assert len(list((tmp_path / "sounds").glob("*_generated.wav"))) == 6
    recorded, rate = soundfile.read(tmp_path / "sounds" / "1_si_recorded.wav")
    assert (len(recorded), rate) == (len(real[0]), 8000)


def test_what_is_generated_has_the_words_the_speakers_and_the_durations_of_the_split(data, monkeypatch):
    asked = []

    def drawn(model, words, speakers, durations, *, seed, temperature):
        asked.append((words.tolist(), speakers.tolist(), durations.tolist(), seed, temperature))
        return torch.full((len(words), int(durations.max())), 128)

    monkeypatch.setattr(generated_speech, "draw_recordings", drawn)

    evaluator = GeneratedSpeech(count=4, seed=7, temperature=0.9, recognizer_steps=1)
    examples = Examples(data, "test", CPU)
    metrics = evaluator.evaluate(network(data, conditions=["word"]), examples)
    of_speakers = evaluator.evaluate(network(data), examples)

    rows = [0, 4, 7, 11]
    columns = data.split("test").columns
    words, speakers, durations = (columns[name][rows].tolist() for name in ("words", "speakers", "durations"))
    assert asked == [(words, speakers, durations, 7, 0.9)] * 2
    assert set(metrics) == {"recognized", "recognized_recorded"}  # it is not told who speaks
    assert set(of_speakers) - set(metrics) == {"speaker_recognized", "speaker_recognized_recorded"}


def test_an_evaluator_leaves_the_random_numbers_of_training_as_they_were(data):
    waves = [torch.randn(800, generator=torch.Generator().manual_seed(row)) for row in range(3)]
    before = torch.get_rng_state()

    WordRecognizer(waves, torch.tensor([0, 1, 1]), 2, rate_hz=8000, device=CPU.device, steps=2)

    assert torch.equal(torch.get_rng_state(), before)


def test_one_word_or_one_speaker_cannot_be_told_apart(monkeypatch):
    one_speaker = tone_waveforms(num_words=2, num_speakers=1, takes=10)
    one_word = tone_waveforms(num_words=1, num_speakers=2, takes=10)
    silence = torch.full((2, 9000), 128)
    monkeypatch.setattr(generated_speech, "draw_recordings", lambda *_, **__: silence)
    evaluator = GeneratedSpeech(recognizer_steps=1)

    metrics = evaluator.evaluate(network(one_speaker), Examples(one_speaker, "test", CPU))

    assert set(metrics) == {"recognized", "recognized_recorded"}
    with pytest.raises(InputError, match="needs several words to tell apart; training has one: si"):
        evaluator.evaluate(network(one_word), Examples(one_word, "test", CPU))


@pytest.mark.parametrize("evaluator", [WaveformLikelihood, GeneratedSpeech])
def test_data_without_waveforms_is_refused(evaluator, write):
    words = folder(write(digits()))

    with pytest.raises(InputError, match=r"audio\.\w+ judges waveforms; WordData has none: use audio.waveforms"):
        evaluator().evaluate(nn.Identity(), Examples(words, "test", CPU))


def test_a_model_that_generates_no_words_is_refused(data):
    examples = Examples(data, "test", CPU)

    with pytest.raises(InputError, match="needs a model that generates speech, audio.wavenet; got Identity"):
        GeneratedSpeech().evaluate(nn.Identity(), examples)
    with pytest.raises(InputError, match='needs a model that is told which word to generate: add "word" to its'):
        GeneratedSpeech().evaluate(network(data, conditions=["speaker"]), examples)


def test_a_spectrogram_shows_a_tone_at_its_frequency():
    time = torch.arange(4000) / 8000

    power = spectrogram((2 * torch.pi * 1000 * time).sin())

    assert power[:, 20].argmax() == 32  # 1000 Hz of 4000, in 129 frequencies
    assert power.max() == 0
    assert power[100, 20] < -50


def test_predict_writes_each_word_by_each_speaker(data, tmp_path):
    model = network(data)

    answers = list(generate(model, data, CPU, count=2, seconds=0.01, seed=3, temperature=0.8, output=tmp_path / "new"))

    assert len(answers) == 12
    assert answers[3] == {
        "written": str(tmp_path / "new" / "fa_1_1.wav"),
        "word": "fa",
        "speaker": "1",
        "seconds": 0.01,
    }
    wave, rate = soundfile.read(answers[3]["written"])
    words, speakers = torch.tensor([0, 0, 0, 0]), torch.tensor([0, 0, 1, 1])
    levels = draw_recordings(model, words, speakers, torch.full((4,), 80), seed=3, temperature=0.8)
    assert rate == 8000
    assert torch.from_numpy(wave).float().sub(to_wave(levels[3])).abs().max() < 1e-4  # 16 bits


def test_predict_writes_the_word_that_is_asked_for(data, tmp_path):
    answers = list(generate(network(data, conditions=["word"]), data, CPU, word="xe", seconds=0.01, output=tmp_path))

    assert [(answer["word"], answer["written"]) for answer in answers] == [("xe", str(tmp_path / "xe_0.wav"))]


def test_files_of_words_that_differ_in_a_character_that_no_name_has_are_two(tmp_path):
    model = WaveNet(256, ["a/b", "a:b"], ["ann"], **SMALL, conditions=["word"]).eval()
    data = SimpleNamespace(facts={"rate_hz": 100, "words": ["a/b", "a:b"], "speakers": ["ann"]})

    answers = list(generate(model, data, CPU, seconds=0.1, output=tmp_path))

    assert [(answer["word"], Path(answer["written"]).name) for answer in answers] == [
        ("a/b", "a_b_0.wav"),
        ("a:b", "a_b_1.wav"),
    ]


def test_a_model_that_is_told_nothing_generates_speech(data, tmp_path):
    answers = list(generate(network(data, conditions=[]), data, CPU, count=2, seconds=0.01, output=tmp_path))

    assert [Path(answer["written"]).name for answer in answers] == ["speech_0.wav", "speech_1.wav"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"word": "si "}, '--word si : expected one of fa, si, xe. Did you mean "si"'),
        ({"speaker": "9"}, "--speaker 9: expected one of 0, 1"),
        ({}, "--output .*: expected a new or an empty folder; choose another name"),
    ],
)
def test_what_cannot_be_generated_is_refused(data, tmp_path, options, message):
    (tmp_path / "file").touch()

    with pytest.raises(InputError, match=message):
        next(generate(network(data), data, CPU, seconds=0.01, output=tmp_path, **options))


def test_less_than_a_sample_is_refused(data, tmp_path):
    with pytest.raises(InputError, match="--seconds 1e-05: less than one sample; expected at least 0.000125"):
        next(generate(network(data), data, CPU, seconds=1e-5, output=tmp_path))


def test_a_model_that_generates_no_speech_is_refused(data, tmp_path):
    with pytest.raises(InputError, match="Identity generates no speech; use audio.wavenet"):
        next(generate(nn.Identity(), data, CPU, output=tmp_path))


def test_an_option_that_the_model_is_not_told_of_is_refused(data, tmp_path):
    message = (
        "--speaker 0: the model is not told which speaker to generate; leave --speaker out, or train one with "
        '"speaker" among its conditions'
    )

    with pytest.raises(InputError, match=message):
        next(generate(network(data, conditions=["word"]), data, CPU, speaker="0", output=tmp_path / "new"))
