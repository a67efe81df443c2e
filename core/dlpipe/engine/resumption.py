"""The state in which a stage begins: that of a checkpoint, or of its seed; refusals to lose what a run has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlpipe.compute import derived_seed, seed_everything
from dlpipe.engine.amend import restarts_after
from dlpipe.engine.changes import record_accepted
from dlpipe.engine.restore import restore_trainer
from dlpipe.engine.stage_context import FIRST_CHECKPOINT, StageContext
from dlpipe.errors import CheckpointError, RunFolderError
from dlpipe.messages import relative
from dlpipe.protocols import Trainer
from dlpipe.runs.checkpoint import STATE
from dlpipe.runs.files import fits, read_json
from dlpipe.runs.folder import ENDED, PROVENANCE
from dlpipe.training.loop import Loop


def restore_stage(
    context: StageContext,
    checkpoint: Path | None,
    trainer: Trainer,
    loop: Loop,
    *,
    accept_changes: bool = False,
    from_start: bool = False,
) -> None:
    """Restore the state of a checkpoint, or begin from the seed.

    Args:
        accept_changes: continue although lines of the metrics are missing.
        from_start: if no checkpoint can be used, start at step 0 and discard the metrics.
    """
    seed, rank = context.settings.seed, context.ranks.rank
    seed_everything(derived_seed(seed, "rank", rank) if rank else seed)  # such as that of dropout
    if checkpoint is None:
        context.ranks.from_leader(lambda: _require_nothing_lost(context, from_start))
        context.log.truncate(0)  # written by a process that was killed before its first checkpoint
        return
    state = restore_trainer(trainer, checkpoint)
    with fits(checkpoint / STATE, "the loop", CheckpointError):
        context.ranks.from_leader(lambda: _check_metrics(context, state, accept_changes))
        size = context.ranks.from_leader(lambda: _size_when_tested(context, state))
        context.tested = size is not None
        changed = restarts_after(context.run.path, context.stage.name, state["step"])
        loop.restore(state | ({"log_size": size} if context.tested else {}), changed)
    context.checkpoints.continue_from(checkpoint)
    stage = f" stage {context.stage.name}" if context.stage.name else ""
    context.progress.message(f"resuming{stage} after step {loop.state.step}")


def _size_when_tested(context: StageContext, state: Mapping[str, Any]) -> int | None:
    """Return the size of the metrics with the evaluation after the training, None if that has to be repeated."""
    ended = read_json(context.run.path / PROVENANCE).get(ENDED, {}).get(context.stage.name, {})
    size: int = ended.get("tested", -1)
    whole = state["reason"] and ended.get("step") == state["step"] and size >= state["log_size"]
    return size if whole and not context.log.damage(size) else None


def _require_nothing_lost(context: StageContext, from_start: bool) -> None:
    """Refuse to start at step 0 if the run had checkpoints, unless the user asks for it."""
    first = read_json(context.run.path / PROVENANCE).get(FIRST_CHECKPOINT)
    saved = isinstance(first, dict) and context.stage.name in first
    steps = context.checkpoints.steps()
    if not from_start and (steps or saved):
        folder = relative(context.checkpoints.folder)
        found = f"damaged: step {', '.join(map(str, steps))}" if steps else "all are gone"
        raise RunFolderError(
            f"{folder}: the run has saved checkpoints, but none can be used ({found}). Restore one, start a new "
            "run, or start this one at step 0 and discard its metrics: "
            f"{context.run.command('resume')} --from-start"
        )


def _check_metrics(context: StageContext, state: Mapping[str, Any], accept_changes: bool) -> None:
    """Refuse to lose lines of the metrics silently, or to append to half a line."""
    log = context.log
    if damage := log.damage(state["log_size"]):
        message = f"{relative(log.path)}: {damage} when the checkpoint of step {state['step']} was saved"
        if not accept_changes:
            raise RunFolderError(
                f"{message}; restore the file, start a new run, or continue without the missing lines: --accept-changes"
            )
        context.progress.warning(f"accepted: {message}; lines are missing")
        record_accepted(context.run, [message])
        log.repair(state["log_size"])
