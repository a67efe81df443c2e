"""Where a NaN of a stage came from: a second trainer repeats the steps since the last checkpoint."""

from __future__ import annotations

from dataclasses import replace

from dlpipe.compute import restore_randomness, seed_everything
from dlpipe.engine.build import build_for_training
from dlpipe.engine.restore import restore_trainer
from dlpipe.engine.stage_context import StageContext
from dlpipe.errors import in_words
from dlpipe.training.loop_state import randomness_of
from dlpipe.training.nan_search import first_non_finite


def where_nan_arose(context: StageContext, step: int) -> str:
    """Return a sentence about the first NaN; a search that fails must not hide that there is one."""
    try:
        return _find_nan(context, step)
    except Exception as error:
        return f"The search for the first one failed: {in_words(error)}."


def _find_nan(context: StageContext, step: int) -> str:
    """Repeat the steps up to `step` from the last checkpoint before it, and say where the first NaN appears."""
    # Not compiled, since the modules inside a compiled one are not called.
    settings = replace(context.settings, compile=False)
    checkpoint = context.ranks.from_leader(lambda: context.checkpoints.latest(before=step))
    with build_for_training(
        settings, context.stage, context.find_model, starts=checkpoint is None, data=context.data
    ) as components:
        trainer = components.trainer
        seed_everything(context.settings.seed)
        start = 0
        if checkpoint:
            state = restore_trainer(trainer, checkpoint)
            restore_randomness(randomness_of(context.ranks, state))
            start = state["step"]
        return first_non_finite(trainer, components.live_model, start, step)
