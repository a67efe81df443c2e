"""Calling evaluators: on one split, and to write what they have to show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dlpipe.config.pipeline import table_name
from dlpipe.errors import PluginError, errors_in, with_place
from dlpipe.evaluation.examples import Examples
from dlpipe.messages import relative, shown
from dlpipe.progress import activity, stopped_by
from dlpipe.protocols import Evaluator
from dlpipe.report_items import ReportItem, record_items


def evaluate(
    model: nn.Module, evaluators: Mapping[str, Evaluator], examples: Examples, *, stage: str = ""
) -> dict[str, float]:
    """Return the metrics of all evaluators, named ``<split>/<evaluator>/<metric>``.

    Args:
        stage: the name of their stage, for error messages.

    Each evaluator gets the model in evaluation mode; afterwards it is in the mode in which it was.

    Raises:
        InputError: an evaluator cannot judge this model on this data; the message names its table.
        PluginError: it does not return numbers by name.
    """
    metrics: dict[str, float] = {}
    modes = {module: module.training for module in model.modules()}
    examples.forget()
    for name, evaluator in evaluators.items():
        table = table_name(stage, "evaluators", name)
        model.eval()
        examples.check_stop()
        what = f"evaluating on {examples.split}: {name}"
        with activity(what), stopped_by(examples.check_stop), errors_in(table):
            found = evaluator.evaluate(model, examples)
        if not isinstance(found, Mapping):
            raise PluginError(f"{table} evaluate() returns {type(found).__name__}; expected a dict of numbers by name")
        for metric, value in found.items():
            metrics[f"{examples.split}/{name}/{metric}"] = _number(f"{table} evaluate() gives {shown(metric)}", value)
    examples.forget()
    for module, training in modes.items():
        module.training = training
    return metrics


def _number(what: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        found = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise PluginError(f"{what} as {found}; expected a number") from None


def write_files(
    write: Callable[[Path], Sequence[ReportItem] | None], folder: Path, table: str, warn: Callable[[str], None]
) -> None:
    """Create a folder for an evaluator or a trainer to write into; remove it if nothing was written.

    Whatever fails is a warning: figures that are missing take nothing from the metrics.

    Args:
        write: returns how the report presents the files.
        table: of the component.
        warn: called with the warning.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if items := write(folder):
            record_items(folder, items)
        if not any(folder.iterdir()):
            folder.rmdir()
    except Exception as error:
        place = relative(folder)
        warn(f"{table} {with_place(error)}. Files in {place} are missing; metrics and checkpoints are not affected")
