"""Recordings and models of the audio plugin's tests."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch

soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed")
pytest.importorskip("torchaudio", reason="torchaudio is not installed")


def tone(seconds=0.3, rate=8000, hertz=440.0, channels=1):
    """Return a tone (S,) or (S, C) that rises."""
    time = torch.arange(round(seconds * rate)) / rate
    wave = 0.4 * (2 * torch.pi * hertz * time * (1 + time)).sin()
    return wave.numpy() if channels == 1 else torch.stack([wave] * channels, dim=1).numpy()


def audio(samples, rate=8000, kind="WAV", subtype="PCM_16"):
    """Return the content of an audio file."""
    content = io.BytesIO()
    soundfile.write(content, samples, rate, format=kind, subtype=subtype)
    return content.getvalue()


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("DLPIPE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def write(tmp_path):
    """Write the content of files by their names below a folder, and return the folder."""

    def write(files, folder="data") -> Path:
        for name, content in files.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / folder

    return write


def digits(words=("yes", "no"), speakers=("ann", "bob", "cem"), takes=4):
    """Return recordings of words by speakers, named as FSDD names them."""
    return {
        f"{word}_{speaker}_{take}.wav": audio(tone(0.2 + 0.01 * take, hertz=300 + 400 * number + 30 * place + take))
        for number, word in enumerate(words)
        for place, speaker in enumerate(speakers)
        for take in range(takes)
    }
