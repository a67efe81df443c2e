"""The hooks: what a plugin can component, and what a callback can watch.

Hooks return records or nothing at all; none takes a ``register`` function, so whoever asks knows
who answered. Two specifications are kept apart: `Offers` is asked of every installed plugin, once,
before any file is read; `Lifecycle` is called on the callbacks that one pipeline names, and on
nothing else, so that installing a package never changes a run that does not mention it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pluggy

from dlpipe.registry.specs import CallbackSpec, CommandSpec, DataSpec, EvaluatorSpec, ModelSpec, TrainerSpec

#: The interface that this dlpipe offers to plugins: (major, minor).
API = (1, 0)

hookspec = pluggy.HookspecMarker("dlpipe")
hookimpl = pluggy.HookimplMarker("dlpipe")


class ComponentHooks:
    """Hooks of a plugin module. Asked once per process; must import neither torch nor numpy."""

    @hookspec
    def dlpipe_data(self) -> Iterable[DataSpec]:  # type: ignore[empty-body]
        """Offer data that ``[data] use = "<namespace>.<name>"`` can ask for.

        Called once, before any file is read. Return records; the signature of a record's target is
        the schema of the other keys of ``[data]``. All answers are kept. ``None`` is an error, as is
        a name offered twice. An exception makes this plugin broken and leaves the others alone.

        Example::

            @hookimpl
            def dlpipe_data():
                return [DataSpec("flights", "dlpipe_text.flights:flights", "Sentences", facts=("labels",))]
        """

    @hookspec
    def dlpipe_models(self) -> Iterable[ModelSpec]:  # type: ignore[empty-body]
        """Offer models that ``[model] use = "<namespace>.<name>"`` can ask for.

        Called and answered like `dlpipe_data`. Required parameters of the target that the file does
        not give are filled from the data's facts by name.

        Example::

            @hookimpl
            def dlpipe_models():
                return [ModelSpec("rnn_tagger", "dlpipe_text.rnn_tagger:RNNTagger", "RNN tagger")]
        """

    @hookspec
    def dlpipe_trainers(self) -> Iterable[TrainerSpec]:  # type: ignore[empty-body]
        """Offer trainers that ``[trainer] use = "<namespace>.<name>"`` can ask for.

        Called and answered like `dlpipe_data`. The target may ask for ``model``, ``data``,
        ``compute`` and ``seed`` by naming a parameter so; see `dlpipe.protocols.Trainer`.

        Example::

            @hookimpl
            def dlpipe_trainers():
                return [TrainerSpec("supervised", "dlpipe.training.supervised:Supervised", "Batch in, loss out")]
        """

    @hookspec
    def dlpipe_evaluators(self) -> Iterable[EvaluatorSpec]:  # type: ignore[empty-body]
        """Offer evaluators that ``[evaluators.NAME] use = "<namespace>.<name>"`` can ask for.

        Called and answered like `dlpipe_models`, facts included.

        Example::

            @hookimpl
            def dlpipe_evaluators():
                return [EvaluatorSpec("slot_f1", "dlpipe_text.slot_f1:SlotF1", "F1 of slots")]
        """

    @hookspec
    def dlpipe_callbacks(self) -> Iterable[CallbackSpec]:  # type: ignore[empty-body]
        """Offer callbacks that ``[callbacks.NAME] use = "<namespace>.<name>"`` can ask for.

        Called and answered like `dlpipe_data`. The target's methods named as in `Lifecycle` and
        marked with ``@hookimpl`` are called during the run.

        Example::

            @hookimpl
            def dlpipe_callbacks():
                return [CallbackSpec("tensorboard", "dlpipe.training.tensorboard:TensorBoard", "Curves")]
        """

    @hookspec
    def dlpipe_commands(self) -> Iterable[CommandSpec]:  # type: ignore[empty-body]
        """Offer subcommands of ``dlpipe``.

        Called once when the program starts. The target is a ``click.Command`` and is imported only
        when that command runs; a name of dlpipe's own wins over a plugin's, which is then reported.

        Example::

            @hookimpl
            def dlpipe_commands():
                return [CommandSpec("check", "dlpipe.commands.check:check", "Check a pipeline file")]
        """


@dataclass(frozen=True)
class RunView:
    """What a callback may know of its run, and the one thing it may ask for.

    Args:
        name: of the pipeline.
        folder: of the run (or of the stage, in a pipeline with several).
        seed: of the pipeline.
        resumed_step: the step this process started from, 0 for a fresh run.
        request_stop: call it with a reason to end the run after the current step, with a checkpoint.
    """

    name: str
    folder: Path
    seed: int
    resumed_step: int
    request_stop: Callable[[str], None]


class Lifecycle:
    """Hooks of a callback. Called on the callbacks that the pipeline names, in the order of the file.

    There is no hook per step. Arguments are plain numbers and paths. A callback that raises is named
    once and off for the rest of the run; the run goes on.
    """

    @hookspec
    def dlpipe_run_start(self, run: RunView) -> None:
        """Act when everything is built and nothing has been trained (again, after a resume).

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
        """Act after the last step of an epoch (counted from 1); never called where there are none.

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
        """Act after a checkpoint is complete and renamed into place.

        Example::

            @hookimpl
            def dlpipe_checkpoint_saved(self, path):
                self.last = path
        """

    @hookspec
    def dlpipe_run_failed(self, run: RunView, step: int, error: BaseException) -> None:
        """Act when the run ends because of `error`, interruption and preemption included.

        Example::

            @hookimpl
            def dlpipe_run_failed(self, step, error):
                self.failure = f"step {step}: {error}"
        """

    @hookspec
    def dlpipe_run_end(self, run: RunView, step: int) -> None:
        """Act last, always, whatever happened.

        Example::

            @hookimpl
            def dlpipe_run_end(self):
                self.closed = True
        """
