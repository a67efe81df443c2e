"""dlpipe: one TOML file says what to learn from, what learns, how it learns and how it is judged.

These are the names a ``plugin.py`` needs. Importing them imports neither torch nor numpy.
"""

from dlpipe.components import Callback, Command, Component, Data, Evaluator, Model, Trainer
from dlpipe.errors import DataError, DlpipeError, InputError
from dlpipe.hooks import hookimpl

__all__ = [
    "Callback",
    "Command",
    "Component",
    "Data",
    "DataError",
    "DlpipeError",
    "Evaluator",
    "InputError",
    "Model",
    "Trainer",
    "hookimpl",
]
