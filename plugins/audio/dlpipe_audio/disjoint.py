"""Made-up utterances for splits that share neither words nor speakers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlpipe.errors import InputError
from dlpipe_audio.segments import Segment

#: Words that follow each other and sound alike belong to one split.
FAMILY = 4
#: Of ten families of words and of ten speakers, six are for training, two for dev and two for test.
SHARES = {"train": (0, 6), "dev": (6, 8), "test": (8, 10)}


def check_counts(num_words: int, num_speakers: int) -> None:
    """Raise an `InputError` if a split would have a single word or a single speaker."""
    for name, count, least in (("num_words", num_words, 10 * FAMILY), ("num_speakers", num_speakers, 10)):
        if count < least:
            raise InputError(
                f"{name} = {count}: expected at least {least}, since a word must be said by two speakers and a split "
                "needs several words"
            )


def utterances(words: Mapping[str, tuple[str, ...]], num_speakers: int, takes: int, split: str) -> list[Segment]:
    """Return what the speakers of a split say: each of its words, `takes` times; named ``WORD_SPEAKER_TAKE``.

    Args:
        words: all words with their phones, families together.
    """
    return [
        Segment(f"{word}_{speaker}_{take}", word, str(speaker), phones=words[word])
        for word in words_of(list(words), split)
        for speaker in share(num_speakers, split)
        for take in range(takes)
    ]


def words_of(names: Sequence[str], split: str) -> list[str]:
    """Return those of all words, families together, that belong to a split."""
    families = [names[start : start + FAMILY] for start in range(0, len(names), FAMILY)]
    return [word for family in share(len(families), split) for word in families[family]]


def share(count: int, split: str) -> list[int]:
    """Return the numbers below `count` that belong to a split."""
    first, last = SHARES[split]
    return [number for number in range(count) if first <= number % 10 < last]
