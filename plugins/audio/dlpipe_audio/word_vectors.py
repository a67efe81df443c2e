"""The vectors of a split, with who says what: what all evaluators of spoken words start from.

Axes: N words of a split, T frames, F numbers per frame, V numbers of a vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe.evaluation import Examples
from dlpipe_audio.segments import Segment


@dataclass(frozen=True)
class WordVectors:
    """Words of a split.

    Args:
        segments: who says what.
        vectors: (N, V).
        frames: of each word, (T, F).
    """

    segments: list[Segment]
    vectors: Tensor
    frames: list[Tensor]

    @property
    def words(self) -> Tensor:
        """A number (N,) for each word, equal if the same is said."""
        return _numbered([segment.word for segment in self.segments])

    @property
    def speakers(self) -> Tensor:
        """A number (N,) for each speaker."""
        return _numbered([segment.speaker for segment in self.segments])


def word_vectors(model: nn.Module, examples: Examples, who: str) -> WordVectors:
    """Return the vectors that a model predicts for the words of a split, in the order of its rows.

    Args:
        who: the evaluator that asks, for messages.

    Raises:
        InputError: the data has no spoken words, or the model predicts no vectors.
    """
    if not hasattr(examples.data, "segments"):
        raise InputError(f"{who} judges spoken words; {type(examples.data).__name__} has none")
    segments = examples.data.segments(examples.split)
    found: list[tuple[int, Tensor, Tensor]] = []
    for batch, _, vectors in examples.predictions(model):
        if vectors.dim() != 2:
            raise InputError(
                f"{who} judges vectors of words; {type(model).__name__} predicts a tensor of shape "
                f"{tuple(vectors.shape)}; use a model such as audio.seq2seq_autoencoder"
            )
        for row, vector, frames, length in zip(
            batch["rows"].tolist(), vectors.float().cpu(), batch["frames"].cpu(), batch["lengths"].tolist(), strict=True
        ):
            found.append((row, vector, frames[:length]))
    found.sort(key=lambda each: each[0])
    rows, parts, frames_found = zip(*found, strict=True)
    return WordVectors([segments[row] for row in rows], torch.stack(parts), list(frames_found))


def _numbered(names: list[str]) -> Tensor:
    numbers = {name: number for number, name in enumerate(sorted(set(names)))}
    return torch.tensor([numbers[name] for name in names])
