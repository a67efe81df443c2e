"""The layers of the models of a pipeline: their names, as ``freeze`` and ``rates`` take them, shapes and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from dlpipe.config.pipeline import Pipeline
from dlpipe.engine.build import build_for_use
from dlpipe.engine.inference import find_in, open_stage
from dlpipe.engine.starting_weights import TrainedModel
from dlpipe.errors import errors_in
from dlpipe.runs.folder import RunFolder
from dlpipe.training.freezing import freeze_parts


@dataclass(frozen=True)
class Layer:
    """A layer of a model.

    Args:
        name: full, such as "net.layer1.0.conv1"; empty for the model itself.
        kind: its class.
        parameters: numbers in its parameters, those of inner layers included.
        trained: how many of them are not frozen.
        shapes: of its own parameters by name; of its buffers if it has no parameters.
    """

    name: str
    kind: str
    parameters: int
    trained: int
    shapes: dict[str, list[int]]


def layers_of(pipeline: Pipeline, folder: RunFolder | None = None) -> dict[str, list[dict[str, Any]]]:
    """Return the layers of the model of each stage as plain values, outer layers first.

    Args:
        folder: of a run of this pipeline; without, the models are built from the data, untrained.

    Raises:
        InputError: a stage of the run has no checkpoint yet, or `freeze` does not fit the model.
    """
    models: dict[str, TrainedModel] = {}
    for name, stage in pipeline.stages.items():
        if folder:
            components = open_stage(pipeline, folder, name).built
        else:
            components = build_for_use(pipeline.settings, stage, find_in(models, pipeline))
        with components:
            models[name] = components.trained
        if stage.model and (parts := stage.model.values.get("freeze")):
            with errors_in(stage.model.table):
                freeze_parts(models[name].model, parts)
    return {name: [asdict(layer) for layer in _layers(each.model)] for name, each in models.items()}


def _layers(model: nn.Module) -> Sequence[Layer]:
    found = []
    for name, module in model.named_modules():
        parameters = list(module.parameters())
        own = dict(module.named_parameters(recurse=False)) or dict(module.named_buffers(recurse=False))
        found.append(
            Layer(
                name,
                type(module).__name__,
                sum(each.numel() for each in parameters),
                sum(each.numel() for each in parameters if each.requires_grad),
                {key: list(each.shape) for key, each in own.items()},
            )
        )
    return found
