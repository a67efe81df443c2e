"""For trainers: optimizers, schedules, averages of weights and of gradients, large states, the supervised trainer."""

from dlpipe.config.settings import Budget
from dlpipe.runs.checkpoint import StateBlock, require_plain
from dlpipe.training.averaging import WeightAverage
from dlpipe.training.gradients import GradientAverage
from dlpipe.training.last_batch import require_last_batch
from dlpipe.training.one_step import OneStep
from dlpipe.training.optimizers import build_optimizer, load_optimizer
from dlpipe.training.schedule import LearningRateSchedule
from dlpipe.training.supervised import Supervised

__all__ = [
    "Budget",
    "GradientAverage",
    "LearningRateSchedule",
    "OneStep",
    "StateBlock",
    "Supervised",
    "WeightAverage",
    "build_optimizer",
    "load_optimizer",
    "require_last_batch",
    "require_plain",
]
