"""dlpipe: train and evaluate deep-learning models from one TOML file.

These are the names that a ``plugin.py`` needs; importing them imports neither torch nor numpy. They and the other
public modules (`dlpipe.data`, `dlpipe.training` …) are imported when they are first used, so that the program can
handle signals a moment after it was started.
"""

import importlib

TYPE_CHECKING = False  # without importing typing
if TYPE_CHECKING:
    from typing import Any

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
    "InputError",
    "LossSpec",
    "ModelSpec",
    "OptimizerSpec",
    "RunView",
    "ScheduleSpec",
    "TrainerSpec",
    "hookimpl",
]
_PUBLIC_MODULES = {
    "compute",
    "data",
    "errors",
    "evaluation",
    "fields",
    "figures",
    "messages",
    "protocols",
    "report_items",
    "testing",
    "training",
}


_MODULES_OF_NAMES = {
    **dict.fromkeys(("DataError", "DlpipeError", "InputError"), "dlpipe.errors"),
    **dict.fromkeys(("RunView", "hookimpl"), "dlpipe.registry.hooks"),
}


def __getattr__(name: str) -> "Any":
    if name in _PUBLIC_MODULES:
        return importlib.import_module(f"dlpipe.{name}")
    if name in __all__:
        return getattr(importlib.import_module(_MODULES_OF_NAMES.get(name, "dlpipe.registry.specs")), name)
    raise AttributeError(f"module 'dlpipe' has no attribute {name!r}")
