"""Exporting a trained model for use without dlpipe, checked against the run on the dev split."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import metadata, util
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from dlpipe.engine.export_formats import (
    NamedOutputs,
    Runner,
    load_torch,
    load_weights,
    trace,
    write_torch,
    write_weights,
)
from dlpipe.engine.export_inputs import Exported, exported_of
from dlpipe.engine.inference import TrainedStage
from dlpipe.errors import DlpipeError, InputError, PluginError, in_words, place_of
from dlpipe.json_text import to_json
from dlpipe.registry.installation import install_command
from dlpipe.registry.targets import load_target
from dlpipe.runs.atomic import appearing_folder
from dlpipe.runs.checkpoint import step_of
from dlpipe.runs.files import read_json
from dlpipe.runs.folder import DATA_STATE, EXPORT

Format = Literal["torch", "onnx", "safetensors"]
FILES: Mapping[Format, str] = {"torch": "model.pt2", "onnx": "model.onnx", "safetensors": "model.safetensors"}
#: What a run is opened with to be exported.
ON_CPU = 'device="cpu"'
#: What the format "onnx" imports, by the name of the module.
ONNX = ("onnx", "onnxscript", "onnxruntime")
#: Largest difference |a - b| <= ABSOLUTE + RELATIVE |b| of an output. Other kernels add float32 in another order, which
#: is a matter of 1e-6; a wrong size or a branch of the other side is one of 1e-2 and more.
ABSOLUTE, RELATIVE = 1e-4, 1e-3


class Difference(NamedTuple):
    """How far an exported model is from the run: the largest difference, and its share of the largest output."""

    absolute: float
    relative: float


def default_folder(trained: TrainedStage, form: str) -> Path:
    """Return where a model is exported to if nobody says otherwise: in its run."""
    return trained.run / "exports" / trained.stage.name / form


def export_run(trained: TrainedStage, form: Format, folder: Path) -> tuple[Exported, Difference]:
    """Export a trained model to a new folder: the model, and `EXPORT`.

    Args:
        trained: the run, opened on the CPU.
        folder: must not exist; it appears when the export has been checked, or not at all.

    Raises:
        InputError: the folder exists, or the model cannot be exported.
        PluginError: what the format needs is not installed.
        DlpipeError: the exported model computes something else than the run, or a file cannot be written.
    """
    require_installed(form)
    with appearing_folder(folder) as temporary:
        exported = exported_of(trained)
        _write(trained, exported, form, temporary / FILES[form])
        difference = compare(exported, _load(exported, form, temporary / FILES[form]))
        description = describe(trained, exported, form, difference)
        (temporary / EXPORT).write_text(to_json(description, indent=1, ensure_ascii=False), encoding="utf-8")
    return exported, difference


def require_installed(form: Format) -> None:
    """Refuse a format whose packages are not installed.

    Raises:
        PluginError: naming them, with the command that installs them.
    """
    missing = [name for name in ONNX if form == "onnx" and util.find_spec(name) is None]
    if missing:
        raise PluginError(
            f"--format onnx needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed; "
            f"install with: {install_command('dlpipe[export]')}"
        )


def _write(trained: TrainedStage, exported: Exported, form: Format, path: Path) -> None:
    if form == "safetensors":
        write_weights(exported.model, path)
        return
    with _untraceable(trained, exported.model):
        traced = trace(exported.model, exported.example, exported.inputs)
    if form == "torch":
        write_torch(traced, path)
        return
    with _untraceable(trained, exported.model, " to ONNX"):
        load_target("dlpipe.engine.onnx_format:write")(traced, path)


def _load(exported: Exported, form: Format, path: Path) -> Runner:
    """Return a function that runs what was written.

    Raises:
        DlpipeError: it cannot be loaded.
    """
    load: Mapping[Format, Callable[[Path], Runner]] = {
        "torch": load_torch,
        "onnx": lambda path: load_target("dlpipe.engine.onnx_format:load")(path),
        "safetensors": partial(load_weights, exported.model),
    }
    try:
        return load[form](path)
    except Exception as error:
        raise DlpipeError(f"the exported model cannot be loaded: {in_words(error)}. Nothing was exported") from error


@contextmanager
def _untraceable(trained: TrainedStage, model: NamedOutputs, where: str = "") -> Iterator[None]:
    """Say in one line why a model cannot be exported, and what to do."""
    config = trained.stage.model or trained.stage.trainer
    who = f'{config.table} use = "{config.component.name}": {type(model.module).__name__}.forward'
    try:
        yield
    except DlpipeError:
        raise
    except Exception as error:
        place = f" ({place_of(error)})" if place_of(error) else ""
        reason, advice = _reason(error)
        raise InputError(
            f"{who} cannot be exported{where}: {reason}{place}. {advice}--format safetensors exports the weights alone"
        ) from error


def _reason(error: Exception) -> tuple[str, str]:
    """Return what torch.export says in pages, and what to do."""
    text = str(error)
    if "data-dependent" in text or "GuardOnDataDependent" in type(error).__name__:
        return (
            "its computation depends on the values of a tensor, not only on shapes",
            "Compute it without such a branch (torch.where), or by another way if torch.compiler.is_exporting(); ",
        )
    if found := re.search(r"marked (.+?) as dynamic but your code specialized it to be a constant", text):
        return (
            f"its size {found[1]!r} would become a constant, but differs between batches",
            "Take it from a tensor (x.size(1)) and not from a number or from values; ",
        )
    return in_words(error), ""


def compare(exported: Exported, run: Runner) -> Difference:
    """Return how far an exported model is from the run, over batches of other sizes and lengths.

    Raises:
        DlpipeError: it cannot be run on one of them, or its outputs differ by more than the tolerance.
    """
    absolute = largest = 0.0
    for inputs, expected in zip(exported.batches, exported.expected, strict=True):
        shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in inputs.items())
        try:
            with torch.no_grad():
                found = run(inputs)
        except Exception as error:
            raise DlpipeError(f"the exported model cannot be run on {shapes}: {in_words(error)}") from error
        for name, own in expected.items():
            other = found[name]
            if other.shape != own.shape:
                raise DlpipeError(
                    f"the exported model returns {name} of shape {tuple(other.shape)} for {shapes}; expected "
                    f"{tuple(own.shape)} as in the run"
                )
            # An output that is infinite or NaN is the same if the run has it, too.
            same = (other == own) | (other.isnan() & own.isnan())
            apart = _largest((other.double() - own.double()).masked_fill(same, 0.0))
            if not torch.allclose(other.double(), own.double(), RELATIVE, ABSOLUTE, equal_nan=True):
                raise DlpipeError(
                    f"the exported model differs from the run: {name} by {apart:.3g} for {shapes}; "
                    f"expected at most {ABSOLUTE:g} + {RELATIVE:g} of the output. Nothing was exported"
                )
            absolute = max(absolute, apart)
            largest = max(largest, _largest(own[own.isfinite()].double()))
    return Difference(absolute, absolute / largest if largest else 0.0)


def _largest(numbers: Tensor) -> float:
    return float(numbers.abs().max()) if numbers.numel() else 0.0


def describe(trained: TrainedStage, exported: Exported, form: Format, difference: Difference) -> dict[str, Any]:
    """Return the content of `EXPORT`."""
    stage = trained.stage
    packages = ("dlpipe", "torch", *(ONNX if form == "onnx" else ()))
    first, expected, weights = exported.batches[0], exported.expected[0], exported.model.module.state_dict()
    return {
        "format": form,
        "file": FILES[form],
        "run": trained.run.name,
        "pipeline": trained.pipeline.settings.name,
        "stage": stage.name,
        "checkpoint": step_of(trained.checkpoint),
        "model": (stage.model or stage.trainer).component.name,
        "class": type(exported.model.module).__name__,
        "inputs": [_tensor(name, first[name], shape) for name, shape in exported.inputs.items()],
        "outputs": [_tensor(name, expected[name], shape) for name, shape in exported.outputs.items()],
        "parameters": {name: _tensor("", tensor, tuple(tensor.shape)) for name, tensor in weights.items()},
        "data": {"use": stage.data.component.name, "learned": read_json(trained.folder / DATA_STATE)["state"]},
        "checked": {
            "split": exported.split,
            "batches": len(exported.batches),
            "absolute_tolerance": ABSOLUTE,
            "relative_tolerance": RELATIVE,
            "largest_difference": difference.absolute,
            "relative_difference": difference.relative,
        },
        "versions": {name: metadata.version(name) for name in packages} | {"python": sys.version.split()[0]},
    }


def _tensor(name: str, tensor: Tensor, shape: tuple[int | str, ...]) -> dict[str, Any]:
    content = {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(shape)}
    return {"name": name} | content if name else content
