"""Acoustic features: what a model hears of a recording, one vector per frame of some milliseconds.

torchaudio computes them. Axes: S samples, T frames, F numbers per frame.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, TypedDict

import torch
from pydantic import Field, Strict
from torch import Tensor

from dlpipe.errors import DataError, InputError, PluginError
from dlpipe.fields import Positive, PositiveFloat

#: Boost of high frequencies before the spectrum is computed, as in Young et al., "The HTK Book", section 5.4.
PREEMPHASIS = 0.97
#: Root mean square to which recordings are scaled, so that the floor of the logarithm lies equally deep for all.
LEVEL = 0.1
#: Added to the power of a mel band before the logarithm, as torchaudio does.
FLOOR = 1e-6


class Features(TypedDict, total=False):
    """How frames are computed.

    Keys:
        kind: "mfcc", mel-frequency cepstral coefficients, or "log_mel", the logarithm of the power of each mel band.
        coefficients: cepstral coefficients per frame, 13 by default; only of "mfcc".
        mels: mel bands, 24 by default.
        deltas: how many derivatives over time are appended, 0 to 2; 0 by default.
        window_ms: length of a frame, 25 by default.
        hop_ms: distance from frame to frame, 10 by default.
        normalize: subtract the mean and divide by the deviation of each number, over the frames of an "utterance" (the
            default) or of everything a "speaker" says in a split; or "none".
    """

    kind: Literal["mfcc", "log_mel"]
    coefficients: Positive
    mels: Positive
    deltas: Annotated[int, Strict(), Field(ge=0, le=2)]
    window_ms: PositiveFloat
    hop_ms: PositiveFloat
    normalize: Literal["utterance", "speaker", "none"]


DEFAULTS: Features = {
    "kind": "mfcc",
    "coefficients": 13,
    "mels": 24,
    "deltas": 0,
    "window_ms": 25.0,
    "hop_ms": 10.0,
    "normalize": "utterance",
}


def load_torchaudio() -> Any:
    """Return torchaudio.

    Raises:
        PluginError: it is installed but does not load.
    """
    try:
        import torchaudio
    except (ImportError, OSError) as error:
        raise PluginError(
            f"torchaudio does not load with torch {torch.__version__} ({str(error).splitlines()[0]}); install the "
            "torchaudio that was built for this torch, from the same index: pip install --force-reinstall torchaudio"
        ) from error
    return torchaudio


class FrameFeatures:
    """Computes the frames of recordings that have one sample rate.

    Args:
        given: what differs from the defaults.
        rate_hz: samples per second.

    Attributes:
        hop: samples from frame to frame.
        window: samples of a frame.
        n_fft: length of the Fourier transform.

    Raises:
        InputError: the values do not fit together.
    """

    def __init__(self, given: Features, rate_hz: int) -> None:
        if given.get("kind") == "log_mel" and "coefficients" in given:
            raise InputError('features.coefficients has no effect with kind = "log_mel"; remove it or set mels')
        self.chosen: Features = {**DEFAULTS, **given}
        chosen = self.chosen
        self.rate_hz = rate_hz
        self.hop = round(chosen["hop_ms"] * rate_hz / 1000)
        window = round(chosen["window_ms"] * rate_hz / 1000)
        if self.hop < 1 or window < 2:
            raise InputError(
                f"features.window_ms = {chosen['window_ms']:g}, hop_ms = {chosen['hop_ms']:g}: expected at least two "
                f"samples in a window and one in a hop; a sample takes {1000 / rate_hz:g} ms"
            )
        mels, coefficients = chosen["mels"], chosen["coefficients"]
        if chosen["kind"] == "mfcc" and coefficients > mels:
            raise InputError(f"features.coefficients = {coefficients}: expected at most mels = {mels}")
        self.window, self.n_fft = window, int(2 ** math.ceil(math.log2(window)))
        spectrum = {"n_fft": self.n_fft, "win_length": window, "hop_length": self.hop, "n_mels": mels}
        self._audio = load_torchaudio()
        transforms = self._audio.transforms
        if chosen["kind"] == "mfcc":
            self._transform = transforms.MFCC(rate_hz, coefficients, log_mels=True, melkwargs=spectrum)
        else:
            self._transform = transforms.MelSpectrogram(rate_hz, **spectrum)

    @property
    def num_features(self) -> int:
        """F, the numbers per frame."""
        name: Literal["coefficients", "mels"] = "coefficients" if self.chosen["kind"] == "mfcc" else "mels"
        count: int = self.chosen[name] * (1 + self.chosen["deltas"])
        return count

    @property
    def shortest(self) -> int:
        """Fewest samples that have a frame: the spectrum reflects half a window at both ends."""
        return self.n_fft // 2 + 1

    def frames(self, waveform: Tensor, where: str) -> Tensor:
        """Map a waveform (S,) to frames (T, F), before they are normalized.

        Args:
            where: its name, for messages.

        Raises:
            DataError: it is shorter than a frame.
        """
        if len(waveform) < self.shortest:
            rate = self.rate_hz / 1000
            raise DataError(
                f"{where}: {len(waveform) / rate:.3g} ms; expected at least {self.shortest / rate:.3g} ms "
                "for a frame of this length. Remove it, or set a smaller features.window_ms"
            )
        scaled = waveform * (LEVEL / waveform.square().mean().sqrt().clamp_min(1e-9))
        sharpened = self._audio.functional.preemphasis(scaled, PREEMPHASIS)
        found: Tensor = self._transform(sharpened)  # (F, T)
        if self.chosen["kind"] == "log_mel":
            found = (found + FLOOR).log()
        parts = [found]
        for _ in range(self.chosen["deltas"]):
            parts.append(self._audio.functional.compute_deltas(parts[-1]))
        return torch.cat(parts).T.contiguous()

    def normalized(self, frames: list[Tensor], speakers: list[str]) -> list[Tensor]:
        """Normalize the frames (T, F) of each recording; `speakers` says who speaks in each."""
        if self.chosen["normalize"] == "none":
            return frames
        groups: dict[object, list[int]] = {}
        for row, speaker in enumerate(speakers):
            groups.setdefault(row if self.chosen["normalize"] == "utterance" else speaker, []).append(row)
        found = list(frames)
        for rows in groups.values():
            together = torch.cat([frames[row] for row in rows])
            mean, deviation = together.mean(0), together.std(0, correction=0).clamp_min(1e-3)
            for row in rows:
                found[row] = (frames[row] - mean) / deviation
        return found
