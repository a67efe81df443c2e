"""Building the components of a stage: importing targets and providing what their signatures name."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

from torch import Tensor, nn

from dlpipe.compute import Compute, IsolatedRNG, configure_torch, seed_everything
from dlpipe.config.defaults import Computed
from dlpipe.config.pipeline import ComponentConfig, Reference, Stage, Start, each_of
from dlpipe.config.settings import Settings
from dlpipe.config.signatures import read_signature
from dlpipe.engine.compilation import compile_model
from dlpipe.engine.conformance import check_members
from dlpipe.engine.starting_weights import StartingModel, TrainedModel, load_start, require_same_facts
from dlpipe.errors import InputError, PluginError, errors_in
from dlpipe.messages import relative, shell_path, shown
from dlpipe.protocols import Data, Evaluator, SupportsClose, Trainer
from dlpipe.registry.specs import EvaluatorSpec, ModelSpec
from dlpipe.registry.targets import load_target
from dlpipe.runs.checkpoint import Checkpoints, load_weights
from dlpipe.runs.weights import unsavable_weights
from dlpipe.training.freezing import freeze_parts

#: Finds the trained model that a reference stands for.
FindModel = Callable[[Reference], TrainedModel]


def build(config: ComponentConfig[Any], provided: Mapping[str, Any], find_model: FindModel) -> Any:
    """Build the component that a table selects.

    Args:
        provided: what the core can provide, by parameter name: facts, the model, the seed …
        find_model: finds referenced trained models.

    Raises:
        PluginError: the target cannot be imported, or has members that dlpipe would never call.
        InputError: the component refuses a value, or a referenced model was trained with other names.
        ComponentError: it raises anything else.
    """
    spec = config.component.spec
    name = config.component.name
    who = f'{config.table} use = "{name}"'
    try:
        target = load_target(spec.target)
    except PluginError as error:
        raise PluginError(f"{who} ({config.component.distribution}): {error}") from error
    parameters = read_signature(spec.target).parameters
    arguments = {name: provided[name] for name in parameters if name in provided}
    for key, named in config.references.items():
        if key not in parameters:  # `start` is an option of the core
            continue
        found = [find_model(each) for each in each_of(named)]
        same_facts = spec.same_facts if isinstance(spec, (ModelSpec, EvaluatorSpec)) else ()
        with errors_in(config.table):
            for each, trained in zip(each_of(named), found, strict=True):
                require_same_facts(f"{key}: {each}", trained, provided, same_facts)
        models = [trained.model for trained in found]
        arguments[key] = models[0] if isinstance(named, Reference) else models
    arguments |= {
        key: value
        for key, value in config.values.items()
        if key in parameters  # the others are the core's own
        and not isinstance(value, Computed)
        and not (value is None and key in arguments)
    }
    data_table = config.table if spec.kind == "data" else ""
    # A trainer calls the model and the data, which may be the cause too.
    with errors_in(config.table, data_table=data_table, component="" if spec.kind == "trainer" else name):
        try:
            component = target(**arguments)
        except ValueError as error:  # how a component that does not import dlpipe refuses a value
            raise InputError(f'use = "{name}": {error}') from error
    try:
        check_members(spec.kind, component)
    except PluginError as error:
        raise PluginError(f"{who} ({config.component.distribution}): {error}") from error
    return component


@dataclass(frozen=True, kw_only=True)
class StageComponents:
    """What using the trained model of a stage needs. It is a context manager, which closes what was built for it.

    Args:
        model: None if the trainer builds it.
        built: what is closed at the end: not the data if others use it, too.
    """

    compute: Compute
    data: Data
    model: nn.Module | None
    evaluators: Mapping[str, Evaluator]
    built: Sequence[object]

    @property
    def trained(self) -> TrainedModel:
        """The trained model and the facts of its data, for a stage that starts from it."""
        return TrainedModel(self.trained_model, self.data.facts)

    @property
    def trained_model(self) -> nn.Module:
        """The model that is evaluated, saved and used."""
        assert self.model is not None
        return self.model

    @property
    def goals(self) -> dict[str, str]:
        """The primary metrics of the evaluators, such as "slots/f1", and whether each should grow or fall."""
        return {f"{name}/{each.primary}": each.goal for name, each in self.evaluators.items() if each.primary}

    def close(self) -> None:
        """Let the components release what they hold: processes, files."""
        for component in self.built:
            if isinstance(component, SupportsClose):
                component.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@dataclass(frozen=True, kw_only=True)
class TrainingComponents(StageComponents):
    """What the training of a stage needs.

    Args:
        start: in words, the weights that the model started from.
    """

    trainer: Trainer
    start: str = ""

    @property
    def trained_model(self) -> nn.Module:
        """The trainer's model, as it may average weights or build its own."""
        return self.trainer.model

    @property
    def live_model(self) -> nn.Module:
        """The model that the trainer updates; its own if it builds one."""
        return self.trainer.model if self.model is None else self.model


