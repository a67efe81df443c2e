"""How often Python's cyclic garbage collector runs in a process of the command line.

Until training begins, imports create half a million objects, none of which is garbage. Full collections would traverse
all of them several times, which takes a fifth of the start-up time, and again and again during the training. A process
that only imports dlpipe, such as that of a notebook, keeps its own settings.
"""

from __future__ import annotations

import gc

#: The threshold of the youngest generation while a process starts (`gc.set_threshold`).
RARE = 100_000
_usual: tuple[int, int, int] | None = None


def collect_rarely() -> None:
    """Raise the threshold of the collector until `collect_as_usual`."""
    global _usual
    _usual = gc.get_threshold()
    gc.set_threshold(RARE, *_usual[1:])


def collect_as_usual() -> None:
    """Restore the thresholds, since cycles that hold tensors must not live long, and exempt the objects so far.

    Without effect if `collect_rarely` was not called before.
    """
    global _usual
    if _usual is not None:
        gc.freeze()
        gc.set_threshold(*_usual)
        _usual = None
