"""Former names in a pipeline file: they work, with a warning, so that old files and runs can still be used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dlpipe.config.report import Report, key_at
from dlpipe.config.signatures import Parameter
from dlpipe.config.source import rename_key
from dlpipe.config.toml_lines import KeyPath
from dlpipe.fields import part_of, table_keys


def use_current_names(
    report: Report, path: KeyPath, known: Mapping[str, Parameter], renamed: Mapping[str, str]
) -> None:
    """Replace the former keys of a table by their current names, with a warning; a key given by both is a mistake.

    Args:
        path: of the table in the file.
        known: its current keys; a former name that is the name of another key now means that key.
        renamed: former keys and their current names; dotted for keys of tables within the table.
    """
    for former, current in renamed.items():
        *outer, old = former.split(".")
        new = current.rpartition(".")[2]
        current_keys = _keys(known, outer)
        for place, table in _tables(report.source.values, (*path, *outer)):
            if old not in table or old in current_keys:
                continue
            within = (*place, old)[len(path) :]
            key = key_at((*path, within[0]), *within[1:])
            if new in table:
                report.add((*place, old), f"{key} was renamed to {current}, and both are given; remove {old}")
                del table[old]
                continue
            report.warn((*place, old), f"{key} was renamed to {current}; use the new name")
            rename_key(report.source, table, place, old, new)


def _keys(known: Mapping[str, Parameter], outer: list[str]) -> Mapping[str, Any]:
    """Return the current keys of a table, or of the tables within it."""
    if not outer:
        return known
    kind = known[outer[0]].kind if outer[0] in known else None
    return table_keys(kind) or table_keys(part_of(kind, 0)) or {}


def _tables(tree: Any, path: KeyPath, place: KeyPath = ()) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    """Yield the tables at `path`, and their places: several if lists of tables are on the way."""
    if isinstance(tree, list):
        for number, part in enumerate(tree):
            yield from _tables(part, path, (*place, number))
    elif isinstance(tree, dict) and not path:
        yield place, tree
    elif isinstance(tree, dict) and path[0] in tree:
        yield from _tables(tree[path[0]], path[1:], (*place, path[0]))
