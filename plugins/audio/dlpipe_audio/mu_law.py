"""Samples of a waveform as a few levels, finer where it is quiet (µ-law companding).

Source: ITU-T Recommendation G.711, as van den Oord et al. 2016 use it, section 2.2; torchaudio computes it.
"""

from __future__ import annotations

from torch import Tensor

from dlpipe_audio.features import load_torchaudio

#: As many as a byte has.
NUM_LEVELS = 256


def to_levels(wave: Tensor) -> Tensor:
    """Map samples to levels, int64 from 0 to 255; 0 lies between levels 127 and 128 and becomes 128.

    Samples below -1 and above 1, which resampling of a loud recording makes, are clipped as in an audio file.
    """
    levels: Tensor = load_torchaudio().functional.mu_law_encoding(wave.clamp(-1, 1), NUM_LEVELS)
    return levels


def to_wave(levels: Tensor) -> Tensor:
    """Map levels to samples from -1 to 1."""
    wave: Tensor = load_torchaudio().functional.mu_law_decoding(levels, NUM_LEVELS)
    return wave
