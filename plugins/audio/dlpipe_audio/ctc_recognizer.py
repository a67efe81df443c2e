"""Speech recognition by connectionist temporal classification (CTC).

Sources: Graves et al. 2006, "Connectionist Temporal Classification: Labelling Unsegmented Sequence Data with Recurrent
Neural Networks", https://doi.org/10.1145/1143844.1143891 (the loss, best path decoding), and Graves & Jaitly 2014,
"Towards End-to-End Speech Recognition with Recurrent Neural Networks", https://proceedings.mlr.press/v32/graves14.html,
section 4 (beam search).
Departs from them: a window of frames, dropout, the mean loss per label; no language model.
Axes: B recordings, T frames of the longest, F numbers per frame, W numbers of a window, H hidden units, K labels, L
labels of the longest transcript. The last of K + 1 scores is that of the blank.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.data import IGNORE_INDEX
from dlpipe.errors import InputError
from dlpipe.fields import NonNegative, OnlyWith, OpenFraction, Positive
from dlpipe.recurrent import hidden_states, recurrent_layers
from dlpipe_audio.prefix_search import most_probable


class CTCRecognizer(nn.Module):
    """Score K labels and the blank for every frame; the loss adds up all ways in which frames can say a transcript.

    Args:
        num_features: F.
        alphabet: names of the K labels.
        cell: kind of recurrent network; with "none", each window of frames is classified by itself, by a linear layer.
        bidirectional: also read each recording backward.
        num_layers: stacked recurrent layers.
        hidden_dim: H, units per direction and layer.
        dropout: probability of zeroing, on the outputs of every layer.
        context: neighbors on each side that are seen with each frame.
        beam_size: transcripts that are followed at a time to find the most probable one; with 1, the labels of the most
            probable path, which is faster.
    """

    def __init__(
        self,
        num_features: int,
        alphabet: Sequence[str],
        *,
        cell: Literal["gru", "lstm", "none"] = "lstm",
        bidirectional: Annotated[bool, OnlyWith(cell=("gru", "lstm"))] = True,
        num_layers: Annotated[Positive, OnlyWith(cell=("gru", "lstm"))] = 2,
        hidden_dim: Annotated[Positive, OnlyWith(cell=("gru", "lstm"))] = 128,
        dropout: Annotated[OpenFraction, OnlyWith(cell=("gru", "lstm"))] = 0.3,
        context: NonNegative = 1,
        beam_size: Positive = 1,
    ) -> None:
        super().__init__()
        self.context, self.beam_size = context, beam_size
        width = (2 * context + 1) * num_features
        self.recurrent: nn.RNNBase | None = None
        if cell != "none":
            self.recurrent = recurrent_layers(
                cell, width, hidden_dim, num_layers, bidirectional=bidirectional, dropout=dropout
            )
            width = (1 + bidirectional) * hidden_dim
        self.dropout = nn.Dropout(dropout if self.recurrent else 0.0)
        self.classify = nn.Linear(width, len(alphabet) + 1)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Map frames (B, T, F), lengths (B,) on the CPU to logits (B, T, K + 1)."""
        padded = F.pad(frames, (0, 0, self.context, self.context))
        hidden = padded.unfold(1, 2 * self.context + 1, 1).flatten(2)  # (B, T, W)
        if self.recurrent:
            hidden = hidden_states(self.recurrent, hidden, lengths)
        logits: Tensor = self.classify(self.dropout(hidden))
        return logits

    def loss(self, logits: Tensor, targets: Tensor, lengths: Tensor, targets_lengths: Tensor | None = None) -> Tensor:
        """Map logits (B, T, K + 1) and targets (B, L) to the negative log-likelihood of the transcripts per label.

        In evaluation mode, a target of -100 within a transcript is a label that the model does not know: it is left
        out.

        Args:
            targets_lengths: (B,) on the CPU; None if they are `lengths`.

        Raises:
            InputError: the targets are no transcripts.
        """
        if targets.dim() != 2 or targets.is_floating_point():
            raise InputError(
                f"CTCRecognizer got targets of shape {tuple(targets.shape)}; expected transcripts, a sequence of "
                "labels for each recording: choose data such as audio.transcribed"
            )
        counts = lengths if targets_lengths is None else targets_lengths
        known = targets != IGNORE_INDEX
        if not self.training:
            counts = known.sum(1)
            targets = targets.gather(1, (~known).long().argsort(dim=1, stable=True))
        scores = logits.log_softmax(2).transpose(0, 1)  # (T, B, K + 1)
        numbers, blank = targets.clamp(min=0), logits.size(2) - 1
        total = F.ctc_loss(scores, numbers, lengths, counts, blank=blank, reduction="sum")
        return total / known.sum().clamp(min=1)

    def predict(self, logits: Tensor, lengths: Tensor) -> Tensor:
        """Map logits (B, T, K + 1) to transcripts (B, T); what follows the labels of each is -100."""
        if self.beam_size > 1:
            return self._searched(logits, lengths)
        path = logits.argmax(2)
        changes = F.pad(path[:, 1:] != path[:, :-1], (1, 0), value=True)
        inside = torch.arange(path.size(1), device=path.device) < lengths.to(path.device, non_blocking=True).unsqueeze(
            1
        )
        spoken = changes & inside & (path != logits.size(2) - 1)
        # The labels first, in their order.
        order = (~spoken).long().argsort(dim=1, stable=True)
        return path.masked_fill(~spoken, IGNORE_INDEX).gather(1, order)

    def _searched(self, logits: Tensor, lengths: Tensor) -> Tensor:
        found = torch.full(logits.shape[:2], IGNORE_INDEX)
        for row, scores in enumerate(logits.double().softmax(2).cpu()):
            labels = most_probable(scores[: int(lengths[row])].tolist(), self.beam_size)
            found[row, : len(labels)] = torch.tensor(labels, dtype=torch.long)
        return found.to(logits.device)
