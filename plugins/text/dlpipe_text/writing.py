"""What models that write a text have in common, whatever they read and however they do it.

Axes: B texts, S units of the longest source, T units of the longest target, V units of targets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_map_only

from dlpipe_text.beam_search import beam_search
from dlpipe_text.parallel_text import END
from dlpipe_text.vocabulary import RESERVED
from dlpipe_text.word_features import PADDING

State = TypeVar("State")


class Written(NamedTuple):
    """What such a model returns.

    Args:
        logits: (B, T, V) of each unit of the target, given those before it; None without targets.
        attention: (B, T, S) weights of the units of the source; None without attention, or without targets.
        memory: what is known of the source, tensors (B, …) in the form of the model; None for nothing.
        state: that of the model before the first unit, tensors (B, …).
        longest: (B,) how many units are written at most.
    """

    logits: Tensor | None
    attention: Tensor | None
    memory: Any
    state: Any
    longest: Tensor


def previous_units(targets: Tensor) -> Tensor:
    """Map targets (B, T) to the unit before each, (B, T), which is `END` before the first one."""
    is_first = torch.arange(targets.size(1), device=targets.device) == 0
    return targets.roll(1, 1).masked_fill(is_first, END).clamp(min=PADDING)


def cross_entropy(outputs: Written, targets: Tensor, label_smoothing: float) -> Tensor:
    """Return the cross-entropy of targets (B, T), mean over all units and ends."""
    assert outputs.logits is not None
    return F.cross_entropy(outputs.logits.flatten(0, 1), targets.flatten(), label_smoothing=label_smoothing)


@dataclass(frozen=True)
class Search:
    """How a model searches for the text that it writes.

    Args:
        beam_size: texts that are followed at a time; with 1, each unit is the most probable one.
        length_penalty: see `beam_search`.
        max_length: units that are written at most; None for twice as many as are read, and ten.

    Raises:
        ValueError: there is one beam, and a penalty that is not the default: nothing is compared.
    """

    beam_size: int
    length_penalty: float
    max_length: int | None

    def __post_init__(self) -> None:
        if self.beam_size == 1 and self.length_penalty != 1:
            raise ValueError(
                f"length_penalty = {self.length_penalty}: has no effect with beam_size = 1, which writes one text; "
                "remove it, or set beam_size to 2 or more"
            )

    def longest(self, lengths: Tensor) -> Tensor:
        """Return (B,) how many units are written at most for sources of these lengths."""
        return 2 * lengths + 10 if self.max_length is None else torch.full_like(lengths, self.max_length)

    def most_probable(self, outputs: Written, advance: Callable[[Tensor, Any, State], tuple[Tensor, State]]) -> Tensor:
        """Return the units of the most probable texts that are found, and their ends, (B, T); -100 after them.

        Args:
            advance: maps the last units, the memory and a state to the logits of the next units and the state after
                the last ones; of each text, there are `beam_size` rows.
        """
        memory = tree_map_only(Tensor, lambda part: part.repeat_interleave(self.beam_size, 0), outputs.memory)

        def step(last: Tensor, state: State) -> tuple[Tensor, State]:
            logits, state = advance(last, memory, state)
            never = torch.arange(logits.size(1), device=logits.device) < len(RESERVED)  # padding and "other"
            return logits.masked_fill(never, -torch.inf), state

        return beam_search(
            step,
            outputs.state,
            outputs.longest,
            end=END,
            beam_size=self.beam_size,
            length_penalty=self.length_penalty,
        )


class Scorer(nn.Module):
    """What is exported of a model that writes: writing takes as many steps as a text has units, scoring it takes one.

    Args:
        model: maps tokens, lengths and targets to `Written`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, lengths: Tensor, targets: Tensor) -> Tensor:
        """Map tokens (B, S), lengths (B,) on the CPU and targets (B, T) to logits (B, T, V)."""
        logits: Tensor = self.model(tokens, lengths, targets).logits
        return logits
