"""The speech synthesizer. The figures of the documentation were measured on its sounds, so none may change unseen."""

from __future__ import annotations

from dataclasses import astuple

import pytest
import torch

from dlpipe_audio.tone_speech import PHONES, RATE_HZ, Voice, drawn_voice, spoken

VOICE = Voice(pitch_hz=120, formant_scale=1, formant_shifts=(1, 1, 1), speed=1, tilt=6, breath=0.1, background=0.002)
#: Of "a", the phone, "a": seconds, effective value, shares of the energy below 500 Hz, 1000 Hz, 2000 Hz and 3000 Hz.
SOUNDS = {
    "i": [0.432, 0.09641, 0.3175, 0.8621, 0.9794, 0.9991],
    "e": [0.432, 0.09367, 0.08254, 0.8367, 0.9809, 0.9997],
    "a": [0.432, 0.09393, 0.02588, 0.8042, 0.9816, 0.9997],
    "o": [0.432, 0.08627, 0.05685, 0.8705, 0.9838, 0.9996],
    "u": [0.432, 0.08374, 0.2935, 0.8738, 0.9841, 0.9996],
    "r": [0.432, 0.08646, 0.1293, 0.8195, 0.9848, 0.9996],
    "s": [0.416, 0.09551, 0.0377, 0.5926, 0.7236, 0.862],
    "x": [0.416, 0.09207, 0.04085, 0.6422, 0.8338, 0.9928],
    "f": [0.408, 0.08083, 0.05098, 0.7982, 0.9805, 0.9996],
    "z": [0.408, 0.08747, 0.08452, 0.7483, 0.9012, 0.9649],
    "m": [0.408, 0.0816, 0.1183, 0.8264, 0.9822, 0.9996],
    "n": [0.408, 0.08311, 0.1173, 0.82, 0.9819, 0.9996],
    "l": [0.408, 0.08512, 0.09969, 0.8185, 0.9827, 0.9996],
    "p": [0.448, 0.0772, 0.05459, 0.8002, 0.9703, 0.9995],
    "t": [0.448, 0.08064, 0.05262, 0.7752, 0.9337, 0.9957],
    "k": [0.448, 0.08066, 0.05326, 0.7863, 0.9532, 0.9993],
}


def summary(wave):
    energy = torch.fft.rfft(wave.double()).abs().square()
    hertz = torch.linspace(0, RATE_HZ / 2, len(energy))
    shares = [energy[hertz < limit].sum() / energy.sum() for limit in (500, 1000, 2000, 3000)]
    return [len(wave) / RATE_HZ, wave.square().mean().sqrt().item(), *(share.item() for share in shares)]


@pytest.mark.parametrize("phone", PHONES)
def test_a_phone_sounds_as_in_the_published_measurements(phone):
    wave = spoken(["a", phone, "a"], VOICE, torch.Generator().manual_seed(0))

    assert wave.isfinite().all()
    assert wave.abs().max() == 0.5
    assert summary(wave) == pytest.approx(SOUNDS[phone], rel=5e-3, abs=5e-4)


def test_voices_are_drawn_as_in_the_published_measurements():
    voice = drawn_voice(torch.Generator().manual_seed(0))

    assert astuple(voice) == (
        pytest.approx(150.773, rel=1e-5),
        pytest.approx(1.02369, rel=1e-5),
        pytest.approx((1.01877, 0.998613, 1.0555), rel=1e-5),
        pytest.approx(1.21093, rel=1e-5),
        pytest.approx(3.7963, rel=1e-5),
        pytest.approx(0.0398046, rel=1e-5),
        pytest.approx(0.00501972, rel=1e-5),
    )
