"""A sweep that compares the unchanged pipeline with each remedy of a diagnosis."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dlpipe.coach.diagnosis import UNCHANGED, Diagnosis, in_stage
from dlpipe.config.source import dotted
from dlpipe.config.toml_text import inline
from dlpipe.messages import shell_path
from dlpipe.runs.folder import RESOLVED

#: The axis of the sweep.
AXIS = "remedy"


def sweep_text(found: Diagnosis, path: Path) -> str:
    """Return a pipeline file with a ``[sweep]`` that tries each remedy.

    Args:
        path: of the file, from which its base is found.
    """
    base = os.path.relpath(found.run / RESOLVED, path.resolve().parent)
    choices: list[tuple[str, dict[str, Any]]] = [(UNCHANGED, {})]
    choices += [(remedy.name, in_stage(found.stage, remedy.values)) for remedy in found.remedies]
    lines = [
        f"# What `dlpipe coach {shell_path(found.run)}` advises, each change by itself:",
        f"# dlpipe sweep {shell_path(path)} --seeds 3",
        f"extends = {inline(base)}",
        "",
        f"[sweep.{AXIS}]",
        *(f"{dotted((name,))} = {inline(values)}" for name, values in choices),
    ]
    return "\n".join(lines) + "\n"
