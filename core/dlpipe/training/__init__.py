"""For trainers: optimizers and schedules by name, large states in blocks, and the supervised trainer to build on."""

from dlpipe.runs.checkpoint import StateBlock, require_plain
from dlpipe.training.optimizers import after_evaluation, after_step, build_optimizer, build_schedule, schedule_state
from dlpipe.training.supervised import Supervised

__all__ = [
    "StateBlock",
    "Supervised",
    "after_evaluation",
    "after_step",
    "build_optimizer",
    "build_schedule",
    "require_plain",
    "schedule_state",
]