def build_for_training(
    settings: Settings,
    stage: Stage,
    find_model: FindModel,
    *,
    starts: bool = False,
    data: Data | None = None,
    data_state: Mapping[str, Any] | None = None,
) -> TrainingComponents:
    """Build the components of a stage, always in the same order with the same seed, so the same weights result.

    Args:
        starts: whether the model gets the weights that it starts from: not if those of a checkpoint follow.
        data: the data of the stage, if it has been built already; it is not closed with the other components.
        data_state: what the data learned in an earlier process; no file is read to learn it again.
    """
    compute = configure_torch(settings)
    if settings.tf32 and (kind := compute.device.type) != "cuda":
        warnings.warn(f'tf32 = true has no effect on device "{kind}": only CUDA GPUs have TF32', stacklevel=2)
    data, own_data = _given_or_built(data, settings, stage, find_model)
    facts = _facts(data, stage, data_state)
    model, start = _seeded_model(settings, stage, facts, find_model, compute), ""
    if model is not None and stage.model:
        if starts:
            start = _started(model, stage.model, facts, find_model, settings)
        if parts := stage.model.values.get("freeze"):
            with errors_in(stage.model.table):
                freeze_parts(model, parts)
        compute.ranks.same_weights(model)
        if settings.compile:
            compile_model(model, compute.device)
    evaluators = _evaluators(stage, facts, find_model)
    provided = {"model": model, "data": data, "compute": compute, "seed": settings.seed, "budget": stage.options.budget}
    trainer: Trainer = build(stage.trainer, provided, find_model)
    _require_savable(trainer.model, stage)
    built = [trainer, *evaluators.values(), *own_data]
    return TrainingComponents(
        compute=compute, data=data, model=model, evaluators=evaluators, built=built, trainer=trainer, start=start
    )


def build_for_use(
    settings: Settings,
    stage: Stage,
    find_model: FindModel,
    *,
    data: Data | None = None,
    data_state: Mapping[str, Any] | None = None,
) -> StageComponents:
    """Build what using the trained model of a stage needs, a trainer only if it builds the model; see above.

    Without a trainer, the training split is not read.
    """
    if stage.model is None:
        return build_for_training(settings, stage, find_model, data=data, data_state=data_state)
    compute = configure_torch(settings)
    data, own_data = _given_or_built(data, settings, stage, find_model)
    facts = _facts(data, stage, data_state)
    model = _seeded_model(settings, stage, facts, find_model, compute)
    assert model is not None
    compute.ranks.same_weights(model)
    evaluators = _evaluators(stage, facts, find_model)
    _require_savable(model, stage)
    return StageComponents(
        compute=compute, data=data, model=model, evaluators=evaluators, built=[*evaluators.values(), *own_data]
    )


def build_data(settings: Settings, stage: Stage, find_model: FindModel) -> Data:
    """Build the data of a stage; torch has been configured, which seeds the random numbers."""
    data: Data = build(stage.data, {"offline": settings.offline}, find_model)
    return data


def _given_or_built(
    data: Data | None, settings: Settings, stage: Stage, find_model: FindModel
) -> tuple[Data, list[Data]]:
    """Return the data of a stage, and what is to be closed with its components: nothing if it is given."""
    if data is not None:
        return data, []
    data = build_data(settings, stage, find_model)
    return data, [data]


@contextmanager
def opened_data(settings: Settings, stage: Stage, find_model: FindModel) -> Iterator[Data]:
    """Build the data of a stage as a run does, and let it release what it holds at the end."""
    configure_torch(settings)
    data = build_data(settings, stage, find_model)
    try:
        yield data
    finally:
        if isinstance(data, SupportsClose):
            data.close()


