"""What a run will take: time, memory and disk, from a few real steps of each stage.

Nothing is kept, and no run folder is created.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dlpipe.compute import available_memory, configure_torch, seed_everything
from dlpipe.config.pipeline import Pipeline, Stage
from dlpipe.config.settings import Settings
from dlpipe.engine.budget import Costs, RunTime, run_time
from dlpipe.engine.build import FindModel, TrainingComponents, build_for_training, opened_data
from dlpipe.engine.inference import find_in
from dlpipe.engine.measure import (
    Evaluation,
    LargestBatch,
    Steps,
    count_parameters,
    examine_step,
    largest_batch,
    measure_checkpoint,
    measure_evaluation,
    measure_steps,
    state_bytes,
)
from dlpipe.engine.memory import MemoryPeak
from dlpipe.engine.starting_weights import TrainedModel
from dlpipe.errors import DlpipeError, InputError
from dlpipe.messages import relative, shown_size
from dlpipe.protocols import SupportsStateBlocks, Trainer
from dlpipe.ranks import joined
from dlpipe.runs.files import nearest_existing
from dlpipe.splits import SPLITS
from dlpipe.training.step_parts import REST, StepParts
from dlpipe.training.trainer_state import own_total_steps

Clock = Callable[[], float]


@dataclass(frozen=True)
class StagePlan:
    """What a stage will take.

    Args:
        batch_size: None if the trainer has no such parameter.
        memory: bytes at the peak of the measured steps, and how that was measured.
        checkpoint: seconds and bytes of one.
    """

    data: str
    model: str
    trainer: str
    batch_size: int | str | None
    device: str
    precision: str
    threads: int
    parameters: Mapping[str, int]
    step: Steps
    memory: Mapping[str, Any]
    train: Evaluation | None
    dev: Evaluation | None
    test: Evaluation | None
    checkpoint: Mapping[str, Any]
    run: RunTime
    largest_batch: LargestBatch | None
    notes: list[str]


@dataclass(frozen=True)
class Plan:
    """What a run will take.

    Args:
        stages: by name; ``""`` for the only stage of a file without ``[stages]``.
        disk_bytes: of checkpoints and logs of all stages.
        free_bytes: on the disk of the run folders.
    """

    stages: Mapping[str, StagePlan]
    total_seconds: float
    disk_bytes: int
    free_bytes: int

    def plain(self) -> dict[str, Any]:
        """Return it, JSON-serializable; a stage without a name is called "pipeline"."""
        plain = asdict(self)
        plain["stages"] = {name or "pipeline": stage for name, stage in plain["stages"].items()}
        return plain

    @property
    def longest(self) -> str:
        """The stage that trains longest."""
        return max(self.stages, key=lambda name: self.stages[name].run.training_seconds)


def plan(
    pipeline: Pipeline, runs: Path, models: dict[str, TrainedModel] | None = None, *, clock: Clock = time.perf_counter
) -> Plan:
    """Measure each stage of a pipeline and return what a run will take.

    Args:
        runs: where run folders would be created.
        models: gets the model of each stage by its name.

    Raises:
        DlpipeError: memory or disk are too small, or something does not fit.
    """
    models = {} if models is None else models
    stages: dict[str, StagePlan] = {}
    needed = 0
    with alone(pipeline):
        for name, stage in pipeline.stages.items():
            planner = _StagePlanner(pipeline.settings, stage, find_in(models, pipeline), clock)
            stages[name] = planner.plan(runs, needed)
            models[name] = planner.trained
            needed += stages[name].run.checkpoint_bytes + stages[name].run.log_bytes
    total = sum(stage.run.total_seconds for stage in stages.values())
    return Plan(stages, total, needed, require_disk(needed, runs))


@contextlib.contextmanager
def alone(pipeline: Pipeline, command: str = "dlpipe plan") -> Iterator[None]:
    """Refuse several processes while entered.

    Args:
        command: that examines one only.
    """
    with joined(pipeline.settings.parallel) as ranks:
        if ranks.size > 1:
            raise InputError(
                f"{command} examines one process, but {ranks.size} were started; start it without torchrun or srun"
            )
        yield


def require_disk(needed: int, runs: Path) -> int:
    """Return the free bytes of the disk where run folders are created.

    Raises:
        DlpipeError: they are fewer than needed.
    """
    free = shutil.disk_usage(nearest_existing(runs)).free
    if needed > free:
        raise DlpipeError(
            f"checkpoints need {shown_size(needed)}, {relative(runs)}/ has {shown_size(free)} free; free some space, "
            "choose another disk with --runs DIR, or keep fewer checkpoints ([trainer] keep)"
        )
    return free


def require_memory(needed: int, available: int, what: str, device: torch.device) -> None:
    """Refuse what does not fit into memory.

    Raises:
        DlpipeError: it does not.
    """
    if needed > available:
        raise DlpipeError(
            f"{what} {shown_size(needed)} of memory, {device} has {shown_size(available)} free; use a smaller "
            "batch_size (with gradient_accumulation_steps, a step can still use as many examples), or a smaller model"
        )


class _StagePlanner:
    """Measures one stage.

    Attributes:
        trained: what later stages may start from, with the weights after the measured steps.
    """

    def __init__(self, settings: Settings, stage: Stage, find_model: FindModel, clock: Clock) -> None:
        self._settings, self._stage, self._find_model, self._clock = settings, stage, find_model, clock
        self.trained = TrainedModel(nn.Module(), {})

    def plan(self, runs: Path, used: int) -> StagePlan:
        """Measure the stage.

        Args:
            used: bytes of the disk that earlier stages need.
        """
        settings, stage = self._settings, self._stage
        device = configure_torch(settings).device
        peak, available = MemoryPeak(device), available_memory(device)
        with StepParts(device, self._clock) as timer, contextlib.ExitStack() as closing:
            opening = opened_data(settings, stage, self._find_model)
            data, reading = timer.time(lambda: closing.enter_context(opening))
            components, building = timer.time(lambda: build_for_training(settings, stage, self._find_model, data=data))
            self.trained = TrainedModel(components.live_model, data.facts)
            with components:
                trainer = components.trainer
                total = stage.options.budget.total_steps(trainer.steps_per_epoch, own_total_steps(trainer))
                steps, memory = self._steps(components, timer, total, peak, available)
                train, dev, test = (measure_evaluation(stage, components, split, timer) for split in SPLITS)
                costs = _costs(reading + building, steps, train, dev, test, state_bytes(components))
                run = run_time(stage.options, trainer.steps_per_epoch, total, costs)
                require_disk(used + run.checkpoint_bytes, runs)
                saving, size = measure_checkpoint(components, runs, timer)
                costs = replace(costs, checkpoint_seconds=saving, checkpoint_bytes=size)
                run = run_time(stage.options, trainer.steps_per_epoch, total, costs)
                notes = list(_notes(stage, trainer, steps, device))
            del components, trainer  # so that their memory is free
            largest = largest_batch(settings, stage, self._find_model, data, device, steps)
        return StagePlan(
            stage.data.component.name,
            type(self.trained.model).__name__,
            stage.trainer.component.name,
            stage.trainer.values.get("batch_size"),
            str(device),
            settings.precision,
            torch.get_num_threads(),
            count_parameters(self.trained.model),
            steps,
            {"bytes": memory, "kind": peak.kind, "available_bytes": available},
            train,
            dev,
            test,
            {"seconds": saving, "bytes": size},
            run,
            largest,
            notes,
        )

    def _steps(
        self, components: TrainingComponents, timer: StepParts, total: int | None, peak: MemoryPeak, available: int
    ) -> tuple[Steps, int]:
        """Measure the steps, and return their memory at the peak too."""
        device, stage = components.compute.device, self._stage
        gradients = sum(each.nbytes for each in self.trained.model.parameters() if each.requires_grad)
        require_memory(gradients, available_memory(device), f"{stage.trainer.table} the gradients need", device)
        seed_everything(self._settings.seed)
        steps = measure_steps(stage, components, timer, total)
        memory = peak.read()
        require_memory(memory, available, f"{stage.trainer.table} a step needs", device)
        return examine_step(stage, components, steps), memory


def _costs(
    started: float,
    steps: Steps,
    train: Evaluation | None,
    dev: Evaluation | None,
    test: Evaluation | None,
    size: int,
) -> Costs:
    return Costs(
        start_seconds=started,
        step_seconds=steps.mean_seconds,
        step_metrics=steps.metrics,
        train_seconds=train.seconds if train else None,
        train_metrics=train.metrics if train else {},
        dev_seconds=dev.seconds if dev else None,
        dev_metrics=dev.metrics if dev else {},
        test_seconds=test.seconds if test else None,
        checkpoint_seconds=0.0,
        checkpoint_bytes=size,
    )


def _notes(stage: Stage, trainer: Trainer, steps: Steps, device: torch.device) -> Iterator[str]:
    """Yield what a reader must know about the numbers."""
    if earlier := dict.fromkeys(map(str, stage.references())):
        yield f"it starts from {', '.join(earlier)}; of a stage, the weights after a few steps were used"
    if steps.parts[REST] is None:
        yield f"{stage.trainer.component.name} does not say what its steps consist of: their parts are not known"
    elif unknown := [part for part, seconds in steps.parts.items() if seconds is None]:
        names = ", ".join(part.replace("_", " ") for part in unknown)
        yield f"of {stage.trainer.component.name}, {names} cannot be told from the rest of a step"
    if device.type == "cpu" and any(isinstance(layer, nn.RNNBase) for layer in trainer.model.modules()):
        yield "the operations of recurrent layers on a CPU are not counted"
    if isinstance(trainer, SupportsStateBlocks):
        yield "the trainer's state grows during the run, and with it the checkpoints; they were measured at its start"
    if stage.options.patience:
        yield "patience may end the run earlier"
