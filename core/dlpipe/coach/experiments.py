"""A sweep that compares the unchanged pipeline with each remedy of a diagnosis."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dlpipe.coach.diagnosis import UNCHANGED, Diagnosis, in_stage
from dlpipe.config.source import dotted
from dlpipe.config.toml_text import inline
from dlpipe.messages import shell_path
from dlpipe.runs.folder import RESOLVED, RunFolder

#: The axis of the sweep.
AXIS = "remedy"


def sweep_command(found: Diagnosis, path: Path) -> str:
    """Return the command line that runs the sweep of `sweep_text`."""
    return f"dlpipe sweep {shell_path(path)}{RunFolder(found.run).permission} --seeds 3"


def sweep_text(found: Diagnosis, path: Path) -> str:
    """Return a pipeline file with a ``[sweep]`` that tries each remedy.

    Args:
        path: of the file, from which its base is found.
    """
    base = os.path.relpath(found.run / RESOLVED, path.resolve().parent)
    choices: list[tuple[str, dict[str, Any]]] = [(UNCHANGED, {})]
    choices += [(remedy.name, in_stage(found.stage, remedy.values)) for remedy in found.remedies]
    lines = [
        f"# What `{found.command}` advises, each change by itself:",
        f"# {sweep_command(found, path)}",
        f"extends = {inline(base)}",
        "",
        f"[sweep.{AXIS}]",
        *(f"{dotted((name,))} = {inline(values)}" for name, values in choices),
    ]
    return "\n".join(lines) + "\n"
