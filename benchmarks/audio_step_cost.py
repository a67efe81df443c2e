"""The cost of a training step on spoken words in dlpipe, compared with a hand-written PyTorch loop.

    python benchmarks/audio_step_cost.py [--rounds 40] [--write]

Both loops train ``audio.seq2seq_autoencoder`` (GRU, 128 units, a vector of 128 numbers, 30 % noise) with fused Adam
(``fused = true`` in a pipeline file), batch 32 and gradients clipped at 5, otherwise as in ``audio_word2vec.toml``, on
the same 2,048 random words of 15 to 60 frames of 13 numbers, in batches of words of similar lengths. The hand-written
loop has layers and a loss of its own; like the model it packs the batches that need it and masks the loss. It sets
gradients to None by hand. Both use one thread; see `in_turn` for how they are measured.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from in_turn import RAW, RAW_AGAIN, Steps, compare, in_loop, rows, run
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from dlpipe.compute import Compute
from dlpipe.data import Columns, Ragged
from dlpipe.data.batches import shuffled
from dlpipe.training.supervised import Supervised
from dlpipe_audio.seq2seq_autoencoder import Seq2SeqAutoEncoder

SEED = 1
WORDS, FEATURES, UNITS, NOISE = 2048, 13, 128, 0.3
BATCH_SIZE, MAX_GRAD_NORM, BLOCK = 32, 5.0, 16


class Words:
    """Random words in memory."""

    splits = ("train",)
    facts: Mapping[str, Any] = {"num_features": FEATURES}

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(SEED)
        lengths = torch.randint(15, 61, (WORDS,), generator=generator)
        self.words = torch.randn(int(lengths.sum()), FEATURES, generator=generator).split(lengths.tolist())

    def split(self, name: str) -> Columns:
        """Return ``frames`` (N, T, F)."""
        return Columns({"frames": Ragged(torch.cat(self.words), torch.tensor([len(word) for word in self.words]))})

    def state(self) -> dict[str, Any]:
        """Return an empty state."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Do nothing."""

    def fingerprint(self) -> str:
        """Return a constant."""
        return "random"


class Layers(nn.Module):
    """The layers of the auto-encoder, as one would write them in a notebook."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.GRU(FEATURES, UNITS, batch_first=True)
        self.to_vector = nn.Linear(UNITS, UNITS)
        self.decoder = nn.GRU(UNITS, UNITS, batch_first=True)
        self.to_frame = nn.Linear(UNITS, FEATURES)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Return the squared error of the reconstruction."""
        noisy = frames * (torch.rand_like(frames) >= NOISE)
        if int(lengths.min()) < frames.size(1):
            noisy = pack_padded_sequence(noisy, lengths, batch_first=True, enforce_sorted=False)
        _, last = self.encoder(noisy)
        vectors = self.to_vector(last[0])
        hidden, _ = self.decoder(vectors.unsqueeze(1).expand(-1, frames.size(1), -1))
        real = torch.arange(frames.size(1)) < lengths.unsqueeze(1)
        return ((self.to_frame(hidden) - frames).square().mean(2) * real).sum() / real.sum()


def raw(data: Words) -> Steps:
    """Return a function that takes steps in a hand-written loop, over the batches that dlpipe draws."""
    torch.manual_seed(SEED)
    model = Layers()
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, fused=True)
    lengths = torch.tensor([len(word) for word in data.words])
    generator = torch.Generator().manual_seed(SEED)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            for chosen in shuffled(WORDS, BATCH_SIZE, generator, lengths):
                yield pad_sequence([data.words[word] for word in chosen.tolist()], batch_first=True), lengths[chosen]

    endless = batches()

    def steps(count: int) -> None:
        for _ in range(count):
            loss = model(*next(endless))
            for parameter in parameters:
                parameter.grad = None
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, MAX_GRAD_NORM)
            optimizer.step()

    return steps


def ours(data: Words, folder: Path) -> Steps:
    """Return a function that takes steps in dlpipe's loop, including logging to metrics.jsonl."""
    torch.manual_seed(SEED)
    trainer = Supervised(
        Seq2SeqAutoEncoder(FEATURES, hidden_dim=UNITS, vector_dim=UNITS, noise=NOISE),
        data,
        Compute(torch.device("cpu")),
        SEED,
        batch_size=BATCH_SIZE,
        optimizer={"use": "adam", "fused": True},
        max_grad_norm=MAX_GRAD_NORM,
    )
    return in_loop(trainer, folder)


def measure(rounds: int) -> str:
    """Return the table."""
    words, title = Words(), f"`audio.seq2seq_autoencoder`, batch {BATCH_SIZE}"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        loops = {RAW: raw(words), "dlpipe": ours(words, Path(folder)), RAW_AGAIN: raw(words)}
        return rows({title: compare(title, loops, BLOCK, rounds)})


if __name__ == "__main__":
    run(__doc__, measure, 40)
