"""Features on disk, under a digest of all that decides them: computed once, read the next time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dlpipe.data import cache_folder

#: Changes whenever the code computes other features from the same input.
VERSION = 2


def cached(ingredients: Mapping[str, object], make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return tensors from the cache; make and store them if they are not there.

    A cache that cannot be read or written is not an error.

    Args:
        ingredients: all that decides the tensors, as JSON.
    """
    known = json.dumps({**ingredients, "version": VERSION, "torch": torch.__version__}, sort_keys=True)
    name = hashlib.sha256(known.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    try:
        folder = cache_folder() / "features"
    except RuntimeError:  # there is no home folder
        return make()
    path = folder / f"{name}.safetensors"
    with contextlib.suppress(OSError, SafetensorError):
        return load_file(path)
    made = make()
    temporary = path.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError, SafetensorError):
        folder.mkdir(parents=True, exist_ok=True)
        save_file(made, temporary)
        temporary.replace(path)
    return made
