"""How much each axis of a sweep matters for an objective."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.util import find_spec

import optuna
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial

from dlpipe.sweep.axes import Range
from dlpipe.sweep.planned import Sweep
from dlpipe.sweep.study import distributions
from dlpipe.sweep.table import Metric, Row

#: With fewer trials than this, a share says nothing.
FEWEST = 4


def importances(sweep: Sweep, rows: Sequence[Row], metric: Metric) -> tuple[dict[str, dict[str, float]], str]:
    """Return the share of each axis in the variance of each objective, and how it was computed.

    Computed with fANOVA (Hutter et al. 2014, "An Efficient Approach for Assessing Hyperparameter Importance") where
    scikit-learn is installed, otherwise with PED-ANOVA (Watanabe et al. 2023).

    Returns:
        shares by objective and axis; empty if there are too few trials or axes.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    fanova = find_spec("sklearn") is not None
    known = distributions(sweep.axes)
    found: dict[str, dict[str, float]] = {}
    for objective in metric.objectives:
        values = [(row, mean) for row in rows if (mean := row.mean(objective.name)) is not None]
        if len(known) < 2 or len(values) < FEWEST or len({mean for _, mean in values}) < 2:
            continue
        study = optuna.create_study(direction="maximize" if objective.goal == "max" else "minimize")
        for row, mean in values:
            drawn = {
                key: row.trial.values[axis.path] if isinstance(axis, Range) else row.trial.choices[key]
                for key, axis in sweep.axes.items()
            }
            study.add_trial(create_trial(params=drawn, distributions=known, value=mean))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            evaluator = FanovaImportanceEvaluator(seed=0) if fanova else PedAnovaImportanceEvaluator()
            found[objective.name] = get_param_importances(study, evaluator=evaluator)
    return found, "fANOVA" if fanova else "PED-ANOVA; fANOVA needs scikit-learn"
