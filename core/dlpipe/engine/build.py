"""Making the components of a stage: importing targets and filling in what their signatures name."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from dlpipe.compute import Compute, configure_torch, seed_everything
from dlpipe.config.defaults import Computed
from dlpipe.config.pipeline import ComponentConfig, Reference, Stage
from dlpipe.config.settings import Settings
from dlpipe.config.signatures import read_signature
from dlpipe.errors import DlpipeError, InputError, PluginError
from dlpipe.messages import relative
from dlpipe.protocols import Data, Evaluator, Trainer
from dlpipe.registry.targets import load_target
from dlpipe.runs.checkpoint import Checkpoints, load_weights

#: Finds the trained model that a reference means.
Finder = Callable[[Reference], nn.Module]


def build(use: ComponentConfig[Any], provided: Mapping[str, Any], find: Finder) -> Any:
    """Make the component that a table asks for.

    Args:
        provided: what the core has to give by parameter name: facts, the model, the seed …
        find: where references to trained models lead.

    Raises:
        PluginError: the target cannot be imported.
        InputError: the component refuses a value.
    """
    component = use.component.spec
    try:
        target = load_target(component.target)
    except PluginError as error:
        raise PluginError(
            f'{use.table} use = "{use.component.name}" ({use.component.distribution}): {error}'
        ) from error
    parameters = read_signature(component.target).parameters
    arguments = {name: provided[name] for name in parameters if name in provided}
    arguments |= {name: find(reference) for name, reference in use.references.items()}
    arguments |= {
        name: value
        for name, value in use.values.items()
        if name in parameters  # the others are the core's own
        and not isinstance(value, Computed)
        and not (value is None and name in arguments)
    }
    try:
        return target(**arguments)
    except DlpipeError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f'{use.table} use = "{use.component.name}": {error}') from error


class StageComponents:
    """The components of a stage, made in one order with one seed, so always with the same weights.

    Args:
        data_state: what the data learned in an earlier process; no file is read to learn it again.
        with_trainer: without, the training split is not read.
    """

    def __init__(
        self,
        settings: Settings,
        stage: Stage,
        find: Finder,
        *,
        data_state: Mapping[str, Any] | None = None,
        with_trainer: bool = True,
        data: Data | None = None,
    ) -> None:
        self.compute: Compute = configure_torch(settings)
        self.data: Data = data or build(stage.data, {"offline": settings.offline}, find)
        if data_state is not None:
            self.data.restore(data_state)
        facts = dict(self.data.facts)
        declared = stage.data.component.spec.facts
        if missing := [name for name in declared if name not in facts]:
            raise PluginError(
                f"data {stage.data.component.name} promises the fact {missing[0]!r}, but does not tell it"
            )
        # Whatever making the data drew at random, the model's first weights follow from the seed.
        seed_everything(settings.seed)
        self.model: nn.Module | None = None
        if stage.model:
            self.model = build(stage.model, facts, find).to(self.compute.device)
        self.evaluators: dict[str, Evaluator] = {
            name: build(use, facts, find) for name, use in stage.evaluators.items()
        }
        self.trainer: Trainer | None = None
        if with_trainer:
            loop = {name: value for name, value in vars(stage.options).items() if value is not None}
            given = {"model": self.model, "data": self.data, "compute": self.compute, "seed": settings.seed}
            self.trainer = build(stage.trainer, loop | given, find)


def load_checkpoint(built: StageComponents, folder: Path, which: str = "best") -> Path:
    """Load the weights of a checkpoint of a stage into its model and return that checkpoint.

    Args:
        folder: of the stage.
        which: "best", "last" or the number of a step.

    Raises:
        InputError: it has no checkpoint, or not that one.
    """
    checkpoint = Checkpoints(folder / "checkpoints", warn=warnings.warn).find(which)
    if checkpoint is None:
        raise InputError(f"{relative(folder)} has no checkpoint yet; train it first: dlpipe resume {relative(folder)}")
    if built.model is None and built.trainer is not None:
        built.model = built.trainer.model
    assert built.model is not None
    load_weights(checkpoint, built.model)
    return checkpoint
