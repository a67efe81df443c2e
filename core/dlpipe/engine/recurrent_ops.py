"""Recurrent layers as one operation each while a model is exported, so that the length of a sequence stays free.

torch.export writes a recurrent layer out step by step, which fixes the number of steps. While a `WholeLayers` is
entered, a layer calls an operation of its own instead, of which the exporter only knows the shapes. Afterwards it is
replaced by torch's operation of the same name and arguments (`as_torch`), or translated to that of ONNX.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import GraphModule
from torch.overrides import TorchFunctionMode

_ARGUMENTS = (
    "Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, bool batch_first"
)
_LIBRARY = torch.library.Library("dlpipe", "FRAGMENT")
#: The operations, by name.
OPERATIONS: dict[str, Any] = {}


def _shapes(input: Tensor, hx: Any, params: Any, has_biases: bool, *options: Any) -> tuple[Tensor, ...]:
    """Return empty tensors of the shapes of the outputs and the last states."""
    states = [hx] if isinstance(hx, Tensor) else hx
    num_directions = 1 + options[3]
    outputs = input.new_empty((*input.shape[:2], num_directions * states[0].size(2)))
    return (outputs, *map(torch.empty_like, states))


for _name in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
    _two = _name == "lstm"  # hidden and cell state
    _states, _results = ("Tensor[]", "(Tensor, Tensor, Tensor)") if _two else ("Tensor", "(Tensor, Tensor)")
    _LIBRARY.define(f"{_name}(Tensor input, {_states} hx, {_ARGUMENTS}) -> {_results}")
    torch.library.register_fake(f"dlpipe::{_name}", _shapes, lib=_LIBRARY)
    OPERATIONS[_name] = getattr(torch.ops.dlpipe, _name).default

_REPLACED: Mapping[Any, Any] = {getattr(torch._VF, name): operation for name, operation in OPERATIONS.items()}


class WholeLayers(TorchFunctionMode):
    """While entered, recurrent layers over padded sequences call `OPERATIONS`."""

    def __torch_function__(
        self, function: Any, types: Any, arguments: Sequence[Any] = (), options: Mapping[str, Any] | None = None
    ) -> Any:
        """Call the replacement of a function that has one."""
        padded = len(arguments) == 9 and isinstance(arguments[3], bool)  # packed sequences have other arguments
        return (_REPLACED.get(function, function) if padded else function)(*arguments, **(options or {}))


def as_torch(program: ExportedProgram) -> None:
    """Replace `OPERATIONS` in a program by torch's own, so that whoever loads it needs nothing but torch."""
    own = {operation: getattr(torch.ops.aten, name).input for name, operation in OPERATIONS.items()}
    for graph in program.graph_module.modules():  # a branch is a module of its own
        if isinstance(graph, GraphModule):
            for node in graph.graph.nodes:
                node.target = own.get(node.target, node.target)
            graph.recompile()
