"""English words spoken by the synthesizer espeak-ng, which runs as a child process.

Axes: S samples.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from functools import cached_property
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dlpipe.compute import derived_seed
from dlpipe.errors import DataError, InputError
from dlpipe.fields import NonNegative, Positive
from dlpipe.progress import activity
from dlpipe_audio.audio_files import resampler
from dlpipe_audio.augment import Augment
from dlpipe_audio.disjoint import SHARES, check_counts, share, utterances
from dlpipe_audio.english_words import WORDS
from dlpipe_audio.features import Features
from dlpipe_audio.pseudo_words import pseudo_words, spelled
from dlpipe_audio.recordings import read_item
from dlpipe_audio.segments import Segment
from dlpipe_audio.speak import RATE_HZ
from dlpipe_audio.word_data import Pairs, WordData

#: Voices of espeak-ng that sound human and, unlike a dozen others, say the same in every process.
VARIANTS = (
    *("m1", "f4", "Alex", "m2", "Andrea", "Andy", "linda", "m3", "klatt", "Annie", "Denis", "m4", "anika", "david"),
    *("grandma", "Gene", "m5", "belinda", "edward", "klatt2", "Hugo", "steph", "m6", "ed", "aunty", "grandpa", "Jacky"),
    *("m7", "steph2", "john", "Lee", "m8", "iven", "Marco", "adam", "klatt4", "Mario", "Michael", "steph3", "Mike"),
    *("benjamin", "quincy", "Diogo", "paul", "antonio", "max", "boris", "rob"),
)
ACCENTS = ("en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-us-nyc")
TIMEOUT_S = 600
_CHILD = Path(__file__).with_name("speak.py")


def spoken_words(
    *,
    num_words: Positive = 160,
    num_speakers: Positive = 30,
    takes: Positive = 1,
    num_pseudowords: NonNegative = 0,
    rate_hz: Positive = 16_000,
    features: Features = {},  # noqa: B006  read only
    pairs: Pairs = "none",
    augment: Augment | None = None,
) -> WordData:
    """English words by the voices of espeak-ng, with noise; words and voices of the splits are disjoint.

    Of ten words and of ten voices, six are in train, two in dev and two in test; each voice of a split says each of its
    words, at its own speed and pitch.

    Args:
        num_words: of all splits together, at most 205.
        num_speakers: of all splits together, at most 48.
        takes: how often a speaker says each word, each time a little differently.
        num_pseudowords: further words of train, made-up combinations of English phones; two voices say each of them.
        rate_hz: samples per second that speech is converted to.
        features: how frames are computed.
        pairs: for a model with `target = "same_word"`, "same_word" provides each word as another speaker says it, and
            "alike" one of the recordings that sound most like it, found without knowing the words.
        augment: random changes to the features of training words, such as { speed = 0.1, time_mask = 5 }.
    """
    source = SpokenWords(num_words, num_speakers, takes, rate_hz, num_pseudowords)
    return WordData(source, features, pairs=pairs, augment=augment, classified=False)


class SpokenWords:
    """The source of `spoken_words`.

    A whole split is spoken at once: espeak-ng keeps a state from word to word, so that the same list gives the same
    samples and a single word does not.

    Args:
        num_words: of all splits together.
        num_speakers: of all splits together.
        takes: utterances of each word by each speaker.
        rate_hz: samples per second of all waveforms.
        num_pseudowords: further words of train.
    """

    splits: Sequence[str] = tuple(SHARES)
    clipped: Collection[str] = ()

    def __init__(self, num_words: int, num_speakers: int, takes: int, rate_hz: int, num_pseudowords: int = 0) -> None:
        check_counts(num_words, num_speakers)
        for name, count, most in (("num_words", num_words, len(WORDS)), ("num_speakers", num_speakers, len(VARIANTS))):
            if count > most:
                raise InputError(f"{name} = {count}: expected at most {most}")
        self.rate_hz = rate_hz
        self._sizes = num_words, num_speakers, takes, rate_hz, num_pseudowords
        self._words = dict(list(WORDS.items())[:num_words])
        self._spoken: dict[str, dict[str, Tensor]] = {}

    def segments(self, split: str) -> list[Segment]:
        """Return the words of a split."""
        _, num_speakers, takes, _, count = self._sizes
        found = utterances(self._words, num_speakers, takes, split)
        voices = share(num_speakers, "train")
        if split == "train":
            for number, (word, phones) in enumerate(pseudo_words(count).items()):
                # Each voice together with each of the others, in turn.
                first, apart = number % len(voices), 1 + number // len(voices) % (len(voices) - 1)
                pair = voices[first], voices[(first + apart) % len(voices)]
                found += [Segment(f"{word}_{voice}_0", word, str(voice), phones=phones) for voice in pair]
        return found

    def waveform(self, segment: Segment) -> Tensor:
        """Return a word (S,) with noise."""
        split = self._split_of[segment.name]
        if split not in self._spoken:
            segments = self.segments(split)
            waves = spoken([_order(each) for each in segments])
            self._spoken[split] = {each.name: wave for each, wave in zip(segments, waves, strict=True)}
        wave: Tensor = resampler(RATE_HZ, self.rate_hz)(self._spoken[split][segment.name])
        generator = torch.Generator().manual_seed(derived_seed("noise", segment.name))
        level = 10 ** (-3.5 + 1.5 * torch.rand(1, generator=generator))
        noise = level * wave.abs().max() * torch.randn(len(wave), generator=generator)
        return torch.add(wave, noise)

    def item(self, item: str) -> Tensor:
        """Read a file (S,) that a person names."""
        return read_item(item, self.rate_hz)

    def digest(self) -> str:
        """Return the sizes, the voices and the version of the synthesizer."""
        return repr((self._sizes, WORDS, VARIANTS, ACCENTS, metadata.version("espeakng-loader")))

    @cached_property
    def _split_of(self) -> dict[str, str]:
        return {segment.name: split for split in self.splits for segment in self.segments(split)}


def spoken(orders: Sequence[dict[str, object]]) -> list[Tensor]:
    """Speak words in a process of their own, and return their samples (S,), -1 to 1, at `RATE_HZ`.

    Args:
        orders: text, voice, speed in words per minute and pitch (0 to 100) of each.

    Raises:
        DataError: the process fails.
    """
    with tempfile.TemporaryDirectory() as folder, activity(f"speaking {len(orders):,} words"):
        # -P: the modules of this package are not on the child's path.
        command = [sys.executable, "-P", str(_CHILD), folder]
        try:
            subprocess.run(
                command,
                input="\n".join(map(json.dumps, orders)),
                text=True,
                capture_output=True,
                check=True,
                timeout=TIMEOUT_S,
            )
        except subprocess.CalledProcessError as error:
            why = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
            raise DataError(
                f"espeak-ng failed: {why}; reinstall espeakng-loader (extra `speech`), or use audio.tone_words, which "
                "does not need it"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise DataError(
                f"espeak-ng did not finish {len(orders):,} words in {TIMEOUT_S} s; ask for fewer"
            ) from error
        words = (Path(folder) / "words.jsonl").read_text(encoding="utf-8").splitlines()
        counts = [json.loads(line)["samples"] for line in words]
        samples = np.fromfile(Path(folder) / "audio.s16", dtype="<i2").astype(np.float32) / 32768
    return list(torch.from_numpy(samples).split(counts))


def _order(segment: Segment) -> dict[str, object]:
    """Return what a segment with a name such as ``banana_12_0`` asks for."""
    word, speaker, take = segment.name.split("_")
    number = int(speaker)
    own = torch.rand(2, generator=torch.Generator().manual_seed(derived_seed("speaker", speaker)))
    now = torch.rand(2, generator=torch.Generator().manual_seed(derived_seed("take", word, speaker, take)))
    speed, pitch = (0.8 * own + 0.2 * now).tolist()
    return {
        "text": word if word in WORDS else spelled(segment.phones),
        "voice": f"{ACCENTS[number % len(ACCENTS)]}+{VARIANTS[number]}",
        "speed": round(120 + 100 * speed),
        "pitch": round(25 + 50 * pitch),
    }
