"""Runs that differ only in the seed, as groups."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlpipe.comparison.run_result import RunResult, differing, flat
from dlpipe.messages import shown
from dlpipe.runs.folder import CHANGED, started

#: Parts of an identity that say nothing more than others, or differ between the runs of a group.
_CODE = ("the code of", "the version of")


@dataclass(frozen=True)
class Group:
    """One run, or runs that differ only in the seed.

    Args:
        label: a letter.
        runs: those that count, one for each seed.
        repeated: others with the seed of one that counts; the newest finished one does.
    """

    label: str
    runs: tuple[RunResult, ...]
    repeated: tuple[RunResult, ...] = ()

    @property
    def scored(self) -> tuple[RunResult, ...]:
        """The runs that have ended, and with metrics."""
        return tuple(run for run in self.runs if run.state == "finished" and run.metrics)

    def values(self, metric: str) -> list[float]:
        """Return a metric of the runs that have it."""
        return [run.metrics[metric] for run in self.scored if metric in run.metrics]

    @property
    def seeds(self) -> list[int]:
        """The seeds of the runs with metrics."""
        return [run.seed for run in self.scored]


def grouped(runs: Sequence[RunResult]) -> list[Group]:
    """Return the groups of runs, in the order of their first ones.

    Each run is a group of its own if no group has two seeds, or if there is only one group.
    """
    found: dict[str, list[RunResult]] = {}
    for run in runs:
        found.setdefault(_recipe(run), []).append(run)
    several = len(found) > 1 and any(len({run.seed for run in each}) > 1 for each in found.values())
    sets = list(found.values()) if several else [[run] for run in runs]
    return [_group(label, each) for label, each in zip(_labels(len(sets)), sets, strict=True)]


def _group(label: str, runs: Sequence[RunResult]) -> Group:
    by_seed: dict[int, RunResult] = {}
    for run in sorted(runs, key=lambda run: (run.state == "finished", started(run.path))):
        by_seed[run.seed] = run  # the last one
    kept = tuple(by_seed[seed] for seed in sorted(by_seed))
    return Group(label, kept, tuple(run for run in runs if run not in kept))


def _recipe(run: RunResult) -> str:
    """Return everything that the runs of a group have in common: pipeline, code, versions and data."""
    identity = run.provenance.get("identity", {})
    code = {name: value for name, value in identity.items() if name.startswith(_CODE)}
    tables = flat({key: value for key, value in run.resolved.items() if key != "seed"})
    known = [tables, code, run.fingerprints, run.provenance.get("fast"), _changed(run)]
    return json.dumps(known, sort_keys=True, default=str)


def _changed(run: RunResult) -> dict[str, str]:
    """Return the settings that were changed while the run continued, and after which step."""
    return {
        f"{change['key']} after step {entry['step']}": f"{shown(change.get('from'))} → {shown(change['to'])}"
        for entry in run.provenance.get(CHANGED, ())
        for change in entry["changes"]
    }


def _labels(count: int) -> list[str]:
    return [chr(ord("A") + number) if count <= 26 else f"R{number + 1}" for number in range(count)]


def differences(groups: Sequence[Group]) -> dict[str, dict[str, dict[str, str]]]:
    """Return what is not the same in all groups: by topic and name, the value in each group."""
    topics = {
        "pipeline": lambda run: flat(run.resolved),
        "changed while it ran": _changed,
        "data": lambda run: {f"fingerprint {name}".strip(): value for name, value in run.fingerprints.items()},
        "versions": lambda run: flat({**run.provenance.get("versions", {}), **_plugins(run)}),
        "code": _code_of,
        "hardware": lambda run: flat(_hardware(run)),
    }
    found = {}
    for topic, read in topics.items():
        columns = {group.label: _joined([read(run) for run in group.runs]) for group in groups}
        if different := differing(columns):
            found[topic] = different
    return found


def _joined(parts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the values of the runs of a group: one if it is the same in all of them."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: ", ".join(dict.fromkeys(part.get(name, "–") for part in parts)) for name in names}


def _plugins(run: RunResult) -> dict[str, Any]:
    return {f"plugin {name}": value for name, value in run.provenance.get("plugins", {}).items()}


def _code_of(run: RunResult) -> dict[str, str]:
    identity = run.provenance.get("identity", {})
    found = {name: str(value)[:8] for name, value in identity.items() if name.startswith("the code of")}
    git = run.provenance.get("git") or {}
    if git.get("commit"):
        found["git commit"] = str(git["commit"])[:8] + (" (with changes)" if git.get("changed") else "")
    return found


def _hardware(run: RunResult) -> dict[str, Any]:
    known = {name: run.provenance[name] for name in ("threads", "ranks") if name in run.provenance}
    accelerator = run.provenance.get("identity", {}).get("accelerator")
    return {**run.provenance.get("machine", {}), **known, **({"accelerator": accelerator} if accelerator else {})}
