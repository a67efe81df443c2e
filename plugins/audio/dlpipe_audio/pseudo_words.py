"""Made-up words of English phones for espeak-ng, since the English words are too few to learn from."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dlpipe.compute import derived_seed
from dlpipe_audio.english_words import WORDS

#: Phones in the International Phonetic Alphabet, as in `english_words`, and the names that espeak-ng has for them.
CONSONANTS = {
    **{phone: phone for phone in ["p", "b", "t", "d", "k", "f", "v", "s", "z", "m", "n", "l", "j", "w", "h"]},
    **{"ɡ": "g", "ɹ": "r", "ʃ": "S", "tʃ": "tS", "dʒ": "dZ", "θ": "T", "ð": "D"},
}
VOWELS = {
    **{"ɪ": "I", "ɛ": "E", "æ": "a", "ɑː": "A:", "ʌ": "V", "ʊ": "U", "iː": "i:", "uː": "u:", "eɪ": "eI", "aɪ": "aI"},
    **{"oʊ": "oU", "aʊ": "aU", "ɔɪ": "OI", "ɔː": "O:", "ɜː": "3:"},
}


def pseudo_words(count: int) -> dict[str, tuple[str, ...]]:
    """Return words with their phones, always the same ones; none has the phones of an English word of `english_words`.

    One to three syllables of a vowel, four in five with a consonant before it; every second word ends in a consonant.
    """
    generator = torch.Generator().manual_seed(derived_seed("pseudo words"))

    def drawn(below: int) -> int:
        return int(torch.randint(below, (1,), generator=generator))

    def one_of(phones: Sequence[str]) -> str:
        return phones[drawn(len(phones))]

    consonants, vowels, known = list(CONSONANTS), list(VOWELS), set(WORDS.values())
    words: dict[str, tuple[str, ...]] = {}
    while len(words) < count:
        phones = []
        for _ in range(1 + drawn(3)):
            phones += [one_of(consonants)] if drawn(5) else []
            phones.append(one_of(vowels))
        phones += [one_of(consonants)] if drawn(2) else []
        if len(phones) > 1 and tuple(phones) not in known:
            words["".join(phones)] = tuple(phones)
    return words


def spelled(phones: Sequence[str]) -> str:
    """Return what makes espeak-ng speak phones, with the stress on the first vowel."""
    first = next(place for place, phone in enumerate(phones) if phone in VOWELS)
    names = [(CONSONANTS | VOWELS)[phone] for phone in phones]
    return f"[[{''.join(names[:first])}'{''.join(names[first:])}]]"
