"""What the core itself offers, through the same door as any plugin. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable

from dlpipe.registry.hooks import hookimpl
from dlpipe.registry.specs import CallbackSpec, CommandSpec, EvaluatorSpec, TrainerSpec

DLPIPE_API = (1, 0)


@hookimpl
def dlpipe_trainers() -> Iterable[TrainerSpec]:
    """Offer the trainers that know no domain."""
    return [
        TrainerSpec(
            "supervised", "dlpipe.training.supervised:Supervised", "batch in, loss out: minimises a loss by gradients"
        )
    ]


@hookimpl
def dlpipe_evaluators() -> Iterable[EvaluatorSpec]:
    """Offer the evaluators that know no domain."""
    return [
        EvaluatorSpec("loss", "dlpipe.evaluation.loss:Loss", "mean loss over everything that has a target"),
        EvaluatorSpec(
            "classification",
            "dlpipe.evaluation.classification:Classification",
            "accuracy, F1 and calibration of a classifier, and which class it takes for which",
            requires=("matplotlib",),
            extra="dlpipe[report]",
        ),
    ]


@hookimpl
def dlpipe_callbacks() -> Iterable[CallbackSpec]:
    """Offer the callbacks that know no domain."""
    return [
        CallbackSpec(
            "tensorboard",
            "dlpipe.training.tensorboard:TensorBoard",
            "writes all metrics as TensorBoard events",
            requires=("tensorboard",),
            extra="dlpipe[track]",
        )
    ]


@hookimpl
def dlpipe_commands() -> Iterable[CommandSpec]:
    """Offer dlpipe's own commands."""
    return [
        CommandSpec("run", "dlpipe.commands.run:run", "Run a pipeline file in a new run folder"),
        CommandSpec("resume", "dlpipe.commands.resume:resume", "Go on with a run from its last checkpoint"),
        CommandSpec("sweep", "dlpipe.commands.sweep:sweep", "Run all trials of a pipeline file's [sweep]"),
        CommandSpec("check", "dlpipe.commands.check:check", "Name every mistake of a pipeline file"),
        CommandSpec("list", "dlpipe.commands.list:list_", "List the components that are installed"),
        CommandSpec("show", "dlpipe.commands.show:show", "Show a pipeline with all defaults, or a component"),
        CommandSpec("plugins", "dlpipe.commands.plugins:plugins", "List the plugins and what became of them"),
        CommandSpec("evaluate", "dlpipe.commands.evaluate:evaluate", "Judge a trained run on a split of its data"),
        CommandSpec("predict", "dlpipe.commands.predict:predict", "Apply a trained run to what you give it"),
        CommandSpec("schema", "dlpipe.commands.schema:schema", "Print a JSON Schema of the pipeline file for editors"),
    ]
