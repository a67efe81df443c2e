"""When a process of the command line looks for garbage: objects that refer to each other, and that nothing else needs.

What is imported until training begins are half a million objects, none of which is garbage. Python would look at all of
them several times meanwhile, for a fifth of that time, and again and again during the training. A process that somebody
else started, such as that of a notebook, decides about this itself.
"""

from __future__ import annotations

import gc

#: New objects (less those that are gone) between two searches while a process starts.
MANY = 100_000
_usual: tuple[int, int, int] | None = None


def search_seldom() -> None:
    """Look for garbage seldom until `search_as_usual`."""
    global _usual
    _usual = gc.get_threshold()
    gc.set_threshold(MANY, *_usual[1:])


def search_as_usual() -> None:
    """Look for garbage as often as Python does, but not among the objects that there are now.

    A cycle of tensors would otherwise keep its memory for long. Without effect if `search_seldom` was not called, and
    when it is called again.
    """
    global _usual
    if _usual is not None:
        gc.freeze()
        gc.set_threshold(*_usual)
        _usual = None
