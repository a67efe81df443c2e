"""What the plugin `series` provides. Imports no torch."""

from collections.abc import Iterable

from dlpipe import CallbackSpec, DataSpec, EvaluatorSpec, ModelSpec, hookimpl

DLPIPE_API = (1, 0)
FACTS = ("context_length", "horizon", "season", "naive_error")


@hookimpl
def dlpipe_data() -> Iterable[DataSpec]:
    return [
        DataSpec("seasonal", "dlpipe_example.seasonal:seasonal", "generated: trend, seasons and noise", facts=FACTS),
        DataSpec("csv", "dlpipe_example.csv_column:csv_column", "a column of a CSV file", facts=FACTS),
    ]


@hookimpl
def dlpipe_models() -> Iterable[ModelSpec]:
    return [ModelSpec("mlp", "dlpipe_example.mlp:MLP", "forecasts all steps of the horizon at once")]


@hookimpl
def dlpipe_evaluators() -> Iterable[EvaluatorSpec]:
    return [
        EvaluatorSpec(
            "forecast",
            "dlpipe_example.forecast_error:ForecastError",
            "MAE and MASE, compared with the seasonal naive forecast",
            requires=("matplotlib",),
            extra="dlpipe-example[figures]",
        )
    ]


@hookimpl
def dlpipe_callbacks() -> Iterable[CallbackSpec]:
    return [
        CallbackSpec(
            "mlflow",
            "dlpipe_example.mlflow_runs:MLflow",
            "metrics of a run in MLflow",
            requires=("mlflow-skinny",),
            extra="dlpipe-example[mlflow]",
        )
    ]
