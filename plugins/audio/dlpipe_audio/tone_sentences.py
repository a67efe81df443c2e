"""Made-up sentences from made-up speakers: speech recognition that needs no recording.

The words are those of ``audio.tone_words``. No word and no speaker is in two splits, so that letters must be heard, not
words known by heart.
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
from dlpipe_audio.audio_files import MAX_SENTENCE_SECONDS, SUFFIXES
from dlpipe_audio.augment import Augment
from dlpipe_audio.disjoint import FAMILY, SHARES, check_counts, share, words_of
from dlpipe_audio.features import Features
from dlpipe_audio.recordings import read_item
from dlpipe_audio.segments import Segment
from dlpipe_audio.tone_speech import PAUSE, PHONES, RATE_HZ
from dlpipe_audio.tone_words import are_numbers, made_up_words, utterance
from dlpipe_audio.transcripts import TranscriptData


def tone_sentences(
    *,
    num_words: Positive = 600,
    num_speakers: Positive = 30,
    sentences: Positive = 40,
    max_words: Positive = 4,
    features: Features = {},  # noqa: B006  read only
    augment: Augment | None = None,
) -> TranscriptData:
    """Sentences of made-up words, synthesized, to be written letter by letter; splits share neither words nor speakers.

    Of ten words and of ten speakers, six are in train, two in dev and two in test. The words of a sentence are drawn
    at random.

    Args:
        num_words: of all splits together.
        num_speakers: of all splits together.
        sentences: that each speaker says.
        max_words: of a sentence; the least is one.
        features: how frames are computed.
        augment: random changes to the features of training sentences, such as { speed = 0.1, time_mask = 5 }.
    """
    source = ToneSentences(num_words, num_speakers, sentences, max_words)
    return TranscriptData(source, features, units="letters", augment=augment)


class ToneSentences:
    """The source of `tone_sentences`. A sentence has a name, such as ``sanoki timu_12_0``: words, speaker, number.

    Args:
        num_words: of all splits together.
        num_speakers: of all splits together.
        sentences: that each speaker says.
        max_words: of a sentence.
    """

    splits: Sequence[str] = tuple(SHARES)
    rate_hz = RATE_HZ
    clipped: Collection[str] = ()

    def __init__(self, num_words: int, num_speakers: int, sentences: int, max_words: int) -> None:
        check_counts(num_words, num_speakers)
        self._sizes = num_words, num_speakers, sentences, max_words
        self._words = made_up_words(-(-num_words // FAMILY) * FAMILY)[:num_words]

    def segments(self, split: str) -> list[Segment]:
        """Return the sentences of a split."""
        words = words_of(self._words, split)
        _, num_speakers, sentences, max_words = self._sizes
        found = []
        for speaker in share(num_speakers, split):
            generator = torch.Generator().manual_seed(derived_seed("sentences", speaker))
            for number in range(sentences):
                count = 1 + int(torch.randint(max_words, (1,), generator=generator))
                drawn = torch.randint(len(words), (count,), generator=generator).tolist()
                text = " ".join(words[place] for place in drawn)
                found.append(Segment(f"{text}_{speaker}_{number}", text, str(speaker)))
        return found

    def waveform(self, segment: Segment) -> Tensor:
        """Synthesize a sentence."""
        return utterance(segment.name)

    def item(self, item: str) -> Tensor:
        """Synthesize what a name such as ``sanoki timu_12_0`` stands for, with any known letters, or read a file."""
        if Path(item).suffix.lower() in SUFFIXES:
            return read_item(item, RATE_HZ, MAX_SENTENCE_SECONDS)
        text, *numbers = item.split("_")
        if not text.strip() or not set(text) <= {*PHONES, PAUSE} or not are_numbers(numbers):
            raise InputError(
                f'{item!r} is not a sentence of this data; expected WORDS_SPEAKER_NUMBER such as "sanoki timu_12_0", '
                f"with words of the letters {''.join(sorted(PHONES))}"
            )
        return utterance(item)

    def digest(self) -> str:
        """Return a digest of the sizes and of one sentence, which changes with the synthesizer."""
        digest = hashlib.sha256(repr(self._sizes).encode())
        digest.update(self.item(f"{''.join(PHONES)}{PAUSE}a_0_0").numpy().tobytes())
        return digest.hexdigest()
