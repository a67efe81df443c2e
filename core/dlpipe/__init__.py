"""dlpipe: train and evaluate deep-learning models from one TOML file.

`load`, `Run`, `compare` and others do what the commands do (docs/python.md); `hookimpl` and the records are what a
``plugin.py`` needs (docs/plugins.md). Importing these names imports neither torch nor numpy. They and the other public
modules (`dlpipe.data`, `dlpipe.training` …) are imported when they are first used, so that the program can handle
signals a moment after it was started.
"""

import importlib

TYPE_CHECKING = False  # without importing typing
if TYPE_CHECKING:
    from typing import Any

    from dlpipe.api.experiment import Experiment, load
    from dlpipe.api.overview import (
        RunComparison,
        clean_runs,
        compare,
        describe,
        list_components,
        list_pipelines,
        list_runs,
        pipeline_schema,
    )
    from dlpipe.api.pictures import Gallery, ReportFile
    from dlpipe.api.run import Run
    from dlpipe.api.sweep_result import SweepResult
    from dlpipe.api.table import Table
    from dlpipe.errors import DataError, DlpipeError, InputError
    from dlpipe.registry.hooks import RunView, hookimpl
    from dlpipe.registry.specs import (
        CallbackSpec,
        CommandSpec,
        ComponentSpec,
        DataSpec,
        EvaluatorSpec,
        LossSpec,
        ModelSpec,
        OptimizerSpec,
        RuleSpec,
        ScheduleSpec,
        TrainerSpec,
    )

__all__ = [
    "CallbackSpec",
    "CommandSpec",
    "ComponentSpec",
    "DataError",
    "DataSpec",
    "DlpipeError",
    "EvaluatorSpec",
    "Experiment",
    "Gallery",
    "InputError",
    "LossSpec",
    "ModelSpec",
    "OptimizerSpec",
    "ReportFile",
    "RuleSpec",
    "Run",
    "RunComparison",
    "RunView",
    "ScheduleSpec",
    "SweepResult",
    "Table",
    "TrainerSpec",
    "clean_runs",
    "compare",
    "describe",
    "hookimpl",
    "list_components",
    "list_pipelines",
    "list_runs",
    "load",
    "pipeline_schema",
]
_PUBLIC_MODULES = {
    "coach",
    "compute",
    "data",
    "errors",
    "evaluation",
    "fields",
    "figures",
    "json_text",
    "layers",
    "local_plugins",
    "messages",
    "progress",
    "protocols",
    "recurrent",
    "report_items",
    "testing",
    "training",
}


_MODULES_OF_NAMES = {
    **dict.fromkeys(("DataError", "DlpipeError", "InputError"), "dlpipe.errors"),
    **dict.fromkeys(("Experiment", "load"), "dlpipe.api.experiment"),
    **dict.fromkeys(("RunComparison", "compare", "clean_runs", "describe"), "dlpipe.api.overview"),
    **dict.fromkeys(("list_components", "list_pipelines", "list_runs", "pipeline_schema"), "dlpipe.api.overview"),
    **dict.fromkeys(("Gallery", "ReportFile"), "dlpipe.api.pictures"),
    "Run": "dlpipe.api.run",
    "SweepResult": "dlpipe.api.sweep_result",
    "Table": "dlpipe.api.table",
    **dict.fromkeys(("RunView", "hookimpl"), "dlpipe.registry.hooks"),
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PUBLIC_MODULES})


def __getattr__(name: str) -> "Any":
    if name in _PUBLIC_MODULES:
        return importlib.import_module(f"dlpipe.{name}")
    if name in __all__:
        return getattr(importlib.import_module(_MODULES_OF_NAMES.get(name, "dlpipe.registry.specs")), name)
    raise AttributeError(f"module 'dlpipe' has no attribute {name!r}")