def _facts(data: Data, stage: Stage, state: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the facts of data, after it got back what it learned in an earlier process."""
    config = stage.data
    with errors_in(config.table, data_table=config.table, component=config.component.name):
        if state is not None:
            data.restore(state)
        else:
            _check_splits(data, config)  # which may read files that a trained run does not need
        return _checked_facts(data, config)


def _check_splits(data: Data, config: ComponentConfig[Any]) -> None:
    splits = data.splits
    if isinstance(splits, str) or not isinstance(splits, Sequence):
        raise PluginError(f'{config.table} splits is {splits!r}; expected names, such as ("train", "dev", "test")')


def _checked_facts(data: Data, config: ComponentConfig[Any]) -> dict[str, Any]:
    given = data.facts
    if not isinstance(given, Mapping):
        raise PluginError(f"{config.table} facts is {type(given).__name__}; expected a dict of facts by name")
    facts = dict(given)
    if tensors := [name for name, value in facts.items() if isinstance(value, Tensor)]:
        raise PluginError(f"{config.table} the fact {tensors[0]!r} is a tensor; expected plain values such as numbers")
    if missing := [name for name in config.component.spec.facts if name not in facts]:
        raise PluginError(
            f'{config.table} use = "{config.component.name}": its spec declares the fact {missing[0]!r}, '
            f"but the data provides {', '.join(facts) or 'none'}"
        )
    return facts


def _seeded_model(
    settings: Settings, stage: Stage, facts: Mapping[str, Any], find_model: FindModel, compute: Compute
) -> nn.Module | None:
    """Build the model that the pipeline names, if it names one.

    Whatever random numbers the data used, its first weights follow from the seed.
    """
    seed_everything(settings.seed)
    if stage.model is None:
        return None
    with errors_in(stage.model.table, component=stage.model.component.name):
        _require_facts(stage, facts)
        model: nn.Module = build(stage.model, facts, find_model).to(compute.device)
    return model


def _evaluators(stage: Stage, facts: Mapping[str, Any], find_model: FindModel) -> dict[str, Evaluator]:
    return {
        name: build(config, {**facts, **stage.from_trainer(name)}, find_model)
        for name, config in stage.evaluators.items()
    }


def _require_savable(model: object, stage: Stage) -> None:
    """Refuse a trained model that is none, or that a checkpoint cannot hold."""
    if not isinstance(model, nn.Module):
        raise PluginError(f"{stage.trainer.table} model is {type(model).__name__}; expected a torch.nn.Module")
    if problem := unsavable_weights(model):
        config = stage.model or stage.trainer
        raise PluginError(f'{config.table} use = "{config.component.name}": state_dict() cannot be saved: {problem}')


def _require_facts(stage: Stage, facts: Mapping[str, Any]) -> None:
    """Refuse a fact of the data that the model's table gives another value: outputs and targets would not match."""
    assert stage.model is not None
    for name, parameter in read_signature(stage.model.component.spec.target).parameters.items():
        given = stage.model.values.get(name)
        if name in facts and parameter.required and given is not None and _listed(given) != _listed(facts[name]):
            raise InputError(
                f"{name} = {shown(given)}: it is {shown(facts[name])} in {stage.data.component.name}, which provides "
                "it; remove the key"
            )


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value  # TOML has no tuples


def _started(
    model: nn.Module,
    config: ComponentConfig[ModelSpec],
    facts: Mapping[str, Any],
    find_model: FindModel,
    settings: Settings,
) -> str:
    """Load the weights that a model starts from, and return in words what was taken over."""
    start = config.references.get("start")
    if not isinstance(start, Start):
        return ""
    known = read_signature(config.component.spec.target).parameters
    taken = [name for name in facts if name in known and config.values.get(name) is None]

    def rebuild(others: Mapping[str, Any]) -> nn.Module:
        with IsolatedRNG(settings.seed):
            return cast(nn.Module, build(config, {**facts, **others}, find_model))

    own = StartingModel(model, facts, taken, rebuild)
    with errors_in(config.table):
        return load_start(own, start, find_model, offline=settings.offline)


def load_checkpoint(components: StageComponents, folder: Path, which: str = "best") -> Path:
    """Load the weights of a checkpoint of a stage into its model and return that checkpoint.

    Args:
        folder: of the stage.
        which: "best", "last" or the number of a step.

    Raises:
        InputError: it has no checkpoint, or not that one.
    """
    checkpoint = Checkpoints(folder / "checkpoints", warn=warnings.warn).find(which)
    if checkpoint is None:
        raise InputError(
            f"{relative(folder)} has no checkpoint yet; train it first: dlpipe resume {shell_path(folder)}"
        )
    load_weights(checkpoint, components.trained_model)
    return checkpoint
