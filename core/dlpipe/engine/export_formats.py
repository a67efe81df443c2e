"""The formats of an exported model: how each is written, and loaded again as whoever uses it would."""

from __future__ import annotations

import copy
import inspect
import io
import logging
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.export import ExportedProgram

from dlpipe.data.model_caller import tensors_in
from dlpipe.engine.recurrent_ops import as_torch, whole_layers
from dlpipe.errors import InputError

#: Runs an exported model: inputs by name to outputs by name.
Runner = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
#: The sizes of a tensor; a string is the name of one that may vary.
Shape = tuple[int | str, ...]


@contextmanager
def quiet() -> Iterator[None]:
    """Hide what exporters warn of, log and print: it is about themselves, and they raise an error, too."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


class NamedOutputs(nn.Module):
    """What is exported: a model whose inputs and outputs are tensors by name.

    Args:
        module: the model.
        unused: columns that its ``forward`` requires but that make no difference; it gets None for them.
    """

    def __init__(self, module: nn.Module, unused: Collection[str] = ()) -> None:
        super().__init__()
        self.module, self.unused = module, tuple(unused)

    def with_inputs(self, names: Iterable[str]) -> NamedOutputs:
        """Return the same with `names` in the signature of ``forward``: torch.export 2.14 loses those of ``**inputs``.

        What it loads again would raise NameError where two inputs must have an equal size.
        """
        other = NamedOutputs(self.module, self.unused)

        def forward(*inputs: Tensor, **named_inputs: Tensor) -> dict[str, Tensor]:
            return NamedOutputs.forward(other, **named_inputs, **dict(zip(names, inputs, strict=False)))

        parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
        forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        other.forward = forward  # type: ignore[method-assign]
        return other

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Map the columns of a batch to the tensors that the model returns."""
        with whole_layers() if torch.compiler.is_exporting() else nullcontext():
            outputs = named(self.module(**inputs, **dict.fromkeys(self.unused)))
        # ONNX has one namespace for both.
        return {f"{name}_output" if name in inputs else name: tensor for name, tensor in outputs.items()}


def named(outputs: object) -> dict[str, Tensor]:
    """Return the tensors that a model returned by name: those of a NamedTuple or a dict, else ``outputs``.

    Raises:
        InputError: it returned something else.
    """
    fields = outputs._asdict() if hasattr(outputs, "_asdict") else outputs
    if isinstance(fields, Mapping) and all(isinstance(value, Tensor) for value in fields.values()):
        return {str(name): value for name, value in fields.items()}
    found = list(tensors_in(outputs))
    if isinstance(outputs, Tensor):
        return {"outputs": outputs}
    if not found:
        raise InputError(f"the model returns {type(outputs).__name__}; expected a tensor, or tensors by name")
    return {f"outputs_{number}": tensor for number, tensor in enumerate(found)}


@dataclass
class Traced:
    """A model as a program of torch.export.

    Args:
        inputs: the shapes of its inputs by name.
        output_names: of its outputs.
    """

    program: ExportedProgram
    inputs: Mapping[str, Shape]
    output_names: list[str]


def trace(model: NamedOutputs, example: Mapping[str, Tensor], inputs: Mapping[str, Shape]) -> Traced:
    """Trace a model in evaluation mode.

    Raises:
        torch._dynamo.exc.UserError, RuntimeError …: it cannot be traced, or a size that should vary cannot.
    """
    sizes: dict[str, torch.export.Dim] = {}
    for shape in inputs.values():
        sizes |= {size: torch.export.Dim(size) for size in shape if isinstance(size, str) and size not in sizes}
    shapes = {
        name: {axis: sizes[size] for axis, size in enumerate(shape) if isinstance(size, str)}
        for name, shape in inputs.items()
    }
    with torch.no_grad(), quiet():
        outputs = model(**example)
        program = torch.export.export(model.with_inputs(inputs), (), dict(example), dynamic_shapes=shapes)
    return Traced(program, inputs, list(outputs))


def write_torch(traced: Traced, path: Path) -> None:
    """Write a program for `torch.export.load`."""
    as_torch(traced.program)
    with quiet():
        torch.export.save(traced.program, path)


def load_torch(path: Path) -> Runner:
    """Return a function that runs a file that `write_torch` wrote."""
    with quiet():
        program = torch.export.load(path).module()
    return lambda inputs: program(**inputs)


def write_weights(model: NamedOutputs, path: Path) -> None:
    """Write the weights of a model; one that has several names is there under each of them, for any reader."""
    written: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in model.module.state_dict().items():
        storage = tensor.untyped_storage().data_ptr()
        written[name] = (tensor.clone() if storage in storages else tensor).contiguous()
        storages.add(storage)
    save_file(written, path)


def load_weights(model: NamedOutputs, path: Path) -> Runner:
    """Return a function that runs a model of the same class with the weights of a file."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for tensor in other.state_dict().values():
            tensor.zero_()
    other.module.load_state_dict(load_file(path))
    return lambda inputs: dict(other(**inputs))
