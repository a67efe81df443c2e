"""A recognizer of words, trained on recordings to judge generated speech.

Axes: N recordings, T frames of one, F numbers per frame, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import torch
from torch import Tensor
from torch.nn import functional as F

from dlpipe.compute import Compute
from dlpipe.data import Columns, Ragged
from dlpipe.progress import tracked
from dlpipe.training import Budget, Supervised
from dlpipe_audio.features import FrameFeatures
from dlpipe_audio.keyword_cnn import KeywordCNN

#: With these, it recognizes all of 100 recordings of FSDD that it was not trained on (docs/audio/wavenet.md).
STEPS, BATCH_SIZE, LEARNING_RATE = 600, 32, 2e-3


class WordRecognizer:
    """Says which of K classes a waveform belongs to.

    The result is the same for the same arguments. The global random state of the calling training is left unchanged.

    Args:
        waves: (S,) each, for training.
        targets: (N,) their classes.
        num_classes: K.
        rate_hz: samples per second.
        device: where it is trained.
        steps: of training.
    """

    def __init__(
        self,
        waves: Sequence[Tensor],
        targets: Tensor,
        num_classes: int,
        *,
        rate_hz: int,
        device: torch.device,
        steps: int = STEPS,
    ) -> None:
        self._features = FrameFeatures({"deltas": 1, "normalize": "none"}, rate_hz)
        self._device = device
        frames = self._frames(waves)
        # Who speaks is heard in the means of a recording, so that it is not normalized by itself.
        known = torch.cat(frames)
        self._mean, self._deviation = known.mean(0), known.std(0).clamp_min(1e-3)
        cuda = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda), torch.inference_mode(False), torch.enable_grad():
            torch.manual_seed(0)
            self._model = KeywordCNN(self._features.num_features, num_classes).to(device)
            trainer = Supervised(
                self._model,
                _Words(self._normalized(frames), targets),  # type: ignore[arg-type]
                Compute(device),
                0,
                batch_size=min(BATCH_SIZE, len(waves)),
                optimizer={"use": "adam", "lr": LEARNING_RATE},
                schedule={"use": "cosine_annealing"},
                budget=Budget(steps=steps),
            )
            for _ in tracked(islice(trainer.steps(), steps), "training a recognizer to judge by: step", steps):
                pass
        self._model.eval()

    def __call__(self, waves: Sequence[Tensor]) -> Tensor:
        """Return the most probable class (N,) of waveforms (S,)."""
        frames = Columns({"frames": self._normalized(self._frames(waves))})
        found = []
        with torch.inference_mode():
            for rows in torch.arange(len(waves)).split(BATCH_SIZE):
                batch = frames.batch(rows)
                found.append(self._model(batch["frames"].to(self._device), batch["lengths"]).argmax(1).cpu())
        return torch.cat(found)

    def _frames(self, waves: Sequence[Tensor]) -> list[Tensor]:
        """Return the frames (T, F) of waveforms; what is shorter than a frame is silent behind its end."""
        least = self._features.shortest
        return [self._features.frames(F.pad(wave, (0, max(0, least - len(wave)))), "") for wave in waves]

    def _normalized(self, frames: Sequence[Tensor]) -> Ragged:
        lengths = torch.tensor([len(each) for each in frames])
        return Ragged((torch.cat(list(frames)) - self._mean) / self._deviation, lengths)


class _Words:
    """Frames and their classes, as data for the trainer."""

    splits = ("train",)

    def __init__(self, frames: Ragged, targets: Tensor) -> None:
        self._columns = Columns({"frames": frames, "targets": targets})

    def split(self, name: str) -> Columns:
        return self._columns
