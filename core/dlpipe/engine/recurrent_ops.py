"""Recurrent layers as one operation each while a model is exported, so that the length of a sequence stays free.

torch.export writes a recurrent layer out step by step, which fixes the number of steps. Within `whole_layers`, a layer
calls an operation of its own instead, of which the exporter only knows the shapes. Afterwards it is replaced by torch's
operation of the same name and arguments (`as_torch`), or translated to that of ONNX.

Packed sequences have a size that depends on their lengths, which no exported program can have. Within `whole_layers`
they stay padded: `data` of a PackedSequence is (B, T, D), and its batch sizes give the lengths.
Axes: B sequences, T positions of the longest, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule
from torch.nn.utils.rnn import PackedSequence
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


class _Replacing(TorchFunctionMode):
    """While entered, functions of recurrent layers call `OPERATIONS`, and sequences are not packed."""

    def __torch_function__(
        self, function: Any, types: Any, arguments: Sequence[Any] = (), options: Mapping[str, Any] | None = None
    ) -> Any:
        """Call the replacement of a function that has one."""
        if function is torch._VF._pack_padded_sequence:
            return _pack(*arguments)
        if function is torch._VF._pad_packed_sequence:
            return _pad(*arguments)
        return _REPLACED.get(function, function)(*arguments, **(options or {}))


@contextmanager
def whole_layers() -> Iterator[None]:
    """Within this context, a recurrent layer is one operation, and packed sequences are padded ones."""
    with ExitStack() as patches:
        for layer in (nn.RNN, nn.GRU, nn.LSTM):
            patches.enter_context(mock.patch.object(layer, "forward", _packed_or(layer.forward)))
        patches.enter_context(_Replacing())
        yield


def _pack(sequences: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
    padded = sequences if batch_first else sequences.transpose(0, 1)
    return padded, (lengths.unsqueeze(0) > torch.arange(padded.size(1)).unsqueeze(1)).sum(1)


def _pad(data: Tensor, batch_sizes: Tensor, batch_first: bool, padding: float, length: int) -> tuple[Tensor, Tensor]:
    lengths = _lengths(data, batch_sizes)
    inside = torch.arange(data.size(1)) < lengths.unsqueeze(1)
    padded = data.masked_fill(~inside.unsqueeze(2), padding)
    return (padded if batch_first else padded.transpose(0, 1)), lengths


def _lengths(data: Tensor, batch_sizes: Tensor) -> Tensor:
    return (batch_sizes.unsqueeze(0) > torch.arange(data.size(0)).unsqueeze(1)).sum(1)


def _packed_or(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return the ``forward`` of a recurrent layer that reads packed sequences as `_pack` returns them."""

    def replaced(layer: nn.RNNBase, input: Any, hx: Any = None) -> Any:
        if not isinstance(input, PackedSequence):
            return forward(layer, input, hx)
        if hx is not None:
            hx = layer.permute_hidden(hx, input.sorted_indices)
        states = _initial(layer, input.data) if hx is None else [hx] if isinstance(hx, Tensor) else list(hx)
        outputs, last = _run_padded(layer, input.data, _lengths(input.data, input.batch_sizes), states)
        last = layer.permute_hidden(last, input.unsorted_indices)
        return PackedSequence(outputs, *input[1:]), last

    return replaced


def _initial(layer: nn.RNNBase, data: Tensor) -> list[Tensor]:
    """Return the initial states (layers × directions, B, H), those of the cells after those of the units."""
    number = layer.num_layers * (1 + layer.bidirectional)
    sizes = [layer.proj_size or layer.hidden_size, layer.hidden_size]
    return [data.new_zeros(number, data.size(0), size) for size in sizes[: 2 if layer.mode == "LSTM" else 1]]


def _run_padded(layer: nn.RNNBase, data: Tensor, lengths: Tensor, states: list[Tensor]) -> tuple[Tensor, Any]:
    """Return the outputs (B, T, …) and the last states of sequences; the backward direction reads them reversed."""
    steps, ends = torch.arange(data.size(1)), lengths.unsqueeze(1)
    backward = torch.where(steps < ends, ends - 1 - steps, steps).unsqueeze(2)  # (B, T, 1)
    operation, directions = OPERATIONS[layer.mode.lower()], 1 + layer.bidirectional
    size = len(layer._flat_weights) // (layer.num_layers * directions)
    last: list[Tensor] = []
    for number in range(layer.num_layers):
        found = []
        for direction in range(directions):
            row = number * directions + direction
            own = [state[row : row + 1] for state in states]
            weights = layer._flat_weights[row * size : (row + 1) * size]
            read = _taken(data, backward) if direction else data
            hx = own if layer.mode == "LSTM" else own[0]
            outputs = operation(read, hx, weights, layer.bias, 1, 0.0, False, False, True)[0]
            last.append(_taken(outputs, (ends - 1).unsqueeze(2)).squeeze(1))
            found.append(_taken(outputs, backward) if direction else outputs)
        data = torch.cat(found, 2)
    hidden = torch.stack(last)
    # The last state of a cell is not among the outputs: a model that uses it fails the comparison with its run.
    return data, (hidden, torch.full_like(states[1], torch.nan)) if layer.mode == "LSTM" else hidden


def _taken(values: Tensor, positions: Tensor) -> Tensor:
    """Return values (B, T, D) at positions (B, P, 1)."""
    return values.gather(1, positions.expand(-1, -1, values.size(2)))


def as_torch(program: ExportedProgram) -> None:
    """Replace `OPERATIONS` in a program by torch's own, so that whoever loads it needs nothing but torch."""
    own = {operation: getattr(torch.ops.aten, name).input for name, operation in OPERATIONS.items()}
    for graph in program.graph_module.modules():  # a branch is a module of its own
        if isinstance(graph, GraphModule):
            for node in graph.graph.nodes:
                node.target = own.get(node.target, node.target)
            graph.recompile()
