"""Seeded generators: torch's, and Python's with a JSON state, which is much faster for single numbers."""

from __future__ import annotations

import json
from random import Random

import torch

from dlpipe.compute import derived_seed


def generator(*parts: int | str) -> Random:
    """Return a generator seeded by `parts`, such as a seed and a name."""
    return Random(derived_seed(*parts))


def torch_generator(*parts: int | str) -> torch.Generator:
    """Return a torch generator on the CPU, seeded by `parts`."""
    return torch.Generator().manual_seed(derived_seed(*parts))


def state_of(rng: Random) -> str:
    """Return the state of a generator as JSON."""
    return json.dumps(rng.getstate())


def restore(rng: Random, state: str) -> None:
    """Restore the state that `state_of` returned."""
    version, words, gauss = json.loads(state)
    rng.setstate((version, tuple(words), gauss))
