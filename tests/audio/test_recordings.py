"""Words in audio files."""

from __future__ import annotations

from torch.testing import assert_close

from dlpipe.data import FolderFiles
from dlpipe_audio.recordings import HoldOut, Listing, Recordings
from dlpipe_audio.segments import Segment

from .conftest import audio, tone


def test_words_of_a_long_recording_that_follow_each_other_read_it_once(write, monkeypatch):
    whole = tone(0.9)
    folder = write({"talk.wav": audio(whole), "other.wav": audio(tone(0.3))})
    reads, read = [], FolderFiles.read
    monkeypatch.setattr(FolderFiles, "read", lambda self, name: reads.append(name) or read(self, name))
    times = [(0.3 * number, 0.3 * (number + 1)) for number in range(3)]
    parts = [Segment("talk", "yes", "ann", (), start, end, "talk.wav") for start, end in times]
    listing = Listing(FolderFiles.open(folder), [(part, "train") for part in parts])
    source = Recordings(lambda: listing, HoldOut((), (), 0.2, 0.1), 8000)

    waves = [source.waveform(part) for part in parts]
    source.waveform(Segment("other", "no", "ann", file="other.wav"))
    source.waveform(parts[0])

    assert reads == ["talk.wav", "other.wav", "talk.wav"]
    for number, wave in enumerate(waves):
        assert_close(wave.numpy(), whole[2400 * number : 2400 * (number + 1)], atol=1e-4, rtol=0)
