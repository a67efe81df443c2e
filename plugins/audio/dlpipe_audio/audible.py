"""Features as sounds: what is left in them of a recording.

The cosine transform and the mel bands are inverted by their pseudo-inverses, the phases are estimated (Griffin & Lim
1984, "Signal Estimation from Modified Short-Time Fourier Transform", https://doi.org/10.1109/TASSP.1984.1164317).
Axes: S samples, T frames, F numbers per frame, M mel bands, K frequencies.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dlpipe_audio.features import FLOOR, LEVEL, PREEMPHASIS, FrameFeatures, load_torchaudio

ITERATIONS = 60


def denormalized(frames: Tensor, normalized: Tensor, raw: Tensor) -> Tensor:
    """Undo for `frames` (T, F) the normalization that made `normalized` of `raw` (both (U, F), of one recording).

    It is a factor and an offset for each of the F numbers, which follow from the two.
    """
    spread = normalized.std(0, correction=0)
    deviation = torch.where(spread > 0, raw.std(0, correction=0) / spread.clamp_min(1e-9), 0.0)
    return (frames - normalized.mean(0)) * deviation + raw.mean(0)


def audible(frames: Tensor, features: FrameFeatures) -> Tensor:
    """Return a sound (S,), -1 to 1, whose features are about `frames` (T, F), which are not normalized."""
    functional = load_torchaudio().functional
    mels, window = features.chosen["mels"], features.window
    if features.chosen["kind"] == "mfcc":
        coefficients = features.chosen["coefficients"]
        # Its rows are orthonormal, so that the transpose is the pseudo-inverse.
        frames = frames[:, :coefficients] @ functional.create_dct(coefficients, mels, "ortho").T
    levels = frames[:, :mels].T  # (M, T), of derivatives nothing is needed
    # The phases can only be estimated from windows that overlap, by three quarters of their length.
    hop = min(features.hop, window // 4)
    # A spectrum reflects half a window at both ends, so there must be as much.
    count = max(2 + features.n_fft // 2 // hop, 1 + (levels.size(1) - 1) * features.hop // hop)
    levels = F.interpolate(levels.unsqueeze(0), count, mode="linear", align_corners=True)[0]
    power = (levels.clamp_max(20.0).exp() - FLOOR).clamp_min(0)
    bands = functional.melscale_fbanks(features.n_fft // 2 + 1, 0.0, features.rate_hz / 2, mels, features.rate_hz)
    spectrum = (torch.linalg.pinv(bands.T) @ power).clamp_min(0)  # (K, T)
    sound = functional.griffinlim(
        spectrum,
        torch.hann_window(window),
        features.n_fft,
        hop,
        window,
        power=2.0,
        n_iter=ITERATIONS,
        momentum=0.99,
        length=None,
        rand_init=False,
    )
    sound = functional.deemphasis(sound, PREEMPHASIS)
    sound = sound * (LEVEL / sound.square().mean().sqrt().clamp_min(1e-9))
    peak: Tensor = sound.abs().max().clamp_min(1.0)
    return torch.div(sound, peak)
