"""Made-up syllables, said again and again by the same few speakers."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dlpipe.compute import derived_seed
from dlpipe.errors import InputError
from dlpipe_audio.segments import Segment
from dlpipe_audio.tone_speech import CONSONANTS, RATE_HZ, VOWELS, drawn_voice, of_size, spoken

#: Of ten takes, all but two are for training.
SPLITS = {"train": range(8), "dev": range(8, 9), "test": range(9, 10)}
#: Noise of vowels and of the room, see `Voice`: as in a studio, since a model must also learn to generate it.
BREATH, BACKGROUND = 0.02, 2e-4


class ToneTakes:
    """A source of syllables; words and speakers are the same in all splits. A take has a name such as ``sa_2_0``.

    Args:
        num_words: syllables.
        num_speakers: who say each of them.
        takes: how often each of them does.
    """

    splits: Sequence[str] = tuple(SPLITS)
    rate_hz = RATE_HZ
    clipped: Collection[str] = ()

    def __init__(self, num_words: int, num_speakers: int, takes: int) -> None:
        known = syllables()
        if num_words > len(known):
            raise InputError(f"num_words = {num_words}: expected at most {len(known)}, a consonant and a vowel each")
        if takes < 10:
            raise InputError(f"takes = {takes}: expected at least 10, of which one is for dev and one for test")
        self._words, self._speakers, self._takes = known[:num_words], range(num_speakers), range(takes)

    def segments(self, split: str) -> list[Segment]:
        """Return the takes of a split."""
        return [
            Segment(f"{word}_{speaker}_{number}", word, str(speaker), phones=tuple(word))
            for word in self._words
            for speaker in self._speakers
            for number in self._takes
            if number % 10 in SPLITS[split]
        ]

    def waveform(self, segment: Segment) -> Tensor:
        """Synthesize a take."""
        return take(segment.name)

    def digest(self) -> str:
        """Return a digest of the names and of one take of each syllable, which changes with the synthesizer."""
        digest = hashlib.sha256(repr((self._words, self._speakers, self._takes)).encode())
        for word in self._words:
            digest.update(take(f"{word}_0_0").numpy().tobytes())
        return digest.hexdigest()


def take(name: str) -> Tensor:
    """Return the samples (S,) that a name such as ``sa_2_0`` stands for: phones, speaker, take."""
    phones, speaker, number = name.split("_")
    voice = drawn_voice(torch.Generator().manual_seed(derived_seed("voice", speaker)))
    # Multiples of the golden ratio are far from each other, so that few speakers sound different.
    size = (0.3 + 0.618 * int(speaker)) % 1
    pitch_hz, formant_scale = of_size(size)
    studio = replace(voice, pitch_hz=pitch_hz, formant_scale=formant_scale, breath=BREATH, background=BACKGROUND)
    return spoken(phones, studio, torch.Generator().manual_seed(derived_seed("take", phones, speaker, number)))


def syllables() -> list[str]:
    """Return all syllables of a consonant and a vowel; those that follow each other differ in both."""
    consonants, vowels = list(CONSONANTS), list(VOWELS)
    return [
        consonant + vowels[(number + shift) % len(vowels)]
        for shift in range(len(vowels))
        for number, consonant in enumerate(consonants)
    ]
