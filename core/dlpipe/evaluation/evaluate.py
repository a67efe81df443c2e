"""All evaluators on one split."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from dlpipe.config.pipeline import table_name
from dlpipe.errors import errors_in
from dlpipe.evaluation.examples import Examples
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
