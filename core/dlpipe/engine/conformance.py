"""Refusing components whose methods dlpipe would never call: a name that is nearly right, or half of a pair.

A misspelled optional method is silent otherwise: a trainer with ``load_state_block`` would lose its replay buffer at
the first resume.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from rapidfuzz.distance import OSA, Hamming
from torch import nn

from dlpipe import protocols
from dlpipe.data.model_caller import MODEL_METHODS, own_method
from dlpipe.errors import PluginError
from dlpipe.messages import MAX_WRONG
from dlpipe.registry.loading import check_callback

#: What each kind of component must have.
REQUIRED: dict[str, tuple[type, ...]] = {
    "data": (protocols.Data,),
    "trainer": (protocols.Trainer,),
    "evaluator": (protocols.Evaluator,),
    "callback": (),
    "model": (),
}
#: What it may have.
OPTIONAL: dict[str, tuple[type, ...]] = {
    "data": (
        protocols.SupportsItems,
        protocols.SupportsItemFiles,
        protocols.SupportsTextItems,
        protocols.SupportsContent,
        protocols.SupportsPaddings,
        protocols.SupportsExpand,
        protocols.SupportsNames,
        protocols.SupportsCopies,
        protocols.SupportsExampleInputs,
        protocols.SupportsClose,
    ),
    "trainer": (
        protocols.SupportsTotalSteps,
        protocols.SupportsMetricWeights,
        protocols.SupportsStateBlocks,
        protocols.SupportsCaveats,
        protocols.SupportsNotes,
        protocols.SupportsReport,
        protocols.SupportsClose,
    ),
    "evaluator": (protocols.SupportsSamples, protocols.SupportsExampleScores, protocols.SupportsClose),
    "callback": (),
    "model": (
        protocols.SupportsNotes,
        protocols.SupportsExport,
        protocols.SupportsOtherWeights,
        protocols.SupportsBypasses,
    ),
}


def check_members(kind: str, component: Any) -> None:
    """Check that a component has what its kind needs, and no member that is nearly an optional one.

    Args:
        kind: "data", "model", "trainer", "evaluator" or "callback".

    Raises:
        PluginError: naming the member and what it should be called.
    """
    name = type(component).__name__
    present = _members(component)
    for protocol in REQUIRED[kind]:
        for member, is_method in _declared(protocol).items():
            if not _has(component, member, is_method) and not (
                member == "goal" and getattr(component, "primary", None) is None
            ):
                hint = _nearly(member, [other for other in present if present[other] == is_method])
                found = f"; it has {hint}" if hint else ""
                raise PluginError(f"{name} lacks {_shown(member, is_method)}, which every {kind} needs{found}")
    optional = {member: is_method for protocol in OPTIONAL[kind] for member, is_method in _declared(protocol).items()}
    if kind == "callback":
        check_callback(component)
    if kind == "model":
        _check_model(component)
        optional |= dict.fromkeys(MODEL_METHODS, True)  # they have no protocol, as their parameters are columns
    known = {*optional, *(member for protocol in REQUIRED[kind] for member in _declared(protocol))}
    for member, is_method in present.items():
        candidates = [other for other in optional if other not in present and optional[other] == is_method]
        if member not in known and (meant := _nearly(member, candidates)):
            raise PluginError(
                f"{name} has {_shown(member, is_method)}, which dlpipe never uses; rename it to {meant} if that is "
                "what it is, or give it a name of its own"
            )
    for protocol in OPTIONAL[kind]:
        members = _declared(protocol)
        missing = [member for member, is_method in members.items() if not _has(component, member, is_method)]
        if missing and len(missing) < len(members):
            there = next(member for member in members if member not in missing)
            raise PluginError(f"{name} has {there}() but lacks {missing[0]}(); dlpipe needs both")


def _check_model(model: Any) -> None:
    """Refuse what is no model, and what has the name of a method but could not be called like one."""
    name = type(model).__name__
    if not isinstance(model, nn.Module):
        raise PluginError(f"{name} is not a model; expected a subclass of torch.nn.Module")
    for method in MODEL_METHODS:
        found = getattr(model, method, None)
        if found is not None and own_method(model, method) is None:
            raise PluginError(
                f"{name}.{method} is {type(found).__name__}, which dlpipe never calls; expected a method "
                f"{method}(…). Define one, or rename the attribute"
            )


def _has(component: Any, member: str, is_method: bool) -> bool:
    """Return whether a component has a member, without computing it: the facts of data may need its files."""
    if is_method:
        return callable(getattr(component, member, None))
    return inspect.getattr_static(component, member, None) is not None or hasattr(component, member)


def _members(component: Any) -> dict[str, bool]:
    """Return the public members that the component itself defines, and whether each is a method."""
    plain = {*dir(nn.Module), *dir(object)} if isinstance(component, nn.Module) else {*dir(object)}
    of_type = {name: callable(getattr(type(component), name, None)) for name in dir(type(component))}
    stored = {name: inspect.isroutine(value) for name, value in getattr(component, "__dict__", {}).items()}
    if isinstance(component, nn.Module):  # its layers and sizes have any name; a function may be meant as a method
        stored = {name: True for name, is_method in stored.items() if is_method}
    return {name: is_method for name, is_method in (of_type | stored).items() if name[0] != "_" and name not in plain}


def _declared(protocol: type) -> dict[str, bool]:
    """Return the members that a protocol declares, and whether each is a method."""
    attributes = dict.fromkeys(getattr(protocol, "__annotations__", {}), False)
    return attributes | {name: callable(value) for name, value in vars(protocol).items() if not name.startswith("_")}


def _nearly(name: str, others: Iterable[str]) -> str:
    """Return the name that `name` is a misspelling of, or an empty string.

    Letters left out, added or swapped are misspellings; other letters are another word (``clone`` is not ``close``).
    """
    for other in others:
        distance = OSA.distance(name, other)
        replaced = len(name) == len(other) and Hamming.distance(name, other) == distance
        if distance <= max(len(name), len(other)) * MAX_WRONG and not replaced:
            return other
    return ""


def _shown(member: str, is_method: bool) -> str:
    return f"the method {member}()" if is_method else f"the attribute {member}"
