"""Search for the most probable text that a model can write, one unit after the other.

Axes: B texts, K beams, V units that can be written, T units of the longest text.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from dlpipe.data import IGNORE_INDEX

State = TypeVar("State")
#: Maps the last units (B·K,) and a state to the logits of the next ones (B·K, V) and the state after the last ones. A
#: state consists of tensors whose first axis is (B·K).
Step = Callable[[Tensor, State], tuple[Tensor, State]]


def beam_search(
    step: Step[State],
    state: State,
    longest: Tensor,
    *,
    end: int,
    beam_size: int,
    length_penalty: float = 1.0,
) -> Tensor:
    """Return the units of the best texts that are found, and their end: (B, T), -100 after it.

    In each step, a text is continued by the `beam_size` most probable beginnings; those that end are candidates, and
    the search is over once there are as many. With one beam, each unit is the most probable one (greedy search).

    Args:
        state: that of each text, before its first unit; its tensors have (B, …). What is the same for all beams of a
            text need not be in it: the rows of `step` are those of the texts, `beam_size` times each.
        longest: (B,) how many units each text has at most, with its end.
        end: the unit that ends a text, and that the step before the first unit gets.
        length_penalty: candidates are compared by the sum of their log-probabilities, divided by the number of their
            units, raised to this power: 0 prefers short texts.
    """
    texts, device = len(longest), longest.device
    first = torch.arange(texts, device=device).unsqueeze(1) * beam_size  # (B, 1)
    state = tree_map_only(Tensor, lambda tensor: tensor.repeat_interleave(beam_size, 0), state)
    last = torch.full((texts * beam_size,), end, device=device)
    # At first, all beams of a text are the same: only one of them counts.
    scores = torch.full((texts, beam_size), -math.inf, device=device)
    scores[:, 0] = 0.0
    written = torch.empty(texts, beam_size, 0, dtype=torch.long, device=device)
    found = torch.full((texts, int(longest.max())), IGNORE_INDEX, device=device)
    best = torch.full((texts,), -math.inf, device=device)
    candidates = torch.zeros(texts, dtype=torch.long, device=device)
    for length in range(1, found.size(1) + 1):
        logits, state = step(last, state)
        sums = scores.unsqueeze(2) + logits.float().log_softmax(1).view(texts, beam_size, -1)
        # Among twice as many, at least as many as there are beams do not end.
        sums, places = sums.flatten(1).topk(2 * beam_size)
        origins, units = places // logits.size(1), places % logits.size(1)
        ends = units == end
        searched = (candidates < beam_size) & (longest >= length)
        # Of a text that must not be longer, the best beginning is taken as it is.
        accepted = ends | (longest == length).unsqueeze(1)
        accepted = accepted[:, :beam_size] & searched.unsqueeze(1) & sums[:, :beam_size].isfinite()
        values, which = (sums[:, :beam_size] / length**length_penalty).masked_fill(~accepted, -math.inf).max(1)
        better = values > best
        chosen = written.take_along_dim(origins.take_along_dim(which.unsqueeze(1), 1).unsqueeze(2), 1)[:, 0]
        chosen = torch.cat([chosen, units.take_along_dim(which.unsqueeze(1), 1)], 1)
        found[:, :length] = torch.where(better.unsqueeze(1), chosen, found[:, :length])
        found[:, length:] = found[:, length:].masked_fill(better.unsqueeze(1), IGNORE_INDEX)
        best = torch.maximum(best, values)
        candidates += accepted.sum(1)
        if not bool(((candidates < beam_size) & (longest > length)).any()):
            break
        kept = ends.long().argsort(dim=1, stable=True)[:, :beam_size]
        scores, origins, units = (each.take_along_dim(kept, 1) for each in (sums, origins, units))
        written = torch.cat([written.take_along_dim(origins.unsqueeze(2), 1), units.unsqueeze(2)], 2)
        rows, last = (first + origins).flatten(), units.flatten()
        state = tree_map_only(Tensor, partial(_rows_of, rows), state)
    return found[:, :length]


def _rows_of(rows: Tensor, tensor: Tensor) -> Tensor:
    return tensor.index_select(0, rows)
