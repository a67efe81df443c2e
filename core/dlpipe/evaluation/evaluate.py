"""Calling evaluators: on one split, and to write what they have to show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from dlpipe.config.pipeline import table_name
from dlpipe.errors import errors_in, with_place
from dlpipe.evaluation.examples import Examples
from dlpipe.messages import relative
from dlpipe.protocols import Evaluator


def evaluate(
    model: nn.Module, evaluators: Mapping[str, Evaluator], examples: Examples, *, stage: str = ""
) -> dict[str, float]:
    """Return the metrics of all evaluators, named ``<split>/<evaluator>/<metric>``.

    Args:
        stage: the name of their stage, for error messages.

    Raises:
        InputError: an evaluator cannot judge this model on this data; the message names its table.
    """
    metrics: dict[str, float] = {}
    examples.forget()
    for name, evaluator in evaluators.items():
        with errors_in(table_name(stage, "evaluators", name)):
            found = evaluator.evaluate(model, examples)
            metrics |= {f"{examples.split}/{name}/{metric}": float(value) for metric, value in found.items()}
    examples.forget()
    return metrics


@contextmanager
def writing(folder: Path, table: str, warn: Callable[[str], None]) -> Iterator[Path]:
    """Create a folder for an evaluator to write into; remove it if nothing was written.

    Whatever fails is a warning: figures that are missing take nothing from the metrics.

    Args:
        table: of the evaluator.
        warn: called with the warning.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        if not any(folder.iterdir()):
            folder.rmdir()
    except Exception as error:
        place = relative(folder)
        warn(f"{table} {with_place(error)}. Files in {place} are missing; metrics and checkpoints are not affected")
