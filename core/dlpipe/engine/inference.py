"""Using a trained run: opening it, evaluating it on a split, and what it does without items."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from dlpipe.config.check import load_pipeline
from dlpipe.config.pipeline import Pipeline, Reference, Stage
from dlpipe.config.source import SET, dotted
from dlpipe.config.toml_lines import KeyPath
from dlpipe.engine.build import FindModel, StageComponents, build_for_use, load_checkpoint
from dlpipe.engine.starting_weights import TrainedModel
from dlpipe.errors import CheckpointError, InputError, component_errors, errors_in
from dlpipe.evaluation.evaluate import evaluate
from dlpipe.evaluation.examples import Examples
from dlpipe.items import FailedItem
from dlpipe.messages import relative
from dlpipe.protocols import Evaluator
from dlpipe.registry.loading import Registry, load_plugins
from dlpipe.registry.targets import load_target
from dlpipe.runs.files import fits, read_json
from dlpipe.runs.folder import DATA_STATE, RESOLVED, RunFolder
from dlpipe.splits import TRAIN


@dataclass
class TrainedStage:
    """A stage of a finished (or interrupted) run with the weights of one of its checkpoints."""

    pipeline: Pipeline
    stage: Stage
    folder: Path
    built: StageComponents
    checkpoint: Path

    @property
    def model(self) -> nn.Module:
        """The trained model."""
        return self.built.trained_model

    @property
    def run(self) -> Path:
        """The folder of the run, without links."""
        place = self.folder.resolve()
        return next(folder for folder in (place, *place.parents) if (folder / RESOLVED).is_file())


def open_run(
    path: Path,
    *,
    registry: Registry | None = None,
    stage: str | None = None,
    checkpoint: str = "best",
    assignments: Iterable[str] = (),
    allow_local_plugins: bool | Sequence[Path] = False,
) -> TrainedStage:
    """Open a run for use; no data file is read.

    Args:
        path: the run folder.
        stage: of a pipeline with several; the last one if not given.
        checkpoint: "best", "last" or the number of a step.
        assignments: changes to the run's pipeline, such as ``"data.path=/elsewhere"``.
        allow_local_plugins: see `dlpipe.config.check.load_pipeline`.

    Raises:
        InputError: it is not a run folder, or has no such stage, no such checkpoint, or no checkpoint yet; or an
            assignment is to what only a training uses, or makes a model that the weights do not fit.
    """
    folder = RunFolder.open(path)
    pipeline = load_pipeline(
        folder.path / RESOLVED, registry or load_plugins(), assignments, allow_local_plugins=allow_local_plugins
    )
    for warning in pipeline.warnings:
        warnings.warn(warning, stacklevel=2)
    _require_used(pipeline)
    try:
        return open_stage(pipeline, folder, stage, checkpoint)
    except CheckpointError as error:
        changed = [dotted(path) for path, _, keys in _assigned(pipeline) if keys[0] == "model"]
        if not changed:
            raise
        raise InputError(
            f"--set {changed[0]}: the weights of {relative(folder.path)} do not fit such a model; leave it out, or "
            "train one: `dlpipe run`"
        ) from error


def _assigned(pipeline: Pipeline) -> Iterator[tuple[KeyPath, str, KeyPath]]:
    """Yield the path of each key that an assignment has set, the name of its stage, and its path in there."""
    for path in (path for path, origin in pipeline.source.origins.items() if origin.file == SET):
        yield (path, str(path[1]), path[2:]) if path[0] == "stages" else (path, "", path)


def _require_used(pipeline: Pipeline) -> None:
    """Refuse assignments to what only a training uses."""
    for path, name, keys in _assigned(pipeline):
        stage = pipeline.stages.get(name)
        if stage is None or len(keys) < 2:
            continue
        used = {key for evaluator in stage.evaluators for key in stage.from_trainer(evaluator)}
        if keys[0] == "callbacks" or (keys[0] == "trainer" and stage.model is not None and keys[1] not in used):
            raise InputError(
                f"--set {dotted(path)} has no effect on a trained model; leave it out, or continue the training "
                "with it: `dlpipe resume`"
            )


def open_stage(
    pipeline: Pipeline, folder: RunFolder, stage: str | None = None, checkpoint: str = "best"
) -> TrainedStage:
    """Open one stage of a run; see `open_run`."""
    chosen = pipeline.stage(stage)
    place = folder.stage(chosen.name)
    known = read_json(place / DATA_STATE)

    def find(reference: Reference) -> TrainedModel:
        return open_reference(pipeline, folder, reference).built.trained

    with fits(place / DATA_STATE, "the data and the model"):
        built = build_for_use(pipeline.settings, chosen, find, data_state=known["state"])
    return TrainedStage(pipeline, chosen, place, built, load_checkpoint(built, place, checkpoint))


def open_reference(pipeline: Pipeline, folder: RunFolder, reference: Reference) -> TrainedStage:
    """Open what a reference in `pipeline` stands for: a stage of this run, or another run.

    Raises:
        InputError: as for `open_run`.
    """
    if reference.run is not None:
        # The permission for the plugins of this pipeline is none for the code that another run brings along.
        return open_run(reference.run, allow_local_plugins=pipeline.local_plugins)
    return open_stage(pipeline, folder, reference.stage)


def find_in(models: Mapping[str, TrainedModel], pipeline: Pipeline) -> FindModel:
    """Return what finds referenced models: those of stages among `models`, by name, and those of other runs.

    It is for stages that are tried in small only, whose models have hardly been trained.
    """

    def find(reference: Reference) -> TrainedModel:
        if reference.run is None:
            return models[reference.stage]
        return open_run(reference.run, allow_local_plugins=pipeline.local_plugins).built.trained

    return find


def evaluate_run(trained: TrainedStage, split: str, *, same_data: bool = True) -> dict[str, float]:
    """Return the metrics of all evaluators of a trained run, by ``<evaluator>/<metric>``.

    Args:
        same_data: warn if the data is not what the run was trained with.

    Raises:
        InputError: the data has no such split, or no evaluator can judge it.
    """
    data = trained.built.data
    if split not in data.splits:
        raise InputError(f"the data has no split {split!r}; it has {', '.join(data.splits)}")
    with errors_in(trained.stage.data.table, data_table=trained.stage.data.table):
        fingerprint = data.fingerprint() if same_data else None
    if same_data and fingerprint != read_json(trained.folder / DATA_STATE)["fingerprint"]:
        warnings.warn("the data has changed since this run was trained", stacklevel=2)
    examples = Examples(data, split, trained.built.compute)
    metrics = evaluate(trained.model, _able(trained, split), examples, stage=trained.stage.name)
    return {name.partition("/")[2]: value for name, value in metrics.items()}


def _able(trained: TrainedStage, split: str) -> dict[str, Evaluator]:
    """Return the evaluators of a run that can judge a split; say which ones cannot judge the training examples."""
    evaluators = dict(trained.built.evaluators)
    if split != TRAIN:
        return evaluators
    reasons = []
    for name, config in trained.stage.evaluators.items():
        if reason := config.component.spec.not_on_train:
            del evaluators[name]
            reasons.append(f"{config.table} {config.component.name} cannot judge training examples: {reason}")
    if reasons and not evaluators:
        raise InputError(f"no evaluator of this run can judge the train split: {'; '.join(reasons)}")
    for reason in reasons:
        warnings.warn(f"{reason}; it is left out", stacklevel=3)
    return evaluators


def apply(trained: TrainedStage, target: str, options: Mapping[str, Any]) -> Iterator[dict[str, Any] | FailedItem]:
    """Yield the answers of a trained run's application; see `dlpipe.config.application`.

    Args:
        target: of the application.
        options: checked values by parameter.

    Raises:
        InputError: what it should write cannot be written.
    """
    application = load_target(target)
    trained.model.eval()
    with component_errors(f"the application {target}:"):
        try:
            yield from application(trained.model, trained.built.data, trained.built.compute, **options)
        except OSError as error:
            raise InputError(f"{error.filename or target} cannot be used: {error.strerror or error}") from error
