"""Which word a recording says, by what a classifier says of its frames.

Axes: N frames of a split, R recordings, C classes of frames, K words, S states of a word; C = K · S.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from dlpipe.data import IGNORE_INDEX
from dlpipe.errors import InputError
from dlpipe.evaluation import Examples
from dlpipe_audio.frames import FrameData


class FramesVote:
    """Classify each recording by the mean of the log-probabilities of its frames, without regard to their order.

    The probability of a word in a frame is the sum over its states. ``evaluate`` returns ``accuracy`` of recordings and
    ``frame_accuracy``, of frames.
    """

    primary = "accuracy"
    goal: Literal["max"] = "max"

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Classify all recordings of the split.

        Raises:
            InputError: the data has no frames of words.
        """
        data = examples.data
        if not isinstance(data, FrameData):
            raise InputError(f"audio.frames_vote judges the frames of audio.frames; {type(data).__name__} has none")
        recording, words = data.word_of_frame(examples.split)
        num_words = data.facts["num_classes"] // data.states
        sums, seen = torch.zeros(len(words), num_words), torch.zeros(len(words), dtype=torch.bool)
        right: list[Tensor] = []
        for batch, outputs, predictions in examples.predictions(model):
            rows, targets = batch["rows"].cpu(), batch["targets"].cpu()
            scores = outputs.float().cpu().log_softmax(1).unflatten(1, (num_words, data.states)).logsumexp(2)
            sums.index_add_(0, recording[rows], scores)
            seen[recording[rows]] = True
            right.append((predictions.cpu() == targets)[targets != IGNORE_INDEX])
        judged = seen & (words != IGNORE_INDEX)
        return {
            "accuracy": float((sums.argmax(1) == words)[judged].float().mean()),
            "frame_accuracy": float(torch.cat(right).float().mean()),
        }

    def write(self, folder: Path) -> None:
        """Write nothing."""
