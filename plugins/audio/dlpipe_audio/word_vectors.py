"""The vectors of a split, with who says what: what all evaluators of spoken words start from.

Axes: N words of a split, T frames, F numbers per frame, V numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe.evaluation import Examples
from dlpipe_audio.segments import Segment
from dlpipe_audio.transcripts import TranscriptData
from dlpipe_audio.word_data import WordData


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
    if not hasattr(examples.data, "segments") or isinstance(examples.data, TranscriptData):
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


def require_two_speakers(examples: Examples, who: str) -> None:
    """Refuse a split in which no word is said by two speakers; single batches may have none.

    Args:
        who: the evaluator that asks, for messages.

    Raises:
        InputError: there is no such word.
    """
    speaker: dict[str, str] = {}
    segments = cast(WordData, examples.data).segments(examples.split)
    if all(speaker.setdefault(segment.word, segment.speaker) == segment.speaker for segment in segments):
        raise InputError(
            f"{who} compares what two speakers say, and no word of the {examples.split} split has two speakers; hold "
            "out at least two speakers, or leave the split out with splits = [...]"
        )


def known_phones(segments: Sequence[Segment], who: str) -> dict[str, tuple[str, ...]]:
    """Return the phones of each word.

    Args:
        who: the evaluator that asks, for messages.

    Raises:
        InputError: those of a word are not known, or differ between its recordings.
    """
    phones: dict[str, tuple[str, ...]] = {}
    for segment in segments:
        if not segment.phones:
            raise InputError(f"{who}: the phones of {segment.word!r} are not known; use data that provides phones")
        if (first := phones.setdefault(segment.word, segment.phones)) != segment.phones:
            raise InputError(
                f"{who}: the phones of {segment.word!r} are {' '.join(first)!r} and, in {segment.name}, "
                f"{' '.join(segment.phones)!r}; expected the same in all recordings of a word"
            )
    return phones


def mean_vectors(found: WordVectors) -> dict[str, Tensor]:
    """Return the mean vector (V,) of each word, in alphabetical order."""
    names = sorted({segment.word for segment in found.segments})
    return {name: found.vectors[found.words == number].mean(0) for number, name in enumerate(names)}


def principal_plane(vectors: Tensor) -> Tensor:
    """Return vectors (N, V) in the plane (N, 2) in which they are longest: if they are centered, that of the PCA."""
    _, _, directions = torch.linalg.svd(vectors, full_matrices=False)
    found = vectors @ directions[:2].T
    return torch.nn.functional.pad(found, (0, 2 - found.size(1)))


def _numbered(names: list[str]) -> Tensor:
    numbers = {name: number for number, name in enumerate(sorted(set(names)))}
    return torch.tensor([numbers[name] for name in names])
