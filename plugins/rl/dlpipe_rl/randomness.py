"""Python's generator, as a checkpoint can hold it; for a number at a time much faster than numpy's or torch's."""

from __future__ import annotations

import json
from random import Random

from dlpipe.compute import derived_seed


def generator(*parts: int | str) -> Random:
    """Return a generator whose numbers follow from `parts`, such as a seed and a name."""
    return Random(derived_seed(*parts))


def state_of(random: Random) -> str:
    """Return the state of a generator as text."""
    return json.dumps(random.getstate())


def restore(random: Random, state: str) -> None:
    """Set a generator to what `state_of` returned."""
    version, words, gauss = json.loads(state)
    random.setstate((version, tuple(words), gauss))
