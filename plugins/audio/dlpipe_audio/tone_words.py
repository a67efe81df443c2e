"""Made-up words from made-up speakers: a data set of speech that needs no recording.

The words come in families that differ in one or two phones, so some of them sound nearly alike. No word and no
speaker is in two splits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from torch import Tensor

from dlpipe.compute import derived_seed
from dlpipe.errors import InputError
from dlpipe.fields import Positive
from dlpipe_audio.audio_files import SUFFIXES
from dlpipe_audio.augment import Augment
from dlpipe_audio.disjoint import FAMILY, SHARES, check_counts, utterances
from dlpipe_audio.features import Features
from dlpipe_audio.recordings import read_item
from dlpipe_audio.segments import Segment
from dlpipe_audio.tone_speech import CONSONANTS, PHONES, RATE_HZ, VOWELS, drawn_voice, spoken
from dlpipe_audio.word_data import Pairs, WordData


def tone_words(
    *,
    num_words: Positive = 600,
    num_speakers: Positive = 10,
    takes: Positive = 1,
    features: Features = {},  # noqa: B006  read only
    pairs: Pairs = "none",
    augment: Augment | None = None,
) -> WordData:
    """Made-up words, synthesized with pulses, noise and formants; words and speakers of the splits are disjoint.

    Of ten words and of ten speakers, six are in train, two in dev and two in test; each speaker of a split says each of
    its words.

    Args:
        num_words: of all splits together.
        num_speakers: of all splits together.
        takes: how often a speaker says each word.
        features: how frames are computed.
        pairs: for a model with `target = "same_word"`, "same_word" provides each word as another speaker says it, and
            "alike" one of the recordings that sound most like it, found without knowing the words.
        augment: random changes to the features of training words, such as { speed = 0.1, time_mask = 5 }.
    """
    return WordData(ToneWords(num_words, num_speakers, takes), features, pairs=pairs, augment=augment, classified=False)


class ToneWords:
    """The source of `tone_words`. An utterance has a name, such as ``sanoki_12_0``: word, speaker, take.

    Args:
        num_words: of all splits together.
        num_speakers: of all splits together.
        takes: utterances of each word by each speaker.
    """

    splits: Sequence[str] = tuple(SHARES)
    rate_hz = RATE_HZ
    clipped: Collection[str] = ()

    def __init__(self, num_words: int, num_speakers: int, takes: int) -> None:
        check_counts(num_words, num_speakers)
        self._sizes, self._num_speakers, self._takes = (num_words, num_speakers, takes), num_speakers, takes
        families = -(-num_words // FAMILY)
        self._words = {word: tuple(word) for word in made_up_words(families * FAMILY)[:num_words]}

    def segments(self, split: str) -> list[Segment]:
        """Return the words of a split."""
        return utterances(self._words, self._num_speakers, self._takes, split)

    def waveform(self, segment: Segment) -> Tensor:
        """Synthesize a word."""
        return utterance(segment.name)

    def item(self, item: str) -> Tensor:
        """Synthesize what a name such as ``sanoki_12_0`` stands for, with any word of known phones, or read a file."""
        if Path(item).suffix.lower() in SUFFIXES:
            return read_item(item, RATE_HZ)
        word, *numbers = item.split("_")
        if not word or not set(word) <= set(PHONES) or not are_numbers(numbers):
            raise InputError(
                f"{item!r} is not an utterance of this data; expected WORD_SPEAKER_TAKE such as sanoki_12_0, with "
                f"words of the letters {''.join(sorted(PHONES))}"
            )
        return utterance(item)

    def digest(self) -> str:
        """Return a digest of the sizes and of one utterance, which changes with the synthesizer."""
        digest = hashlib.sha256(repr(self._sizes).encode())
        digest.update(self.item(f"{''.join(PHONES)}_0_0").numpy().tobytes())
        return digest.hexdigest()


def utterance(name: str) -> Tensor:
    """Return the samples (S,) that a name such as ``sanoki_12_0`` stands for: phones, speaker, take."""
    phones, speaker, take = name.split("_")
    voice = drawn_voice(torch.Generator().manual_seed(derived_seed("voice", speaker)))
    return spoken(phones, voice, torch.Generator().manual_seed(derived_seed("take", phones, speaker, take)))


def are_numbers(parts: Sequence[str]) -> bool:
    """Whether these are the speaker and the take in the name of an utterance."""
    return len(parts) == 2 and all(map(str.isdecimal, parts))


def made_up_words(count: int) -> list[str]:
    """Return words of two or three syllables, in families of `FAMILY`; always the same ones."""
    generator = torch.Generator().manual_seed(derived_seed("words"))

    def one_of(letters: Sequence[str]) -> str:
        return letters[int(torch.randint(len(letters), (1,), generator=generator))]

    vowels, consonants = list(VOWELS), list(CONSONANTS)
    words: dict[str, None] = {}
    while len(words) < count:
        if len(words) % FAMILY == 0:
            syllables = 2 + int(torch.randint(2, (1,), generator=generator))
            base = "".join(one_of(consonants) + one_of(vowels) for _ in range(syllables))
            words[base] = None
            continue
        changed = list(base)
        for _ in range(1 + int(torch.randint(2, (1,), generator=generator))):
            place = int(torch.randint(len(changed), (1,), generator=generator))
            changed[place] = one_of(vowels if changed[place] in VOWELS else consonants)
        words["".join(changed)] = None
    return list(words)
