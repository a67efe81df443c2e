"""A dream of a trained network, that of an untrained one, and what a second network says about both.

Axes: B start images, C channels, S side of a dream, N crops of an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import torch
from torch import Tensor, nn

from dlpipe_vision.dream_targets import Target
from dlpipe_vision.gradient_ascent import GradientAscent
from dlpipe_vision.labeled_images import LabeledImages

#: The judge is sure of a class if its probability is at least this.
SURE = 0.9


@dataclass(frozen=True)
class Ascent:
    """What gradient ascent makes of start images.

    Args:
        octaves: the images (B, C, side, side) after each octave, on the CPU.
        before: activation or log odds of the start images, the mean over them.
        after: of the last octave.
    """

    octaves: Sequence[Tensor]
    before: float
    after: float


@dataclass(frozen=True)
class Dream:
    """The dreams of one target.

    Args:
        target: what they show.
        start: (B, C, S, S), on the CPU.
        trained: of the network that is evaluated.
        untrained: of the same layers with random weights.
        judged: probability of the class for each crop (B, N) of "start", "trained" and "untrained"; empty without a
            judge.
    """

    target: Target
    start: Tensor
    trained: Ascent
    untrained: Ascent
    judged: Mapping[str, Tensor]

    @property
    def gain(self) -> float:
        """How much the trained network has gained."""
        return self.target.gain(self.trained.before, self.trained.after)

    @property
    def gain_untrained(self) -> float:
        """How much the untrained network has gained."""
        return self.target.gain(self.untrained.before, self.untrained.after)


def ascended(
    target: Target, model: nn.Module, data: LabeledImages, start: Tensor, how: GradientAscent, seed: int
) -> Ascent:
    """Let a network dream of a target.

    Args:
        start: (B, C, S, S) with pixels from 0 to 1, on the device of the model.
        seed: of the jitter.
    """
    objective = target.objective(model, data)
    octaves = how.run(start, objective, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        before, after = (float(target.activation(objective(images)).mean()) for images in (start, octaves[-1]))
    return Ascent([images.cpu() for images in octaves], before, after)


def dream_metrics(dreams: Sequence[Dream]) -> dict[str, float]:
    """Return the gains, and what the judge says; all dreams have one, or none has."""
    metrics = {
        "gain": median(dream.gain for dream in dreams),
        "gain_lowest": min(dream.gain for dream in dreams),
        "gain_untrained": median(dream.gain_untrained for dream in dreams),
    }
    for of, suffix in (("trained", ""), ("start", "_start"), ("untrained", "_untrained")):
        judged = [dream.judged[of] for dream in dreams if dream.judged]
        if judged:
            metrics[f"judge_probability{suffix}"] = fmean(float(crops.mean()) for crops in judged)
            metrics[f"judge_sure{suffix}"] = fmean(sure_share(crops) for crops in judged)
    return metrics


def sure_share(crops: Tensor) -> float:
    """Return the share of crops (B, N) of whose class the judge is sure."""
    return float((crops >= SURE).double().mean())
