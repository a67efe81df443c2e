"""The optimizers and schedules of torch, and the losses of dlpipe, by the names that pipeline files use.

The names stand here so that a file can be checked without importing torch; a test compares them with the
installed torch.
"""

from __future__ import annotations

#: The most common first: of two names equally near to a misspelled one, the first is suggested. The rest by alphabet.
OPTIMIZERS = {
    "adam": "torch.optim:Adam",
    "adamw": "torch.optim:AdamW",
    "sgd": "torch.optim:SGD",
    "rmsprop": "torch.optim:RMSprop",
    "adadelta": "torch.optim:Adadelta",
    "adafactor": "torch.optim:Adafactor",
    "adagrad": "torch.optim:Adagrad",
    "adamax": "torch.optim:Adamax",
    "asgd": "torch.optim:ASGD",
    "lbfgs": "torch.optim:LBFGS",
    "muon": "torch.optim:Muon",
    "nadam": "torch.optim:NAdam",
    "radam": "torch.optim:RAdam",
    "rprop": "torch.optim:Rprop",
    "sparse_adam": "torch.optim:SparseAdam",
}
#: The schedules of torch that a TOML table can describe: none that takes functions or other schedules.
SCHEDULES = {
    "constant": "torch.optim.lr_scheduler:ConstantLR",
    "cosine_annealing": "torch.optim.lr_scheduler:CosineAnnealingLR",
    "cosine_annealing_warm_restarts": "torch.optim.lr_scheduler:CosineAnnealingWarmRestarts",
    "cyclic": "torch.optim.lr_scheduler:CyclicLR",
    "exponential": "torch.optim.lr_scheduler:ExponentialLR",
    "linear": "torch.optim.lr_scheduler:LinearLR",
    "multi_step": "torch.optim.lr_scheduler:MultiStepLR",
    "one_cycle": "torch.optim.lr_scheduler:OneCycleLR",
    "polynomial": "torch.optim.lr_scheduler:PolynomialLR",
    "reduce_on_plateau": "torch.optim.lr_scheduler:ReduceLROnPlateau",
    "step": "torch.optim.lr_scheduler:StepLR",
}
#: The losses of dlpipe itself; those without a target take no options, so a file gives their name alone.
LOSSES = dict.fromkeys(("auto", "cross_entropy", "mse", "l1", "huber", "binary_cross_entropy"), "") | {
    "huber": "dlpipe.training.losses:Huber"
}
CHOICES = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "loss": LOSSES}
#: Parameters that the trainer sets itself, and why a pipeline file cannot: for all optimizers or schedules, ...
_PROVIDED = {
    "optimizer": {"params": "the optimizer updates the parameters of the model; remove it"},
    "schedule": {
        "optimizer": "the schedule is that of the trainer's own optimizer; remove it",
        "last_epoch": "a run always starts a schedule at its beginning and resumes it where it stopped; remove it",
    },
    "loss": {},
}
#: ... and for one of them.
_PROVIDED_TO = {
    "reduce_on_plateau": {
        "mode": "the direction follows from the monitored metric; remove it, and set `goal` in [trainer] if the metric "
        "needs the other direction"
    }
}
#: Numbers of steps that the trainer sets if the file does not.
TOTAL_STEPS = {"total_steps", "T_max", "total_iters"}


def provided_by_trainer(choice: str, name: str) -> dict[str, str]:
    """Return the parameters of an optimizer or schedule that a pipeline file cannot set, and why.

    Args:
        choice: ``"optimizer"``, ``"schedule"`` or ``"loss"``.
        name: such as ``"reduce_on_plateau"``.
    """
    return {**_PROVIDED[choice], **_PROVIDED_TO.get(name, {})}
