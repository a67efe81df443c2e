"""Sequence-to-sequence auto-encoder: a spoken word of any length becomes a vector (audio word2vec).

Sources: Chung, Wu, Shen, Lee & Lee 2016, "Audio Word2Vec: Unsupervised Learning of Audio Segment Representations using
Sequence-to-sequence Autoencoder", https://arxiv.org/abs/1603.00982 (SA; with `noise` DSA); Kamper 2019, "Truly
unsupervised acoustic word embeddings using weak top-down constraints in encoder-decoder models",
https://arxiv.org/abs/1811.00403 (with `target = "same_word"`, CAE).
Departs from the first: GRU by default, batches and Adam in place of single words and gradient descent, no peepholes.
Axes: B words, T frames of the longest, F numbers per frame, V numbers of the vector, H hidden units.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe.fields import OpenFraction, Positive
from dlpipe.recurrent import last_state, recurrent_layers


class Encoded(NamedTuple):
    """What the model returns: vectors (B, V) and the frames (B, T, F) that it reconstructs from them."""

    vectors: Tensor
    frames: Tensor


class Seq2SeqAutoEncoder(nn.Module):
    """Compress a spoken word to a vector and reconstruct its frames from nothing but that vector.

    The decoder receives the vector at every step and never a frame, true or reconstructed: with the true previous frame
    it could reconstruct well from an empty vector.

    Args:
        num_features: F.
        cell: kind of recurrent network.
        bidirectional: the encoder also reads each word backward.
        num_layers: stacked recurrent layers of the encoder.
        hidden_dim: H, units per direction and layer of the encoder, and of the decoder.
        vector_dim: V.
        noise: in training, probability of setting a number of a frame to 0; what is reconstructed has no noise
            (denoising).
        target: what is reconstructed: the word itself, or another recording of it (correspondence), which the data must
            provide: with `pairs = "same_word"` from its labels, with `pairs = "alike"` from how recordings sound.
    """

    def __init__(
        self,
        num_features: int,
        *,
        cell: Literal["gru", "lstm"] = "gru",
        bidirectional: bool = False,
        num_layers: Positive = 1,
        hidden_dim: Positive = 128,
        vector_dim: Positive = 128,
        noise: OpenFraction = 0.0,
        target: Literal["self", "same_word"] = "self",
    ) -> None:
        super().__init__()
        self.noise, self.target = noise, target
        self.encoder = recurrent_layers(cell, num_features, hidden_dim, num_layers, bidirectional=bidirectional)
        self.to_vector = nn.Linear((1 + bidirectional) * hidden_dim, vector_dim)
        self.decoder = recurrent_layers(cell, vector_dim, hidden_dim)
        self.to_frame = nn.Linear(hidden_dim, num_features)

    def forward(
        self, frames: Tensor, lengths: Tensor, partners: Tensor | None = None, partners_lengths: Tensor | None = None
    ) -> Encoded:
        """Map frames (B, T, F), lengths (B,) on the CPU to vectors (B, V) and reconstructed frames.

        Reconstructed are as many frames as the target has, `partners` if that is another word.
        """
        if self.training and self.noise:
            frames = frames * (torch.rand_like(frames) >= self.noise)
        vectors = self.encode(frames, lengths)
        target = frames if self.target == "self" else _given(partners)
        return Encoded(vectors, self.decode(vectors, target.size(1)))

    def encode(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Map frames (B, T, F), lengths (B,) on the CPU to vectors (B, V)."""
        vectors: Tensor = self.to_vector(last_state(self.encoder, frames, lengths))
        return vectors

    def decode(self, vectors: Tensor, length: int) -> Tensor:
        """Map vectors (B, V) to `length` frames (B, T, F)."""
        repeated = vectors.unsqueeze(1).expand(-1, length, -1)
        frames: Tensor = self.to_frame(self.decoder(repeated)[0])
        return frames

    def loss(
        self,
        outputs: Encoded,
        frames: Tensor,
        lengths: Tensor,
        partners: Tensor | None = None,
        partners_lengths: Tensor | None = None,
    ) -> Tensor:
        """Return the squared error, mean over all numbers of all frames."""
        if self.target == "same_word":
            frames, lengths = _given(partners), _given(partners_lengths)
        real = torch.arange(frames.size(1), device=frames.device) < lengths.to(
            frames.device, non_blocking=True
        ).unsqueeze(1)  # (B, T)
        errors = (outputs.frames.float() - frames).square().mean(2)
        return (errors * real).sum() / real.sum()

    def count_loss_terms(self, lengths: Tensor, partners_lengths: Tensor | None = None) -> Tensor:
        """Return the number of frames that are reconstructed."""
        return (lengths if self.target == "self" else _given(partners_lengths)).sum()

    def predict(self, outputs: Encoded) -> Tensor:
        """Return the vectors (B, V)."""
        return outputs.vectors


def _given(column: Tensor | None) -> Tensor:
    if column is None:
        raise InputError(
            'target = "same_word": the data provides no pairs; set pairs = "same_word" or "alike" in [data]'
        )
    return column
