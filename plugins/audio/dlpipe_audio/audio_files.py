"""Read a spoken word from an audio file: soundfile decodes, torchaudio resamples.

Axes: S samples, C channels.
"""

from __future__ import annotations

import io
import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

import soundfile
import torch
from torch import Tensor

from dlpipe.errors import DataError
from dlpipe_audio.features import load_torchaudio

SUFFIXES = (".wav", ".flac", ".ogg")
#: A word lasts a second or two; longer recordings are something else, and a batch is padded to its longest.
MAX_SECONDS = 20
#: The same of a sentence or several.
MAX_SENTENCE_SECONDS = 60
#: Loudest sample of a recording that counts as silence: three steps of 16 bits.
SILENCE = 1e-4
#: How far a segment may exceed its file, since tools round differently.
TOLERANCE_S = 0.011
#: From this value on a sample is at the end of its range, and with more than this share of them a recording is clipped.
FULL_SCALE, CLIPPED = 0.9999, 0.01
#: libsndfile's log of a WAV file whose header announces more than there is; streams announce the maximum.
_CUT = re.compile(r"^data\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
_STREAMED = 0x7FFF0000
#: The same log of an RF64 file, a WAV file with a header of 64 bits: bytes of audio, and bytes of a sample.
_DS64 = re.compile(r"^  Data size : (\d+)$.*?^  Block Align   : (\d+)$", re.MULTILINE | re.DOTALL)
#: Samples that libsndfile announces for a FLAC file that does not say how many it has.
_UNKNOWN = 2**63 - 1
#: Bytes of the header of an Ogg page, and its flag for the last page, https://www.rfc-editor.org/rfc/rfc3533#section-6
_OGG_HEADER, _OGG_END = 27, 4
#: Largest denominator of the ratio of two sample rates. Exact are all usual ones, as 16,000 / 11,025 = 640 / 441; of
#: others, such as 16,000 / 8003, the length of a word is off by less than a thousandth.
MAX_DENOMINATOR = 1000


class _Recording(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A file that is read once, from front to back."""

    def seekable(self) -> bool:
        """Return False: a seekable file is sought after each read, which fails at the end of a streamed FLAC file."""
        return False


def read_word(
    content: bytes,
    where: str,
    rate_hz: int,
    start: float = 0.0,
    end: float | None = None,
    *,
    longest: float = MAX_SECONDS,
) -> tuple[Tensor, bool]:
    """Return the samples (S,) of a recording or of a part of it, -1 to 1, and whether they are clipped.

    Several channels are averaged, and other sample rates converted.

    Args:
        content: of a WAV, FLAC or OGG file.
        where: its name, for messages.
        rate_hz: samples per second of what is returned.
        start: of the part, in seconds.
        end: of the part, in seconds; None for the end of the file.
        longest: most seconds of it.

    Raises:
        DataError: it is no audio, cut off, too long, silent, not finite, or the part lies outside.
    """
    if not content:
        raise DataError(f"{where}: an empty file; expected audio. Get it again, or remove it")
    try:
        with _Recording(io.BytesIO(content)) as file:
            _check_complete(file, content, where)
            rate, total = file.samplerate, _counted(content) if file.frames == _UNKNOWN else file.frames
            if rate > MAX_DENOMINATOR * rate_hz:
                raise DataError(
                    f"{where}: its header announces {rate:,} samples per second, so it is damaged; get it again"
                )
            first, count = _part(rate, total, where, start, end, longest)
            if first:  # some formats cannot be sought at all
                file.seek(first)
            samples = torch.from_numpy(file.read(count, dtype="float32", always_2d=True))  # (S, C)
    except soundfile.SoundFileError as error:
        reason = str(error).rpartition(">: ")[2]
        raise DataError(
            f"{where} cannot be read as audio ({reason}); expected a complete {', '.join(SUFFIXES)} file"
        ) from error
    if len(samples) < count:
        raise DataError(
            f"{where}: ends after {first + len(samples):,} of {total:,} samples, so it was cut off; get it again"
        )
    _check_samples(samples, where)
    clipped = float((samples.abs() >= FULL_SCALE).float().mean()) > CLIPPED
    return resampler(rate, rate_hz)(samples.mean(1)), clipped


def _check_complete(file: soundfile.SoundFile, content: bytes, where: str) -> None:
    announced = follow = 0
    if found := _CUT.search(file.extra_info):
        announced, follow = int(found[1]), int(found[2])
    elif found := _DS64.search(file.extra_info):
        announced, follow = int(found[1]), file.frames * int(found[2])
    if follow < announced < _STREAMED:
        raise DataError(
            f"{where}: its header announces {announced:,} bytes of audio and {follow:,} follow, so it was cut off; get "
            "it again"
        )
    if file.format == "OGG" and not _has_end(content):
        raise DataError(f"{where}: it has no last page that ends the stream, so it was cut off; get it again")


def _has_end(content: bytes) -> bool:
    """Return whether the last page of an Ogg file is complete and says that it is the last one."""
    page = content[content.rfind(b"OggS") :]
    if len(page) < _OGG_HEADER or not page[5] & _OGG_END:
        return False
    parts = page[_OGG_HEADER : _OGG_HEADER + page[26]]  # how long each of them is
    return len(page) >= _OGG_HEADER + page[26] + sum(parts)


def _counted(content: bytes) -> int:
    """Return how many samples there are in a file that does not say it."""
    with _Recording(io.BytesIO(content)) as file:
        return sum(iter(lambda: len(file.read(1 << 16, dtype="float32")), 0))


def _part(rate: int, total: int, where: str, start: float, end: float | None, longest: float) -> tuple[int, int]:
    """Return the first sample of a part and the number of samples."""
    seconds = total / rate
    if not total:
        raise DataError(f"{where}: no samples; expected a spoken word. Remove it")
    last = seconds if end is None else end
    first = round(start * rate)
    count = min(round(last * rate), total) - first
    if not 0 <= start < last <= seconds + TOLERANCE_S or count < 1:
        raise DataError(
            f"{where}: the segment from {start:g} to {last:g} s does not lie within the file, which lasts {seconds:g} "
            "s, or has no sample; correct start and end"
        )
    if last - start > longest:
        raise DataError(
            f"{where}: {last - start:g} s; expected at most {longest:g} s. Cut it into shorter recordings; the tables "
            "of audio.manifest and audio.transcribed can list parts of it instead, with start and end"
        )
    return first, count


def _check_samples(samples: Tensor, where: str) -> None:
    bad = (~samples.isfinite()).flatten().nonzero()
    if len(bad):
        row = int(bad[0]) // samples.size(1)
        raise DataError(f"{where}: sample {row:,} is {float(samples.flatten()[bad[0]])}; expected numbers from -1 to 1")
    # Channels that are opposite to each other cancel out.
    loudest = float(samples.mean(1).abs().max()) if samples.numel() else 0.0
    if loudest < SILENCE:
        averaged = ", with its channels averaged," if samples.size(1) > 1 else ""
        raise DataError(
            f"{where}: silence, its loudest sample{averaged} is {loudest:.2g} of 1; record it again, or remove it"
        )


@lru_cache(maxsize=8)
def resampler(rate: int, wanted: int) -> Any:
    """Return a converter from one sample rate to another; building one takes longer than using it.

    The rates are those of the nearest fraction of `MAX_DENOMINATOR`: the filter of an exact one can need gigabytes.
    """
    ratio = Fraction(wanted, rate).limit_denominator(MAX_DENOMINATOR)
    return load_torchaudio().transforms.Resample(ratio.denominator, ratio.numerator)
