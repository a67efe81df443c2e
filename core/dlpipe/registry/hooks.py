"""The hooks: what a plugin can offer, and what a callback can observe.

Hooks return records, or nothing. None takes a ``register`` function, so the caller knows which plugin answered. There
are two specifications: the hooks of `ComponentHooks` are called on every installed plugin, once, before any file is
read; the hooks of `Lifecycle` are called only on the callbacks that a pipeline names, so that installing a package
never changes a run that does not mention it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pluggy

from dlpipe.registry.specs import (
    CallbackSpec,
    CommandSpec,
    DataSpec,
    EvaluatorSpec,
    LossSpec,
    ModelSpec,
    OptimizerSpec,
    RuleSpec,
    ScheduleSpec,
    TrainerSpec,
)

#: Version of the interface between dlpipe and plugins: (major, minor).
API = (1, 0)

hookspec = pluggy.HookspecMarker("dlpipe")
hookimpl = pluggy.HookimplMarker("dlpipe")


class ComponentHooks:
    """Hooks of a plugin module. Called once per process; they must import neither torch nor numpy."""

    @hookspec
    def dlpipe_data(self) -> Iterable[DataSpec]:  # type: ignore[empty-body]
        """Offer data that ``[data] use = "<namespace>.<name>"`` can select.

        Called once, before any file is read. Return records; the signature of a record's target is the schema of the
        other keys of ``[data]``. All answers are kept. ``None`` and a name offered twice are errors. A plugin that
        raises an exception counts as broken; the others are not affected.

        Example::

            @hookimpl
            def dlpipe_data():
                return [DataSpec("flights", "dlpipe_text.flights:flights", "Sentences", facts=("labels",))]
        """

    @hookspec
    def dlpipe_models(self) -> Iterable[ModelSpec]:  # type: ignore[empty-body]
        """Offer models that ``[model] use = "<namespace>.<name>"`` can select.

        Called like `dlpipe_data`. Required parameters of the target that the file does not give are filled by name
        from the facts of the data.

        Example::

            @hookimpl
            def dlpipe_models():
                return [ModelSpec("rnn_tagger", "dlpipe_text.rnn_tagger:RNNTagger", "RNN tagger")]
        """

    @hookspec
    def dlpipe_trainers(self) -> Iterable[TrainerSpec]:  # type: ignore[empty-body]
        """Offer trainers that ``[trainer] use = "<namespace>.<name>"`` can select.

        Called like `dlpipe_data`. A target with parameters named ``model``, ``data``, ``compute``, ``seed`` or
        ``budget`` receives these from dlpipe; see `dlpipe.protocols.Trainer`.

        Example::

            @hookimpl
            def dlpipe_trainers():
                return [TrainerSpec("supervised", "dlpipe.training.supervised:Supervised", "Batch in, loss out")]
        """

    @hookspec
    def dlpipe_evaluators(self) -> Iterable[EvaluatorSpec]:  # type: ignore[empty-body]
        """Offer evaluators that ``[evaluators.NAME] use = "<namespace>.<name>"`` can select.

        Called like `dlpipe_models`; required parameters are filled from the facts in the same way.

        Example::

            @hookimpl
            def dlpipe_evaluators():
                return [EvaluatorSpec("slot_f1", "dlpipe_text.slot_f1:SlotF1", "F1 of slots")]
        """

    @hookspec
    def dlpipe_optimizers(self) -> Iterable[OptimizerSpec]:  # type: ignore[empty-body]
        """Offer optimizers that a trainer's ``optimizer = { use = "<namespace>.<name>" }`` can select.

        Called like `dlpipe_data`. The names of torch's own have no namespace. The first argument of the target is the
        parameters to optimize.

        Example::

            @hookimpl
            def dlpipe_optimizers():
                return [OptimizerSpec("adamw", "torch.optim:AdamW", "decays weights apart from Adam")]
        """

    @hookspec
    def dlpipe_schedules(self) -> Iterable[ScheduleSpec]:  # type: ignore[empty-body]
        """Offer learning rate schedules that ``schedule = { use = "<namespace>.<name>" }`` can select.

        Called like `dlpipe_optimizers`. The first argument of the target is the optimizer.

        Example::

            @hookimpl
            def dlpipe_schedules():
                return [ScheduleSpec("linear", "torch.optim.lr_scheduler:LinearLR", "a line")]
        """

    @hookspec
    def dlpipe_losses(self) -> Iterable[LossSpec]:  # type: ignore[empty-body]
        """Offer losses that ``loss = { use = "<namespace>.<name>" }`` of ``core.supervised`` can select.

        Called like `dlpipe_optimizers`. An instance of the target is called with the outputs and the targets.

        Example::

            @hookimpl
            def dlpipe_losses():
                return [LossSpec("huber", "torch.nn:HuberLoss", "squares small errors only")]
        """

    @hookspec
    def dlpipe_callbacks(self) -> Iterable[CallbackSpec]:  # type: ignore[empty-body]
        """Offer callbacks that ``[callbacks.NAME] use = "<namespace>.<name>"`` can select.

        Called like `dlpipe_data`. Methods of the target that are named as in `Lifecycle` and decorated with
        ``@hookimpl`` are called during the run.

        Example::

            @hookimpl
            def dlpipe_callbacks():
                return [CallbackSpec("tensorboard", "dlpipe.training.tensorboard:TensorBoard", "Curves")]
        """

    @hookspec
    def dlpipe_commands(self) -> Iterable[CommandSpec]:  # type: ignore[empty-body]
        """Offer subcommands of ``dlpipe``.

        Called once when the program starts. The target is a ``click.Command``, imported only when the command runs.
        A command of dlpipe takes precedence over one of a plugin with the same name; a warning says so.

        Example::

            @hookimpl
            def dlpipe_commands():
                return [CommandSpec("check", "dlpipe.commands.check:check", "Check a pipeline file")]
        """

    @hookspec
    def dlpipe_rules(self) -> Iterable[RuleSpec]:  # type: ignore[empty-body]
        """Offer rules that ``dlpipe coach`` asks what is wrong with a training.

        Called like `dlpipe_data`. The target maps a `dlpipe.coach.Case` to the findings; it is imported by ``dlpipe
        coach`` and called for every stage, so it decides by the components of the stage whether it applies. A rule
        that raises an exception is named in the notes; the others are not affected.

        Example::

            @hookimpl
            def dlpipe_rules():
                return [RuleSpec("few-steps", "dlpipe.coach.rules:few_steps", "epochs of one or two steps")]
        """


@dataclass(frozen=True)
class RunView:
    """What a callback can read about its run, and how it can stop it.

    Args:
        name: of the pipeline.
        folder: of the run, or of the stage in a pipeline with several.
        seed: of the pipeline.
        resumed_step: the step from which this process started; 0 for a new run.
        request_stop: call it with a reason to end the run after the current step, with a checkpoint.
        stage: its name; empty in a pipeline without ``[stages]``.
        pipeline: the settings and the tables of the stage with all defaults, as ``resolved.toml`` has them.
    """

    name: str
    folder: Path
    seed: int
    resumed_step: int
    request_stop: Callable[[str], None]
    stage: str = ""
    pipeline: Mapping[str, Any] = field(default_factory=dict)

    @property
    def run_folder(self) -> Path:
        """The folder of the run, also where `folder` is that of a stage."""
        return self.folder.parent.parent if self.stage else self.folder


class Lifecycle:
    """Hooks of a callback. Called on the callbacks that the pipeline names, in the order of the file.

    There is no hook per step. Arguments are plain numbers and paths. A callback that raises an exception is reported
    once and disabled; the run continues.
    """

    @hookspec
    def dlpipe_run_start(self, run: RunView) -> None:
        """Act after everything is built and before training starts or resumes.

        Example::

            @hookimpl
            def dlpipe_run_start(self, run):
                self.folder = run.folder
        """

    @hookspec
    def dlpipe_step_logged(self, run: RunView, step: int, metrics: Mapping[str, float]) -> None:
        """Act on the training metrics of a log point, such as ``{"train/loss": 0.31}``.

        Example::

            @hookimpl
            def dlpipe_step_logged(self, step, metrics):
                self.losses.append((step, metrics["train/loss"]))
        """

    @hookspec
    def dlpipe_epoch_end(self, run: RunView, step: int, epoch: int) -> None:
        """Act after the last step of an epoch, counted from 1; not called for data without epochs.

        Example::

            @hookimpl
            def dlpipe_epoch_end(self, epoch):
                self.epochs = epoch
        """

    @hookspec
    def dlpipe_evaluated(self, run: RunView, step: int, split: str, metrics: Mapping[str, float]) -> None:
        """Act on the metrics of an evaluation, such as ``{"dev/slots/f1": 0.95}``.

        Example::

            @hookimpl
            def dlpipe_evaluated(self, run, split, metrics):
                if metrics.get("dev/slots/f1", 0) > 0.99:
                    run.request_stop("good enough")
        """

    @hookspec
    def dlpipe_checkpoint_saved(self, run: RunView, step: int, path: Path) -> None:
        """Act after a checkpoint is complete and has its final name.

        Example::

            @hookimpl
            def dlpipe_checkpoint_saved(self, path):
                self.last = path
        """

    @hookspec
    def dlpipe_run_failed(self, run: RunView, step: int, error: BaseException) -> None:
        """Act when the run ends with `error`; interruption and preemption are errors too.

        Example::

            @hookimpl
            def dlpipe_run_failed(self, step, error):
                self.failure = f"step {step}: {error}"
        """

    @hookspec
    def dlpipe_run_end(self, run: RunView, step: int) -> None:
        """Act at the very end of a run, however it ended.

        Example::

            @hookimpl
            def dlpipe_run_end(self):
                self.closed = True
        """
