"""Exported models in the format of ONNX; the only import of onnx, onnxscript and onnxruntime, and a late one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from onnxscript import opset18
from onnxscript.function_libs.torch_lib.ops.core import aten_gru, aten_lstm
from torch import Tensor

from dlpipe.engine.export_formats import Runner, Traced, quiet
from dlpipe.engine.recurrent_ops import OPERATIONS

#: The operations of ONNX; their annotations know no lists of numbers.
op: Any = opset18


def write(traced: Traced, path: Path) -> None:
    """Write a traced model; inputs and outputs have the names of `traced`."""
    with quiet():
        program = torch.onnx.export(
            traced.program,
            dynamo=True,
            verbose=False,
            input_names=list(traced.inputs),
            output_names=traced.output_names,
            custom_translation_table=_TRANSLATIONS,
        )
    assert program is not None
    program.save(path, external_data=False)


def load(path: Path) -> Runner:
    """Return a function that runs a file on the CPU, as onnxruntime does for whoever uses it."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = session.run(names, {name: tensor.numpy() for name, tensor in inputs.items()})
        return dict(zip(names, map(torch.from_numpy, found), strict=True))

    return run


def _elman(
    activation: str,
    input: Any,
    hx: Any,
    params: Sequence[Any],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Any, Any]:
    """Translate an Elman network, for which onnxscript has no translation: a layer of torch is one RNN of ONNX."""
    num_directions, per_direction = 1 + bidirectional, 4 if has_biases else 2
    outputs = op.Transpose(input, perm=[1, 0, 2]) if batch_first else input
    last: list[Any] = []
    for layer in range(num_layers):
        rows = range(layer * num_directions, (layer + 1) * num_directions)
        own = [params[row * per_direction : (row + 1) * per_direction] for row in rows]
        weights, recurrent = (_stacked([each[part] for each in own]) for part in (0, 1))
        biases = _stacked([op.Concat(each[2], each[3], axis=0) for each in own]) if has_biases else None
        states, final = op.RNN(
            outputs,
            weights,
            recurrent,
            biases,
            None,
            op.Slice(hx, [rows.start], [rows.stop], [0]),
            activations=[activation] * num_directions,
            direction="bidirectional" if bidirectional else "forward",
            hidden_size=hx.shape[2],
        )
        outputs = op.Reshape(op.Transpose(states, perm=[0, 2, 1, 3]), [0, 0, -1])
        last.append(final)
    return op.Transpose(outputs, perm=[1, 0, 2]) if batch_first else outputs, op.Concat(*last, axis=0)


def _stacked(parts: Sequence[Any]) -> Any:
    return op.Concat(*[op.Unsqueeze(part, [0]) for part in parts], axis=0)


_TRANSLATIONS: dict[Any, Any] = {
    OPERATIONS["lstm"]: aten_lstm,
    OPERATIONS["gru"]: aten_gru,
    OPERATIONS["rnn_tanh"]: partial(_elman, "Tanh"),
    OPERATIONS["rnn_relu"]: partial(_elman, "Relu"),
}
