"""Recorded words: which file says what, who belongs to which split, and reading them.

Axes: S samples.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from torch import Tensor

from dlpipe.data import Files, file_digests
from dlpipe.errors import DataError, InputError
from dlpipe.messages import counted, nearest, shown
from dlpipe_audio.audio_files import MAX_SECONDS, SUFFIXES, read_word
from dlpipe_audio.segments import Segment

SPLITS = ("train", "dev", "test")
#: Share of each word's recordings that is held out where nothing else is said.
SHARE = 0.1


@dataclass(frozen=True)
class Listing:
    """The words that files contain.

    Args:
        files: a folder or an archive.
        words: in the order of their names, each with the split that the files assign it to, if they do; dev or test
            may be held out of what is for train, unless there are words for it.
    """

    files: Files
    words: Sequence[tuple[Segment, str | None]]


@dataclass(frozen=True)
class HoldOut:
    """What is not for training, where the files do not say it.

    Args:
        test_speakers: whose words are for test.
        dev_speakers: whose words are for dev.
        test_size: share of each word's recordings for test, if neither speakers nor words are held out for it; above 0
            it is at least one of two or more.
        dev_size: that share for dev, of what is not for test.
        test_words: what is for test, whoever says it; with `test_speakers`, only what they say.
        dev_words: what is for dev, whoever says it; with `dev_speakers`, only what they say.
        by_word: whether the shares are those of each word's recordings, or of all files.
        by_speaker: whether they are those of each word's recordings by each speaker.
    """

    test_speakers: Sequence[str]
    dev_speakers: Sequence[str]
    test_size: float
    dev_size: float
    test_words: Sequence[str] = ()
    dev_words: Sequence[str] = ()
    by_word: bool = True
    by_speaker: bool = False

    def assign(self, words: Sequence[tuple[Segment, str | None]]) -> dict[str, list[Segment]]:
        """Return the words of each split; none has a speaker or a word that is held out for another one.

        What the files assign to dev or test is left out if it has, with a warning. A split that they have of their own
        is as they say, whatever the options say of it.

        Raises:
            InputError: a speaker or a word does not exist or is held out twice, or a split has nothing left. The files
                may name none for training, so that a trained model is evaluated on them.
        """
        named = {split for _, split in words}
        has_train = not named <= {"dev", "test"}
        test_speakers, test_words = ((), ()) if "test" in named else (self.test_speakers, self.test_words)
        dev_speakers, dev_words = ((), ()) if "dev" in named else (self.dev_speakers, self.dev_words)
        if has_train:  # else nothing can be held out of it
            _check_known("speakers", test_speakers, dev_speakers, {each.speaker for each, _ in words})
            _check_known("words", test_words, dev_words, {each.word for each, _ in words})
        speakers = _held_out("speakers", test_speakers, dev_speakers)
        spoken = _held_out("words", test_words, dev_words)
        #: Which splits each list of names is for.
        asked = [set(speakers.values()), set(spoken.values())]
        found: dict[str, list[Segment]] = defaultdict(list)
        rest = []
        left_out: Counter[str] = Counter()
        for segment, split in words:
            wanted = speakers.get(segment.speaker), spoken.get(segment.word)
            if split in ("dev", "test"):
                if set(wanted) <= {None, split}:
                    found[split].append(segment)
                else:
                    left_out[split] += 1
            elif wanted == (None, None):
                rest.append(segment)
            else:
                for name in set(wanted) - {None}:
                    if all(own == (name if name in names else None) for own, names in zip(wanted, asked, strict=True)):
                        found[str(name)].append(segment)
        for name, count in left_out.items():
            warnings.warn(
                f"{counted(count, 'recording')} of the {name} split are left out, since their speaker or word is held "
                "out for another split",
                stacklevel=2,
            )
        for name, size in (("test", self.test_size), ("dev", self.dev_size)):
            if left_out[name] and name not in found:
                raise InputError(
                    f"no recording is left for {name}: all that the files name for it are held out for the other "
                    "split; hold out other speakers or words"
                )
            if has_train and name not in found and name in asked[0] | asked[1]:
                raise InputError(
                    f"no recording is left for {name}: {name}_speakers say none of {name}_words, or what they say is "
                    "held out for the other split too; hold out others"
                )
            if name not in found:
                found[name], rest = _shared(rest, size, by_word=self.by_word, by_speaker=self.by_speaker)
        found["train"] += rest
        if has_train and not found["train"]:
            raise InputError("no word is left for training; hold out fewer speakers or words")
        order = {segment: number for number, (segment, _) in enumerate(words)}
        return {name: sorted(found[name], key=order.__getitem__) for name in SPLITS if found[name]}

    def check_effect(self, path: Path, listing: Listing) -> None:
        """Refuse what is said of a split that the files have of their own.

        Args:
            path: of the files, for messages.
        """
        named = {split for _, split in listing.words}
        for split in [split for split in ("dev", "test") if split in named]:
            for name in (f"{split}_speakers", f"{split}_words", f"{split}_size"):
                value = getattr(self, name)
                # Every resolved pipeline has the default.
                if value != SHARE and (value or value == 0):
                    raise DataError(
                        f"{name} = {shown(value)} has no effect: {path} has a {split} split of its own; remove {name}"
                    )


def _check_known(kind: str, test: Sequence[str], dev: Sequence[str], known: set[str]) -> None:
    """Refuse speakers or words that there are not.

    Args:
        kind: "speakers" or "words".
    """
    for option, names in ((f"test_{kind}", test), (f"dev_{kind}", dev)):
        for name in names:
            if name not in known:
                some = ", ".join(sorted(known)[:20])
                says = "says nothing" if kind == "speakers" else "is never said"
                raise InputError(f'{option}: "{name}" {says}; {kind} are {some}.{nearest(name, sorted(known))}')


def _held_out(kind: str, test: Sequence[str], dev: Sequence[str]) -> dict[str, str]:
    """Return the split that each name is held out for.

    Args:
        kind: "speakers" or "words".
    """
    if both := set(test) & set(dev):
        raise InputError(f'"{min(both)}" is in test_{kind} and in dev_{kind}; remove it from one of them')
    return dict.fromkeys(test, "test") | dict.fromkeys(dev, "dev")


@dataclass
class Recordings:
    """Words in audio files.

    Args:
        find: lists the files; called when they are first needed.
        hold_out: what is not for training.
        rate_hz: samples per second of all waveforms.
        longest: most seconds of a recording.
    """

    find: Callable[[], Listing]
    hold_out: HoldOut
    rate_hz: int
    longest: float = MAX_SECONDS
    clipped: set[str] = field(default_factory=set)
    _last: tuple[str, bytes] = ("", b"")

    @cached_property
    def _listing(self) -> Listing:
        return self.find()

    @cached_property
    def _by_split(self) -> dict[str, list[Segment]]:
        return self.hold_out.assign(self._listing.words)

    @property
    def splits(self) -> Sequence[str]:
        """Names of the splits that have words."""
        return tuple(self._by_split)

    def segments(self, split: str) -> list[Segment]:
        """Return the words of a split.

        Raises:
            DataError: there are none.
        """
        if split not in self._by_split:
            raise DataError(
                f"{self._listing.files.path}: no recordings for {split}, only for {' and '.join(self._by_split)}; add "
                "some. To evaluate a trained model on these: `dlpipe evaluate RUN --set data.path=PATH`"
            )
        return self._by_split[split]

    def waveform(self, segment: Segment) -> Tensor:
        """Read a word (S,)."""
        files = self._listing.files
        if self._last[0] != segment.file:  # the words of a long recording follow each other
            self._last = segment.file, files.read(segment.file)
        where = str(files.path / segment.file)
        wave, clipped = read_word(self._last[1], where, self.rate_hz, segment.start, segment.end, longest=self.longest)
        if clipped:
            self.clipped.add(segment.name)
        return wave

    def item(self, item: str) -> Tensor:
        """Read a file (S,) that a person names."""
        return read_item(item, self.rate_hz, self.longest)

    def digest(self) -> str:
        """Return a digest of the content of all files in use."""
        files = self._listing.files
        if files.path.is_file():
            paths = [files.path]
        else:
            names = {segment.file for segment, _ in self._listing.words}
            paths = [path for name in names if (path := files.path / name).is_file()]
        digests = sorted((str(path.relative_to(files.path)), digest) for path, digest in file_digests(paths).items())
        return hashlib.sha256(repr(digests).encode("utf-8", "surrogatepass")).hexdigest()


def read_item(item: str, rate_hz: int, longest: float = MAX_SECONDS) -> Tensor:
    """Read a recording (S,) that a person names.

    Raises:
        InputError: it cannot be read or used.
    """
    try:
        content = Path(item).read_bytes()
    except OSError as error:
        raise InputError(f"{item} cannot be read: {error.strerror or error}; expected an audio file") from error
    return read_content(item, content, rate_hz, longest)


def read_content(item: str, content: bytes, rate_hz: int, longest: float = MAX_SECONDS) -> Tensor:
    """Read the content (S,) of an audio file, whose name `item` is.

    Raises:
        InputError: it cannot be used.
    """
    try:
        return read_word(content, item, rate_hz, longest=longest)[0]
    except DataError as error:
        raise InputError(str(error)) from error


def audio_names(files: Files) -> list[str]:
    """Return the names of the audio files, sorted.

    Raises:
        DataError: there are none.
    """
    names = sorted(name for name in files.sizes if Path(name).suffix.lower() in SUFFIXES)
    if not names:
        kinds = sorted({Path(name).suffix or name for name in files.sizes})[:5]
        raise DataError(
            f"{files.path}: no audio file, only {', '.join(kinds) or 'nothing'}; expected {', '.join(SUFFIXES)}. "
            "Correct the path"
        )
    return names


def _drawn(segment: Segment) -> bytes:
    """Return a key that sorts as if by chance, wherever the folder of the recordings lies."""
    return hashlib.sha256(PurePosixPath(segment.name).name.encode("utf-8", "surrogatepass")).digest()


def _shared(
    segments: Iterable[Segment], size: float, *, by_word: bool = True, by_speaker: bool = False
) -> tuple[list[Segment], list[Segment]]:
    """Return a share of the recordings, and the rest; which ones follows from their names.

    Args:
        by_word: take a share of each word's recordings, instead of one of all files with all that is said in them.
        by_speaker: take a share of what each speaker says of a word.
    """
    groups: dict[tuple[str, str], dict[str, list[Segment]]] = defaultdict(lambda: defaultdict(list))
    for segment in segments:
        group = (segment.word if by_word else "", segment.speaker if by_speaker else "")
        part = segment.name if by_word else segment.file
        groups[group][part].append(segment)
    taken: list[Segment] = []
    left: list[Segment] = []
    for parts in groups.values():
        count = _count(size, len(parts))
        for place, part_of in enumerate(sorted(parts.values(), key=lambda part: _drawn(part[0]))):
            (taken if place < count else left).extend(part_of)
    return taken, left


def _count(size: float, available: int) -> int:
    """Return how many are a share: of two or more at least one, and never all."""
    return min(max(1, round(size * available)), available - 1) if size else 0
