from __future__ import annotations

import itertools
import math

import pytest
import torch

from dlpipe.data import IGNORE_INDEX
from dlpipe_text.beam_search import beam_search

END, UNITS = 0, 3


def model(seed, texts):
    """Return a step whose logits depend on all units so far, and its first state: the units as digits of a number."""
    table = torch.randn(texts, 4000, UNITS, generator=torch.Generator().manual_seed(seed))

    def step(last, state):
        text, written = state
        written = written * (UNITS + 1) + last + 1
        return table[text, written % 4000], (text, written)

    return step, (torch.arange(texts), torch.zeros(texts, dtype=torch.long))


def probabilities(step, state, longest):
    """Return the log-probability of each text of at most `longest` units, with its end unless it is that long."""
    found = {}
    for length in range(1, longest + 1):
        for units in itertools.product(range(UNITS), repeat=length):
            if END in units[:-1] or (units[-1] != END and length < longest):
                continue
            current, total, last = state, 0.0, END
            for unit in units:
                logits, current = step(torch.tensor([last]), current)
                total += float(logits[0].log_softmax(0)[unit])
                last = unit
            found[units] = total
    return found


def best(found, length_penalty):
    return max(found, key=lambda units: found[units] / len(units) ** length_penalty)


def without_padding(rows):
    return [tuple(unit for unit in row if unit != IGNORE_INDEX) for row in rows.tolist()]


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_beam_as_wide_as_there_are_texts_finds_the_best_one(seed, length_penalty):
    step, state = model(seed, 2)
    longest = torch.tensor([4, 3])

    found = beam_search(step, state, longest, end=END, beam_size=16, length_penalty=length_penalty)

    expected = [
        best(probabilities(step, tuple(part[row : row + 1] for part in state), int(longest[row])), length_penalty)
        for row in range(2)
    ]
    assert without_padding(found) == expected


@pytest.mark.parametrize("seed", range(5))
def test_one_beam_takes_the_most_probable_unit_in_each_step(seed):
    step, state = model(seed, 3)

    found = beam_search(step, state, torch.tensor([6, 6, 6]), end=END, beam_size=1)

    for row, units in enumerate(without_padding(found)):
        current, last = tuple(part[row : row + 1] for part in state), END
        for unit in units:
            logits, current = step(torch.tensor([last]), current)
            assert unit == int(logits[0].argmax())
            last = unit
        assert units[-1] == END or len(units) == 6
        assert END not in units[:-1]


@pytest.mark.parametrize("beam_size", [1, 2, 3])
def test_a_text_does_not_depend_on_the_others(beam_size):
    step, state = model(7, 4)
    longest = torch.tensor([3, 7, 5, 1])

    together = beam_search(step, state, longest, end=END, beam_size=beam_size)

    for row in range(4):
        alone = beam_search(
            step, tuple(part[row : row + 1] for part in state), longest[row : row + 1], end=END, beam_size=beam_size
        )
        assert without_padding(alone) == without_padding(together[row : row + 1])


def test_a_wider_beam_finds_what_a_greedy_search_misses():
    # "b" is more probable at first, but what follows "a" is certain.
    logits = {(): [-math.inf, 0.4, 0.6], (1,): [1.0, 0.0, 0.0], (2,): [0.4, 0.3, 0.3]}

    def step(last, state):
        (written,) = state
        rows = []
        for row, unit in zip(written.tolist(), last.tolist(), strict=True):
            before = (unit,) if row else ()
            rows.append([math.log(value) if value > 0 else -math.inf for value in logits.get(before, [1.0, 0, 0])])
        return torch.tensor(rows), (written + 1,)

    state = (torch.zeros(1, dtype=torch.long),)

    greedy = beam_search(step, state, torch.tensor([5]), end=END, beam_size=1, length_penalty=0.0)
    wide = beam_search(step, state, torch.tensor([5]), end=END, beam_size=2, length_penalty=0.0)

    assert without_padding(greedy) == [(2, END)]
    assert without_padding(wide) == [(1, END)]


def test_scores_that_are_nan_give_empty_texts():
    found = beam_search(
        lambda last, state: (torch.full((len(last), UNITS), math.nan), state),
        (torch.zeros(2),),
        torch.tensor([3, 3]),
        end=END,
        beam_size=2,
    )

    assert without_padding(found) == [(), ()]
