"""What the caller of a run chooses, besides what the pipeline says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dlpipe.engine.build import TrainingComponents

#: Called with the name of a stage and its components when it has been trained, before they are closed: for tests that
#: look at what a trainer keeps.
Observe = Callable[[str, TrainingComponents], None]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What the caller of a run chooses.

    Args:
        fast: only a few steps of everything.
        reuse: do not run a stage again whose inputs are those of an earlier run.
        rehearsal: try everything in small before the first step of a stage; see `dlpipe.engine.rehearsal`.
        explain: say for each stage why it is run.
        accept_changes: continue although something has changed since the run began, or lines of the metrics are
            missing.
        from_start: if no checkpoint can be used, start at step 0 and discard the metrics.
        profile: record some steps; see `dlpipe.engine.profiling`.
        callbacks: in addition to those that the pipeline names.
        observe: see `Observe`.
        quiet: show only warnings, errors and the result.
    """

    fast: bool = False
    reuse: bool = False
    rehearsal: bool = False
    explain: bool = False
    accept_changes: bool = False
    from_start: bool = False
    profile: bool = False
    callbacks: Mapping[str, object] = field(default_factory=dict)
    observe: Observe | None = None
    quiet: bool = False
