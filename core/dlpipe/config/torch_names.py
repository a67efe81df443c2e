"""The optimizers and schedules of torch by the names that pipeline files use.

A table, so that a file can be checked without importing torch; a test compares it with the torch
that is installed.
"""

from __future__ import annotations

#: The most common ones first: of two names equally near to a misspelt one, the first is suggested.
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
#: torch's schedules that need no code; those made of other schedules are left out.
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
CHOICES = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}
#: Parameters that the trainer gives, and those it can fill in when the file does not.
GIVEN = {"params", "optimizer", "last_epoch"}
TOTAL_STEPS = {"total_steps", "T_max", "total_iters"}
