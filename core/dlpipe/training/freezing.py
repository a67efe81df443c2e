"""Parts of a model that are not trained: the option ``freeze``."""

from __future__ import annotations

from collections.abc import Sequence
from types import MethodType

from torch import nn

from dlpipe.errors import InputError
from dlpipe.messages import shown
from dlpipe.training.named_parts import in_part, require_part


def freeze_parts(model: nn.Module, parts: Sequence[str]) -> None:
    """Let parts of a model keep their weights: they get no gradient, hence no weight decay and no optimizer state.

    Frozen layers stay in evaluation mode: dropout is off, and batch normalization neither uses the statistics of the
    batch nor moves its running ones. Recurrent layers lose their dropout instead, since cuDNN passes gradients through
    them, to what is trained before them, in training mode only. A parameter that is frozen by itself leaves the mode of
    its layer as it is.

    Args:
        parts: names of layers or parameters, or patterns such as "layers.*".

    Raises:
        InputError: there is no such part, or nothing is left to train, or gradients train nothing in the first place.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError(
            f"freeze: no parameter of {type(model).__name__} is trained by gradients, so that none can be frozen; "
            "remove freeze"
        )
    for part in parts:
        require_part("freeze", part, model)
    for name, parameter in model.named_parameters(remove_duplicate=False):  # tied weights have several names
        if any(in_part(name, part) for part in parts):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError(
            f"freeze = {shown(list(parts))}: no parameter of {type(model).__name__} is left to train; freeze less, or "
            'evaluate the model as it is with [trainer] use = "core.no_training"'
        )
    for name, module in model.named_modules(remove_duplicate=False):
        if name and any(in_part(name, part) for part in parts):
            module.eval()
            if isinstance(module, nn.RNNBase):
                module.training, module.dropout = True, 0.0
            # A method, since a deep copy of the module then gets one of its own.
            module.train = MethodType(_stay, module)


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    """Stay in the mode that it has, whatever the trainer asks for."""
    return module
