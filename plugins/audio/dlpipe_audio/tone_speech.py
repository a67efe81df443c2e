"""A small speech synthesizer: pulses and noise, filtered by formants (Fant's source-filter model).

Formants of vowels: Peterson & Barney 1952, "Control Methods Used in a Study of the Vowels", table II (men). The
consonants are coarse: what the ear needs to tell them apart (noise, bursts, nasal formants), not how they are spoken.
Axes: S samples, T control frames, K frequencies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

RATE_HZ = 8000
#: Samples of a control frame, and of the windows in which sounds are filtered.
HOP, WINDOW = 64, 256


@dataclass(frozen=True)
class Sound:
    """A part of a phone.

    Args:
        ms: duration at medium speed.
        formants: center frequencies of the three resonances, in Hz.
        voice: level of the voice, 0 to 1.
        noise: level of the noise, 0 to 1.
        noise_hz: center of the noise; its width is half as much.
    """

    ms: float
    formants: tuple[float, float, float] = (500.0, 1500.0, 2500.0)
    voice: float = 0.0
    noise: float = 0.0
    noise_hz: float = 2000.0


def _vowel(first: float, second: float, third: float) -> tuple[Sound, ...]:
    return (Sound(110, (first, second, third), voice=1.0),)


def _plosive(burst_hz: float, locus: float) -> tuple[Sound, ...]:
    return Sound(55, (300, locus, 2500)), Sound(25, (300, locus, 2500), noise=0.8, noise_hz=burst_hz)


VOWELS = {
    "i": _vowel(270, 2290, 3010),
    "e": _vowel(530, 1840, 2480),
    "a": _vowel(730, 1090, 2440),
    "o": _vowel(570, 840, 2410),
    "u": _vowel(300, 870, 2240),
    "r": _vowel(490, 1350, 1690),
}
CONSONANTS = {
    "s": (Sound(90, (350, 1700, 2600), noise=0.7, noise_hz=3400),),
    "x": (Sound(90, (350, 1800, 2500), noise=0.7, noise_hz=2200),),
    "f": (Sound(80, (350, 1100, 2400), noise=0.25, noise_hz=1200),),
    "z": (Sound(80, (300, 1700, 2600), voice=0.3, noise=0.4, noise_hz=3300),),
    "m": (Sound(75, (250, 950, 2200), voice=0.35),),
    "n": (Sound(75, (250, 1500, 2500), voice=0.35),),
    "l": (Sound(70, (360, 1150, 2800), voice=0.5),),
    "p": _plosive(700, 900),
    "t": _plosive(3300, 1800),
    "k": _plosive(1800, 2000),
}
#: What is cut out with a word before and after it; at most this long.
SILENCE = Sound(120)
PHONES = VOWELS | CONSONANTS
#: Between the words of a sentence.
PAUSE = " "
_SOUNDS = PHONES | {PAUSE: (Sound(60),)}


@dataclass(frozen=True)
class Voice:
    """How a speaker sounds.

    Args:
        pitch_hz: mean fundamental frequency.
        formant_scale: all formants are multiplied by it; a short vocal tract has a large one.
        formant_shifts: further factor of each formant.
        speed: of speaking.
        tilt: how much the voice falls with frequency, in dB per octave above 500 Hz.
        breath: level of noise within vowels.
        background: level of white noise in the recording.
    """

    pitch_hz: float
    formant_scale: float
    formant_shifts: tuple[float, float, float]
    speed: float
    tilt: float
    breath: float
    background: float


def drawn_voice(generator: torch.Generator) -> Voice:
    """Draw a speaker: man, woman or child, slow or fast, clear or breathy, in a quiet or a noisy room."""
    size, speed, tilt, breath, background, *shifts = torch.rand(8, generator=generator).tolist()
    pitch_hz, formant_scale = of_size(size)
    return Voice(
        pitch_hz=pitch_hz,
        formant_scale=formant_scale,
        formant_shifts=(0.93 + 0.14 * shifts[0], 0.93 + 0.14 * shifts[1], 0.93 + 0.14 * shifts[2]),
        speed=0.75 + 0.6 * speed,
        tilt=3 + 9 * tilt,
        breath=0.02 + 0.15 * breath,
        background=0.002 * 10 ** (1.3 * background),
    )


def of_size(size: float) -> tuple[float, float]:
    """Return the pitch in Hz and the scale of formants of a voice, from the deepest (0) to the highest (1)."""
    return 90 * 2 ** (1.5 * size), 0.85 + 0.35 * size


def spoken(phones: Sequence[str], voice: Voice, generator: torch.Generator) -> Tensor:
    """Return a waveform (S,) of `phones` (keys of `PHONES`, or `PAUSE`), -1 to 1, at `RATE_HZ`.

    The generator draws what differs each time: pitch contour, durations, noise.
    """
    sounds = [SILENCE, *(sound for phone in phones for sound in _SOUNDS[phone]), SILENCE]
    jitter = 2 ** (1.6 * torch.rand(len(sounds), generator=generator) - 0.8)
    jitter[[0, -1]] = torch.rand(2, generator=generator)
    seconds = torch.tensor([sound.ms / 1000 for sound in sounds]) * jitter / voice.speed
    frames = (seconds * RATE_HZ / HOP).round().long().clamp_min(1)
    shifts = voice.formant_scale * torch.tensor(voice.formant_shifts)
    targets = torch.tensor([[*sound.formants, sound.noise_hz, sound.voice, sound.noise] for sound in sounds])
    targets[:, :3] *= shifts
    tracks = targets.repeat_interleave(frames, dim=0)  # (T, 6)
    tracks = torch.cat([_smooth(tracks[:, :4], 9), _smooth(tracks[:, 4:], 3)], dim=1)
    samples = HOP * len(tracks)
    pitch = voice.pitch_hz * (1.15 - 0.3 * torch.linspace(0, 1, samples) + 0.05 * torch.randn(1, generator=generator))
    cycles = (pitch / RATE_HZ).cumsum(0)
    pulses = F.pad((cycles.floor().diff() > 0).float(), (1, 0))
    noise = torch.randn(samples, generator=generator)
    voiced, noisy = _envelopes(tracks, voice)
    window = torch.hann_window(WINDOW)
    voice_part, noise_part = (
        torch.stft(part, WINDOW, HOP, window=window, return_complex=True) for part in (8 * pulses, noise)
    )
    beyond = (0, voice_part.shape[1] - len(tracks))  # a spectrum has one frame more than the tracks
    spectrum = voice_part * F.pad(voiced.T, beyond) + noise_part * F.pad(noisy.T, beyond)
    wave = torch.istft(spectrum, WINDOW, HOP, window=window, length=samples)
    wave = wave + voice.background * wave.abs().max() * 3 * torch.randn(samples, generator=generator)
    return 0.5 * wave / wave.abs().max()


def _smooth(track: Tensor, width: int) -> Tensor:
    """Average (T, C) over `width` frames, since a mouth moves gradually."""
    padded = F.pad(track.T.unsqueeze(0), (width // 2, width // 2), mode="replicate")
    return F.avg_pool1d(padded, width, 1)[0].T


def _envelopes(tracks: Tensor, voice: Voice) -> tuple[Tensor, Tensor]:
    """Return the gains (T, K) of pulses and of noise at each frequency."""
    hertz = torch.linspace(0, RATE_HZ / 2, WINDOW // 2 + 1)
    widths = torch.tensor([90.0, 120.0, 180.0])
    formants, noise_hz, loud, noise = tracks[:, :3], tracks[:, 3:4], tracks[:, 4:5], tracks[:, 5:6]
    distance = (hertz[None, :, None] - formants[:, None, :]) / widths
    resonance = (torch.tensor([1.0, 0.7, 0.4]) / (1 + distance.square())).sum(2)
    tilt = 10 ** (-voice.tilt / 20 * (hertz / 500).clamp_min(1).log2())
    voiced = loud * resonance * tilt
    bump = torch.exp(-0.5 * ((hertz - noise_hz) / (0.25 * noise_hz + 100)).square())
    return voiced, 0.5 * noise * bump + 0.3 * voice.breath * voiced
