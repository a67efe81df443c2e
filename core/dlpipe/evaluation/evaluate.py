"""All evaluators on one split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlpipe.evaluation.examples import Examples
from dlpipe.protocols import Evaluator


def evaluate(trainer_or_model: Any, evaluators: Mapping[str, Evaluator], examples: Examples) -> dict[str, float]:
    """Return the metrics of all evaluators, named ``<split>/<evaluator>/<metric>``."""
    model = getattr(trainer_or_model, "model", trainer_or_model)
    examples.forget()
    metrics = {
        f"{examples.split}/{name}/{metric}": float(value)
        for name, evaluator in evaluators.items()
        for metric, value in evaluator.evaluate(model, examples).items()
    }
    examples.forget()
    return metrics
