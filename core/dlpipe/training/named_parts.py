"""Parts of a model by the names of its layers and parameters: "backbone", "layers.0.weight", "layers.*"."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from torch import nn

from dlpipe.errors import InputError
from dlpipe.messages import nearest, shown

#: A message lists at most this many names.
MAX_LISTED = 8


def in_part(name: str, part: str) -> bool:
    """Return whether a layer, a parameter or a buffer belongs to a part: it, or a layer around it, has that name.

    Args:
        part: a name, or a pattern such as "layers.*".
    """
    return any(fnmatchcase(outer, part) for outer in _with_outer(name))


def require_part(option: str, part: str, model: nn.Module) -> None:
    """Refuse a part that a model does not have.

    Args:
        option: that names the part, for messages: ``freeze``.

    Raises:
        InputError: with the nearest name.
    """
    names = [*_names(model)]
    if not any(in_part(name, part) for name in names):
        listed = ", ".join(names[:MAX_LISTED]) + (" …" if len(names) > MAX_LISTED else "")
        raise InputError(
            f"{option} = {shown(part)}: {type(model).__name__} has no layer or parameter of this name."
            f"{nearest(part, names) or f' It has {listed}.'} `dlpipe show RUN --layers` lists all names"
        )


def _names(model: nn.Module) -> Iterator[str]:
    yield from (name for name, _ in model.named_modules(remove_duplicate=False) if name)
    yield from model.state_dict()


def _with_outer(name: str) -> Iterable[str]:
    parts = name.split(".")
    return (".".join(parts[:depth]) for depth in range(1, len(parts) + 1))
