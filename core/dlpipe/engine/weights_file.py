"""Files of weights from anywhere: safetensors, or what torch.save wrote."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from dlpipe.errors import reason_of
from dlpipe.runs.checkpoint import require_plain

#: Where training scripts keep the weights within what they save.
CONTAINERS = ("state_dict", "model")
EXPECTED = "expected tensors by name in a .safetensors, .pth or .pt file"


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the weights in a file by name; nothing in it can run code.

    Args:
        path: a .safetensors file; or a .pth or .pt file with a state dict, also one under "state_dict" or "model".

    Raises:
        ValueError: there is no such file, or it has no weights; the message starts with a verb.
    """
    if not path.is_file():
        raise ValueError(f"does not exist; {EXPECTED}")
    try:
        found = _of_safetensors(path) if path.suffix == ".safetensors" else _of_torch(path)
    except Exception as error:  # torch and safetensors raise many types for a file in another format
        raise ValueError(f"cannot be loaded safely: {reason_of(error)}; {EXPECTED}") from error
    for container in CONTAINERS:
        if isinstance(found, Mapping) and isinstance(found.get(container), Mapping):
            found = found[container]
    if not isinstance(found, Mapping) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError("has no tensors by name; expected what torch.save(model.state_dict(), path) writes")
    return dict(found)


def _of_safetensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
        tied = {name: found[twin] for name, twin in (file.metadata() or {}).items() if twin in found}
    return tied | found  # a checkpoint of dlpipe has tied weights once


def _of_torch(path: Path) -> Any:
    if zipfile.is_zipfile(path):  # older files are not archives and contain nothing compressed
        require_plain(path)
    return torch.load(path, map_location="cpu", weights_only=True)
