"""The cost of a training step of a tagger in dlpipe, compared with a hand-written PyTorch loop.

    python benchmarks/text_step_cost.py [--rounds 40] [--write]

Both loops train the bidirectional LSTM of ``slot_filling.toml`` (100 units, learned vectors of 100 numbers, dropout
0.5, 2 % of the words replaced by "other") with fused Adam (``fused = true`` in a pipeline file), batch 16 and gradients
clipped at 5, on the same 4,000 generated flight requests in batches of sentences of similar lengths, on one thread; see
`in_turn` for how they are measured. The hand-written loop has layers of its own, keeps padded sentences in one tensor,
packs only batches that need it, and sets gradients to None by hand.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from in_turn import RAW, RAW_AGAIN, Steps, compare, in_loop, rows, run
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from dlpipe.compute import Compute
from dlpipe.data import IGNORE_INDEX, Ragged
from dlpipe.data.batches import shuffled
from dlpipe.training.supervised import Supervised
from dlpipe_text.flights import flights
from dlpipe_text.rnn_tagger import RNNTagger
from dlpipe_text.tagged_text import TaggedText

SEED = 1
UNITS, DROPOUT, WORD_DROPOUT, PADDING, OTHER = 100, 0.5, 0.02, 0, 1
BATCH_SIZE, LEARNING_RATE, MAX_GRAD_NORM, BLOCK = 16, 2e-3, 5.0, 20


class Layers(nn.Module):
    """The layers of the tagger, as one would write them in a notebook."""

    def __init__(self, num_words: int, num_labels: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(num_words, UNITS, padding_idx=PADDING)
        self.lstm = nn.LSTM(UNITS, UNITS, batch_first=True, bidirectional=True)
        self.classify = nn.Linear(2 * UNITS, num_labels)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Map tokens (B, T), lengths (B,) to logits (B, T, K)."""
        replaced = (torch.rand(tokens.shape) < WORD_DROPOUT) & (tokens != PADDING)
        features = F.dropout(self.embed(tokens.masked_fill(replaced, OTHER)), DROPOUT)
        longest = tokens.size(1)
        if int(lengths.min()) < longest:
            packed = pack_padded_sequence(features, lengths, batch_first=True, enforce_sorted=False)
            hidden, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=longest)
        else:
            hidden, _ = self.lstm(features)
        return self.classify(F.dropout(hidden, DROPOUT))


def padded(column: Ragged, padding: int) -> Tensor:
    """Return sequences as one tensor (N, T of the longest)."""
    return pad_sequence(column.concatenated().split(column.lengths.tolist()), batch_first=True, padding_value=padding)


def raw(data: TaggedText) -> Steps:
    """Return a function that takes steps in a hand-written loop, over the batches that dlpipe draws."""
    columns = data.split("train").columns
    tokens, targets = padded(columns["tokens"], PADDING), padded(columns["targets"], IGNORE_INDEX)
    lengths = columns["tokens"].lengths
    torch.manual_seed(SEED)
    model = Layers(len(data.facts["vocabulary"]), len(data.facts["labels"]))
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)
    generator = torch.Generator().manual_seed(SEED)

    def batches() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        while True:
            for chosen in shuffled(len(tokens), BATCH_SIZE, generator, lengths):
                sizes = lengths[chosen]
                longest = int(sizes.max())
                yield tokens.index_select(0, chosen)[:, :longest], targets.index_select(0, chosen)[:, :longest], sizes

    endless = batches()

    def steps(count: int) -> None:
        for _ in range(count):
            words, labels, sizes = next(endless)
            loss = F.cross_entropy(model(words, sizes).flatten(0, 1), labels.flatten(), ignore_index=IGNORE_INDEX)
            for parameter in parameters:
                parameter.grad = None
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, MAX_GRAD_NORM)
            optimizer.step()

    return steps


def ours(data: TaggedText, folder: Path) -> Steps:
    """Return a function that takes steps in dlpipe's loop, including logging to metrics.jsonl."""
    torch.manual_seed(SEED)
    facts = data.facts
    trainer = Supervised(
        RNNTagger(facts["vocabulary"], facts["num_trigrams"], facts["labels"]),
        data,
        Compute(torch.device("cpu")),
        SEED,
        batch_size=BATCH_SIZE,
        optimizer={"use": "adam", "lr": LEARNING_RATE, "fused": True},
        max_grad_norm=MAX_GRAD_NORM,
    )
    return in_loop(trainer, folder)


def measure(rounds: int) -> str:
    """Return the table."""
    data, title = flights(), f"`text.rnn_tagger`, LSTM, batch {BATCH_SIZE}"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        loops = {RAW: raw(data), "dlpipe": ours(data, Path(folder)), RAW_AGAIN: raw(data)}
        return rows({title: compare(title, loops, BLOCK, rounds)})


if __name__ == "__main__":
    run(__doc__, measure, 40)
