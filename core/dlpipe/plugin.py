"""What the core itself offers, through the same door as any plugin. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable

from dlpipe.components import Callback, Command, Evaluator, Trainer
from dlpipe.hooks import hookimpl

DLPIPE_API = (1, 0)


@hookimpl
def dlpipe_trainers() -> Iterable[Trainer]:
    """Offer the trainers that know no domain."""
    return [Trainer("supervised", "dlpipe.supervised:Supervised", "batch in, loss out: minimises a loss by gradients")]


@hookimpl
def dlpipe_evaluators() -> Iterable[Evaluator]:
    """Offer the evaluators that know no domain."""
    return [
        Evaluator("loss", "dlpipe.loss_evaluator:Loss", "mean loss over everything that has a target"),
        Evaluator(
            "classification",
            "dlpipe.classification:Classification",
            "accuracy, F1 and calibration of a classifier, and which class it takes for which",
            requires=("matplotlib",),
            extra="dlpipe[report]",
        ),
    ]


@hookimpl
def dlpipe_callbacks() -> Iterable[Callback]:
    """Offer the callbacks that know no domain."""
    return [
        Callback(
            "tensorboard",
            "dlpipe.tensorboard:TensorBoard",
            "writes all metrics as TensorBoard events",
            requires=("tensorboard",),
            extra="dlpipe[track]",
        )
    ]


@hookimpl
def dlpipe_commands() -> Iterable[Command]:
    """Offer dlpipe's own commands."""
    return [
        Command("run", "dlpipe.commands.run:run", "Run a pipeline file in a new run folder"),
        Command("resume", "dlpipe.commands.resume:resume", "Go on with a run from its last checkpoint"),
        Command("check", "dlpipe.commands.check:check", "Name every mistake of a pipeline file"),
        Command("list", "dlpipe.commands.list:list_", "List the components that are installed"),
        Command("show", "dlpipe.commands.show:show", "Show a pipeline with all defaults, or a component"),
        Command("plugins", "dlpipe.commands.plugins:plugins", "List the plugins and what became of them"),
        Command("evaluate", "dlpipe.commands.evaluate:evaluate", "Judge a trained run on a split of its data"),
        Command("predict", "dlpipe.commands.predict:predict", "Apply a trained run to what you give it"),
        Command("schema", "dlpipe.commands.schema:schema", "Print a JSON Schema of the pipeline file for editors"),
    ]
