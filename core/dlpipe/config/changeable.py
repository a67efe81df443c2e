"""What of a pipeline may change while a run of it continues, and why the rest may not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlpipe.config.pipeline import Pipeline
from dlpipe.config.source import dotted, leaves
from dlpipe.config.tables import keys_of, options_of
from dlpipe.config.toml_lines import KeyPath
from dlpipe.errors import InputError
from dlpipe.messages import shown
from dlpipe.registry.loading import Registry
from dlpipe.registry.specs import TrainerSpec

#: Settings of the pipeline that say where and how fast it is computed, not what is learned.
SETTINGS = (
    "device",
    "threads",
    "precision",
    "tf32",
    "deterministic",
    "offline",
    "parallel",
    "compile",
    "evaluation_batch_size",
)
#: Tables of a stage whose components observe the training, and do not take part in it.
OBSERVERS = ("evaluators", "callbacks")
#: Why nothing of a table, or not this key at the top of a file, may change.
FIXED = {
    "seed": "all random numbers of the run follow from it",
    "name": "the folder of the run is named by it",
    "plugins": "the run has its own copies of local plugins",
    "data": "the checkpoint has the position in this data, and the model has learned from it",
    "model": "the weights of the checkpoint are those of this model",
}


@dataclass(frozen=True)
class Change:
    """A value of a pipeline that is another one from some step of a run on.

    Args:
        path: such as ``("trainer", "epochs")``.
        before: None if it was not set.
        after: None if it is not set any more.
    """

    path: KeyPath
    before: Any
    after: Any

    @property
    def key(self) -> str:
        """The path as ``--set`` takes it."""
        return dotted(self.path)

    def __str__(self) -> str:
        after = "is not set" if self.after is None else f"= {shown(self.after)}"
        return f"{self.key} {after} ({'it was not set' if self.before is None else f'it was {shown(self.before)}'})"

    def plain(self) -> dict[str, Any]:
        """Return it, JSON-serializable."""
        return {"key": self.key, "from": self.before, "to": self.after}

    def stage_and_table(self) -> tuple[str, KeyPath]:
        """Return the stage, empty in a pipeline without ``[stages]``, and the path within it."""
        return (str(self.path[1]), self.path[2:]) if self.path[0] == "stages" else ("", self.path)


def changes_between(before: Pipeline, after: Pipeline) -> list[Change]:
    """Return the values in which two checked pipelines differ, in the order of the second one."""
    old, new = dict(leaves(before.plain())), dict(leaves(after.plain()))
    return [Change(path, old.get(path), new.get(path)) for path in {**new, **old} if old.get(path) != new.get(path)]


def require_changeable(after: Pipeline, changes: Sequence[Change], closed: Iterable[str], run: str) -> None:
    """Refuse changes that a run cannot continue with.

    Args:
        after: the changed pipeline.
        closed: stages that are finished and that later ones may have started from.
        run: the folder, as the user would write it.

    Raises:
        InputError: naming each of them, the reason and the next step.
    """
    closed, reasons = set(closed), dict[str, str]()
    selected = {change.path[:-1] for change in changes if change.path[-1] == "use"}
    for change in changes:
        # The other values of a table changed only since it selects something else now.
        outer = [change.path[:length] for length in range(len(change.path) - (change.path[-1] == "use"))]
        if selected.isdisjoint(outer) and (reason := _refusal(after, change, closed)):
            reasons[f"{change}"] = reason
    if not reasons:
        return
    lines = [f"  {what}: {reason}" for what, reason in reasons.items()]
    raise InputError(
        f"{run} cannot continue with other values of these settings:\n"
        + "\n".join(lines)
        + "\nStart a new run with them. Its model can begin with the weights of this one: "
        f'[model] start = {{ run = "{run}" }}'
    )


def changeable_keys(spec: TrainerSpec) -> list[str]:
    """Return what of the table of a trainer may change: options of the loop, and what the trainer declares."""
    return [*options_of(spec.kind), *spec.changeable]


def budget_keys(spec: TrainerSpec, table: Mapping[str, Any]) -> list[str]:
    """Return the keys of the table of a trainer that give the end of the run."""
    return [key for key in ("epochs", "steps", *spec.budget, "minutes") if table.get(key) is not None]


def later_ends(tables: Mapping[str, Any], registry: Registry) -> list[str]:
    """Return the assignments, such as ``"trainer.epochs=N"``, that would make a run longer.

    Args:
        tables: of its ``resolved.toml``; of several stages, the last one counts.
    """
    stage = [*tables.get("stages", {})][-1:]
    trainer = (tables["stages"][stage[0]] if stage else tables)["trainer"]
    component = registry.find("trainer", trainer["use"])
    keys = budget_keys(component.spec, trainer) if component else ["epochs"]
    table = ("stages", *stage, "trainer") if stage else ("trainer",)
    return [f"{dotted((*table, key))}=N" for key in keys]


def _refusal(after: Pipeline, change: Change, closed: set[str]) -> str:
    """Return why a value cannot change, an empty string if it can."""
    top = str(change.path[0])
    if top in SETTINGS:
        return ""
    name, path = change.stage_and_table()
    if name not in after.stages:
        return FIXED.get(top, "it is not part of the pipeline")
    if name in closed:
        return f"stage {name} is finished, and a later one has started from what it had learned"
    table = str(path[0])
    if table in OBSERVERS:
        return ""
    return _refusal_of_trainer(after, name, path[1:]) if table == "trainer" else FIXED[table]


def _refusal_of_trainer(after: Pipeline, stage: str, path: KeyPath) -> str:
    component = after.stages[stage].trainer.component
    key, *inner = map(str, path)
    if key == "use":
        return "the state of the checkpoint is that of this trainer"
    known = keys_of(component.spec)
    if inner == ["use"] and known[key].choice == "optimizer":
        return "the state of the checkpoint is that of this optimizer; its other values can change"
    if any(_covers(name, ".".join((key, *inner))) for name in changeable_keys(component.spec)):
        return ""
    names = ", ".join(component.spec.changeable)
    return f"{component.name} can change {names}" if names else f"{component.name} can change only options of the loop"


def _covers(name: str, key: str) -> bool:
    """Return whether a name of a parameter, or of a key in its table, includes a key."""
    return key == name or key.startswith(f"{name}.")
