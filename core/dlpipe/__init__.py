"""dlpipe: one TOML file says what to learn from, what learns, how it learns and how it is judged.

These are the names a ``plugin.py`` needs. Importing them imports neither torch nor numpy.
"""

from dlpipe.errors import DataError, DlpipeError, InputError
from dlpipe.registry.hooks import hookimpl
from dlpipe.registry.specs import (
    CallbackSpec,
    CommandSpec,
    ComponentSpec,
    DataSpec,
    EvaluatorSpec,
    ModelSpec,
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
    "ModelSpec",
    "TrainerSpec",
    "hookimpl",
]
