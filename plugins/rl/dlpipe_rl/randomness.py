"""numpy's generator, as a checkpoint can hold it; for a few numbers at a time much faster than torch's."""

from __future__ import annotations

import json

import numpy as np

from dlpipe.compute import derived_seed


def generator(*parts: int | str) -> np.random.Generator:
    """Return a generator whose numbers follow from `parts`, such as a seed and a name."""
    return np.random.Generator(np.random.PCG64(derived_seed(*parts)))


def state_of(random: np.random.Generator) -> str:
    """Return the state of a generator as text: it has numbers of 128 bits."""
    return json.dumps(random.bit_generator.state)


def restore(random: np.random.Generator, state: str) -> None:
    """Set a generator to what `state_of` returned."""
    random.bit_generator.state = json.loads(state)
