"""Starting a model from trained weights: those of a run, of an earlier stage, or of a file.

Weights are matched by name. Those that the data decides start untrained where the data differs: the scores of other
classes, the embedding of other words. Which ones these are is found by building the model again with other facts, which
works for every model; on the CPU and not on torch's "meta" device, where a constructor cannot read the value of a
tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from dlpipe.config.pipeline import Start
from dlpipe.data.download import Download, fetch
from dlpipe.engine.weights_file import read_weights
from dlpipe.errors import InputError
from dlpipe.messages import nearest, relative, shown
from dlpipe.protocols import SupportsOtherWeights
from dlpipe.training.named_parts import in_part, require_part

#: Lists of names among the facts, by the fact that counts them, where that is not "num_" and the name of the list.
NAMES = {"num_classes": "labels", "vocab_size": "vocabulary"}
#: Whose scores all start untrained when any of them differs: a few trained ones beside new ones would win at first.
LABELS = "labels"
#: Old files lack these counters of batches, which then start from 0.
COUNTER = "num_batches_tracked"
#: A download may have this many bytes; its sha256 says whether it is the right one.
MAX_BYTES = 64 * 2**30
#: A message lists at most this many names.
MAX_LISTED = 4


@dataclass(frozen=True)
class TrainedModel:
    """A trained model and the facts of its data."""

    model: nn.Module
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class StartingModel:
    """The model that starts, and how it was built.

    Args:
        facts: of its data.
        taken: names of the facts that it was built with.
        rebuild: builds it with other facts.
    """

    model: nn.Module
    facts: Mapping[str, Any]
    taken: Iterable[str]
    rebuild: Callable[[Mapping[str, Any]], nn.Module]


@dataclass(frozen=True)
class _Other:
    """A fact that is another one in the data of the weights.

    Args:
        depending: weights of the model whose shape depends on the fact, and their shape with another one.
        why: what differs, in words.
        names: the names that the fact counts, theirs and ours, if what they stand for is taken over by name.
    """

    depending: Mapping[str, torch.Size]
    why: str
    names: tuple[list[str], list[str]] | None


def load_start(
    own: StartingModel, start: Start, find: Callable[[Start], TrainedModel], *, offline: bool = False
) -> str:
    """Load the weights that a model starts from, and return in words what was taken over.

    Args:
        find: returns the trained model of a run or a stage.
        offline: do not access the network.

    Raises:
        InputError: they cannot be read, or do not fit; the message says which names differ.
    """
    weights, facts, source = _read(start, find, offline)
    if isinstance(own.model, SupportsOtherWeights):
        weights = dict(own.model.adapt_weights(weights))
    state: dict[str, Tensor] = own.model.state_dict()
    weights, renamed = _renamed(weights, state, start)
    for part in start.skip:
        if not any(in_part(name, part) for name in weights):
            require_part("start.skip", part, own.model)
    expected, found = _without(state, start), _without(weights, start)
    _require_names(expected, found, source)
    others = _other_facts(own, facts, [name for name in found if found[name].shape != expected[name].shape])
    new = {name: on for name in found if (on := [other for other in others if name in other.depending])}
    taken = {name: tensor for name, tensor in found.items() if name not in new}
    _require_shapes(expected, taken, source)
    if not taken:
        raise InputError(f"start: {source} has no weights that can be used: {_listed(new)} would all start untrained")
    rows = {name: kept for name, on in new.items() if (kept := _known_rows(name, state[name], found[name], on))}
    own.model.load_state_dict({**state, **taken, **{name: tensor for name, (tensor, _) in rows.items()}})
    return f"start: {len(taken)} of {len(state)} tensors from {source}{renamed}{_told(new, rows, start)}"


def require_same_facts(what: str, trained: TrainedModel, facts: Mapping[str, Any], same: Collection[str]) -> None:
    """Refuse a trained model that knows other words, or other names, by the numbers in the data that it is to read.

    Args:
        what: the model, for the message.
        facts: of the data; what it does not count, such as n-grams for other models, is an empty list.
        same: other facts that have to be the same: those that are no lists of names, and the classes of the data, which
            only matter if the model is to predict them.
    """
    for fact, ours in facts.items():
        theirs = trained.facts.get(fact)
        if fact == LABELS and fact not in same:
            continue
        if theirs and ours and _is_list(theirs) and _is_list(ours):
            _require_same_names(what, fact, theirs, ours)
        elif fact in same and _as_list(theirs) != _as_list(ours):
            raise InputError(
                f"{what} was trained with {fact} = {shown(_as_list(theirs))}, and here it is {shown(_as_list(ours))}; "
                "expected the same. Give its data the parameters that make it so"
            )


def _require_same_names(what: str, fact: str, theirs: Sequence[Any], ours: Sequence[Any]) -> None:
    for number, names in enumerate(zip_longest(theirs, ours)):
        if names[0] != names[1]:
            there, here = ("missing" if name is None else shown(name) for name in names)
            raise InputError(
                f"{what} was trained with other {fact}: number {number} is {there} there and {here} here; expected "
                "the same, since a model knows them by their numbers. Give its data and this data the same "
                "parameters"
            )


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value  # JSON and TOML have no tuples


def _read(
    start: Start, find: Callable[[Start], TrainedModel], offline: bool
) -> tuple[dict[str, Tensor], Mapping[str, Any] | None, str]:
    """Return weights, the facts of their data if they are known, and where they come from."""
    if not (start.file or start.url):
        trained = find(start)
        source = f"stage {start.stage}" if start.run is None else relative(start.run)
        return dict(trained.model.state_dict()), trained.facts, source
    path = start.file or fetch(Download(start.url, start.sha256, MAX_BYTES), offline=offline)
    try:
        return read_weights(path), None, relative(path)
    except ValueError as error:
        raise InputError(f'start = {{ file = "{relative(path)}" }} {error}') from error


def _renamed(weights: dict[str, Tensor], state: Mapping[str, Tensor], start: Start) -> tuple[dict[str, Tensor], str]:
    """Return the weights with another beginning of all names, if only then they fit, and say so."""
    expected = {name for name in _without(state, start) if not name.endswith(COUNTER)}
    for old in _beginnings(weights):
        for new in _beginnings(state):
            renamed = {new + name.removeprefix(old): tensor for name, tensor in weights.items()}
            if expected <= renamed.keys() and _without(renamed, start).keys() <= state.keys():
                changes = [f'without "{old}"'] * bool(old) + [f'with "{new}"'] * bool(new)
                return renamed, f" (names {' and '.join(changes)} in front)" if changes else ""
    return weights, ""


def _beginnings(names: Iterable[str]) -> list[str]:
    """Return "", and what all names start with, up to each dot: "module.", "module.net."."""
    names = list(names)
    layers = names[0].split(".")[:-1] if names else []
    found = [""]
    for depth in range(1, len(layers) + 1):
        beginning = ".".join(layers[:depth]) + "."
        if not all(name.startswith(beginning) for name in names):
            break
        found.append(beginning)
    return found


def _without(weights: Mapping[str, Tensor], start: Start) -> dict[str, Tensor]:
    return {name: each for name, each in weights.items() if not any(in_part(name, part) for part in start.skip)}


def _require_names(own: Mapping[str, Tensor], weights: Mapping[str, Tensor], source: str) -> None:
    lacking = [name for name in own if name not in weights and not name.endswith(COUNTER)]
    unknown = [name for name in weights if name not in own]
    problems = []
    if lacking:
        problems.append(f"it lacks {_listed(lacking)}.{nearest(lacking[0], unknown)}")
    if unknown:
        problems.append(f"it has {_listed(unknown)}, which the model does not have.{nearest(unknown[0], lacking)}")
    if problems:
        _refuse(source, " ".join(problems), [*lacking, *unknown])


def _require_shapes(own: Mapping[str, Tensor], weights: Mapping[str, Tensor], source: str) -> None:
    differing = [name for name, tensor in weights.items() if tensor.shape != own[name].shape]
    if differing:
        first = differing[0]
        shapes = f"{first} has the shape {tuple(weights[first].shape)} there and {tuple(own[first].shape)} here"
        more = f"; so differ {_listed(differing[1:])}" if differing[1:] else ""
        _refuse(source, f"{shapes}{more}. Build the same model,", differing)


def _refuse(source: str, problem: str, names: Iterable[str]) -> NoReturn:
    parts = list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))
    skip = ", ".join(f'"{part}"' for part in parts[:MAX_LISTED]) + (", …" if len(parts) > MAX_LISTED else "")
    joint = " or leave" if problem.endswith(",") else " Leave"
    raise InputError(f"start: {source} does not fit the model: {problem}{joint} such parts out: skip = [{skip}]")


def _other_facts(own: StartingModel, theirs: Mapping[str, Any] | None, differing: list[str]) -> list[_Other]:
    """Return the facts that differ from those of the weights, and which weights depend on them.

    Args:
        theirs: None if they are not known; then the shapes that differ tell.
    """
    found, shapes = [], {name: tensor.shape for name, tensor in own.model.state_dict().items()}
    for fact in own.taken:
        lists = _lists(fact, own.facts, theirs or {})
        if theirs is None:
            other, why = (_one_more(own.facts[fact]) if differing else None), f"{fact} is {_size(own.facts[fact])} here"
        else:
            other, why = _difference(fact, own.facts, theirs, lists)
        if other is None:
            continue
        changed = {name: tensor.shape for name, tensor in own.rebuild({fact: other}).state_dict().items()}
        depending = {name: shape for name, shape in changed.items() if shape != shapes.get(name)}
        if lists is None:  # then a weight that fits means the same
            depending = {name: shape for name, shape in depending.items() if name in differing}
        found.append(_Other(depending, why, None if _name_of(fact) == LABELS else lists))
    return found


def _difference(
    fact: str, ours: Mapping[str, Any], theirs: Mapping[str, Any], lists: tuple[list[str], list[str]] | None
) -> tuple[Any, str]:
    """Return a value with which other weights have another shape, None if the fact is the same, and what differs."""
    if fact not in theirs:
        return None, ""
    if (there := _size(theirs[fact])) != (here := _size(ours[fact])):
        return theirs[fact], f"{fact}: {there} there, {here} here"
    if lists is None or lists[0] == lists[1]:
        return None, ""
    there, here = next(pair for pair in zip(*lists, strict=True) if pair[0] != pair[1])
    return _one_more(ours[fact]), f"other {_name_of(fact)}: {shown(there)} there, {shown(here)} here"


def _lists(fact: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> tuple[list[str], list[str]] | None:
    """Return the names that a fact is or counts, theirs and ours, or None if one of the two does not say."""
    name = _name_of(fact)
    if not (_is_list(ours.get(name)) and _is_list(theirs.get(name))):
        return None
    return [str(each) for each in theirs[name]], [str(each) for each in ours[name]]


def _name_of(fact: str) -> str:
    """Return the fact with the names that a fact counts: "labels" for "num_labels"."""
    return NAMES.get(fact, fact.removeprefix("num_"))


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value)


def _size(value: Any) -> Any:
    """Return the length of a list of names; of another fact its value, with lists as JSON would give it back."""
    if _is_list(value):
        return len(value)
    return list(value) if isinstance(value, tuple) else value


def _one_more(value: Any) -> Any:
    """Return a fact with one name more, or None if it neither is nor counts names."""
    if _is_list(value):
        return [*value, ""]
    return value + 1 if type(value) is int else None


def _known_rows(name: str, own: Tensor, theirs: Tensor, others: Sequence[_Other]) -> tuple[Tensor, str] | None:
    """Return new weights with those of the names that both know, and how many these are; None if rows are no names.

    Args:
        others: the facts that the weights depend on; with several, a row stands for more than its name.
    """
    sizes = zip(own.shape, others[0].depending[name], strict=True)
    dims = [dim for dim, (size, with_other_names) in enumerate(sizes) if size != with_other_names]
    if others[0].names is None or len(others) > 1 or len(dims) != 1:
        return None
    dim, (there, here) = dims[0], others[0].names
    rest = [each.shape[:dim] + each.shape[dim + 1 :] for each in (own, theirs)]
    if rest[0] != rest[1] or (theirs.shape[dim], own.shape[dim]) != (len(there), len(here)):
        return None
    places = {name: place for place, name in enumerate(there)}
    known = [(place, places[each]) for place, each in enumerate(here) if each in places]
    if not known:
        return None
    ours, source = (torch.tensor(each, device=own.device) for each in zip(*known, strict=True))
    kept = theirs.to(own).index_select(dim, source)
    return own.index_copy(dim, ours, kept), f"{len(known):,} of {len(here):,} rows"


def _told(new: Mapping[str, Sequence[_Other]], rows: Mapping[str, tuple[Tensor, str]], start: Start) -> str:
    """Say which weights start untrained, and why."""
    reasons = {name: ", ".join(other.why for other in others) for name, others in new.items()}
    parts = [f"{kept} of {name} by name ({reasons[name]})" for name, (_, kept) in rows.items()]
    for why, names in groupby((name for name in new if name not in rows), key=lambda name: reasons[name]):
        parts.append(f"new: {_listed(names)} ({why})")
    parts += [f"left out: {', '.join(start.skip)}"] if start.skip else []
    return "".join(f"; {part}" for part in parts)


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + more
