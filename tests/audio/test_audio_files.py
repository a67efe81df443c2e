from __future__ import annotations

import numpy as np
import pytest
import torch
import torchaudio
from torch.testing import assert_close

from dlpipe.errors import DataError
from dlpipe_audio.audio_files import read_word, resampler

from .conftest import audio, tone


def streamed(content):
    """Return a FLAC file whose header does not say how many samples there are, as streams are written."""
    return content[:21] + bytes([content[21] & 0xF0]) + bytes(4) + content[26:]


def spoken(content, start=0.0, end=None):
    return read_word(content, "a.wav", 8000, start, end)


@pytest.mark.parametrize(
    ("kind", "subtype", "tolerance"),
    [
        ("WAV", "PCM_U8", 0.01),
        ("WAV", "PCM_16", 1e-4),
        ("WAV", "PCM_24", 1e-6),
        ("WAV", "FLOAT", 1e-7),
        ("FLAC", "PCM_16", 1e-4),
    ],
)
def test_every_precision_is_read(kind, subtype, tolerance):
    wave, clipped = spoken(audio(tone(), kind=kind, subtype=subtype))

    assert_close(wave, torch.from_numpy(tone()), atol=tolerance, rtol=0)
    assert not clipped


def test_channels_are_averaged_and_rates_converted():
    wave, _ = spoken(audio(tone(rate=44_100, channels=2), rate=44_100))
    vorbis, _ = spoken(audio(tone(rate=16_000), rate=16_000, kind="OGG", subtype="VORBIS"))

    assert len(wave) == len(vorbis) == 2400
    assert_close(wave[100:-100], torch.from_numpy(tone())[100:-100], atol=0.02, rtol=0)


@pytest.mark.parametrize("rate", [8003, 22_255, 999_983])
def test_an_unusual_rate_needs_no_large_filter(rate):
    wave, _ = read_word(audio(tone(rate=rate), rate=rate), "a.wav", 16_000)

    assert len(wave) == pytest.approx(4800, rel=1e-3)
    assert_close(wave[100:4700], torch.from_numpy(tone(rate=16_000))[100:4700], atol=0.1, rtol=0)
    assert resampler(rate, 16_000).kernel.numel() < 4e6


@pytest.mark.parametrize("rate", [11_025, 22_050, 44_100, 48_000, 192_000])
def test_usual_rates_are_converted_exactly(rate):
    samples = torch.from_numpy(tone(rate=rate))

    assert torch.equal(resampler(rate, 16_000)(samples), torchaudio.transforms.Resample(rate, 16_000)(samples))


@pytest.mark.parametrize("content", [audio(tone(1.0)), streamed(audio(tone(1.0), kind="FLAC"))])
@pytest.mark.parametrize(("start", "end"), [(0.25, 0.5), (0.25, 1.005), (0.0, None)])
def test_a_part_of_a_file_is_read_by_its_seconds(content, start, end):
    wave, _ = spoken(content, start, end)

    expected = torch.from_numpy(tone(1.0))[round(8000 * start) : None if end is None else round(8000 * end)]
    assert_close(wave, expected, atol=1e-4, rtol=0)


def test_a_file_that_cannot_be_sought_is_read_as_a_whole():
    assert len(spoken(audio(tone(), subtype="GSM610"))[0]) == 2560  # blocks of 320


WAV = audio(tone())
RF64 = audio(tone(), kind="RF64")
OGG = audio(tone(3.0), kind="OGG", subtype="VORBIS")
QUIET = np.zeros(2400, dtype="float32")
NOT_FINITE = np.where(np.arange(2400) == 17, np.nan, tone()).astype("float32")


@pytest.mark.parametrize(
    ("content", "part", "message"),
    [
        (b"", (), r"a.wav: an empty file; expected audio"),
        (
            b"hello" * 99,
            (),
            r"a.wav cannot be read as audio \(Format not recognised.\); expected a complete .wav, .flac",
        ),
        (WAV[:1001], (), r"a.wav: its header announces 4,800 bytes of audio and 957 follow, so it was cut off; get it"),
        (audio(tone(), kind="FLAC")[:1500], (), r"a.wav cannot be read as audio"),
        (audio(tone(), kind="OGG", subtype="VORBIS")[:900], (), r"a.wav cannot be read as audio"),
        (
            WAV[:24] + b"\xff\xff\xff\x7f" + WAV[28:],
            (),
            r"a.wav: its header announces 2,147,483,647 samples per second, so it is damaged",
        ),
        (
            RF64[:1001],
            (),
            r"a.wav: its header announces 4,800 bytes of audio and 896 follow, so it was cut off; get it",
        ),
        (OGG[: OGG.rfind(b"OggS")], (), r"a.wav: it has no last page that ends the stream, so it was cut off; get it"),
        (OGG[: OGG.rfind(b"OggS") + 20], (), r"a.wav: it has no last page that ends the stream"),
        (OGG[:-1], (), r"a.wav: it has no last page that ends the stream"),
        (streamed(audio(tone(), kind="FLAC"))[:1500], (), r"a.wav cannot be read as audio"),
        (audio(QUIET[:0]), (), r"a.wav: no samples; expected a spoken word"),
        (audio(QUIET), (), r"a.wav: silence, its loudest sample is 0 of 1; record it again"),
        (
            audio(np.stack([tone(), -tone()], 1)),
            (),
            r"a.wav: silence, its loudest sample, with its channels averaged, is",
        ),
        (audio(NOT_FINITE, subtype="FLOAT"), (), r"a.wav: sample 17 is nan; expected numbers from -1 to 1"),
        (
            audio(tone(20.3)),
            (),
            r"a.wav: 20.3 s; expected at most 20 s. Cut it into shorter recordings; the tables of audio.manifest and",
        ),
        (WAV, (0.2, 0.4), r"a.wav: the segment from 0.2 to 0.4 s does not lie within the file, which lasts 0.3 s"),
        (WAV, (0.2, 0.1), r"a.wav: the segment from 0.2 to 0.1 s does not lie within the file"),
        (
            WAV,
            (0.303, 0.308),
            r"a.wav: the segment from 0.303 to 0.308 s does not lie within the file, which lasts 0.3",
        ),
        (WAV, (0.1, 0.10001), r"a.wav: the segment from 0.1 to 0.10001 s .* or has no sample; correct start and end"),
    ],
)
def test_what_cannot_be_used_is_named(content, part, message):
    with pytest.raises(DataError, match=message):
        spoken(content, *part)


def test_a_header_of_a_stream_announces_no_length():
    header = bytearray(WAV)
    header[40:44] = b"\xff\xff\xff\xff"

    wave, _ = spoken(bytes(header))

    assert len(wave) == 2400


def test_a_clipped_recording_is_noticed():
    assert spoken(audio(np.clip(9 * tone(), -1, 1)))[1]
