"""The mistakes of a pipeline, collected while it is checked, and how a message names a place in the file."""

from __future__ import annotations

from dataclasses import dataclass, field

from dlpipe.config.source import Source, dotted
from dlpipe.config.toml_lines import KeyPath
from dlpipe.errors import PipelineError, Problem

#: How a message refers to the table that is the whole file.
TOP = "the top of the file"


@dataclass
class Report:
    """Collects the mistakes of one pipeline.

    Args:
        source: where each value comes from.
        warnings: what works, but should be changed; each with its place.
        plugin_missing: whether a plugin that the file needs is missing or broken.
        stage_references: every ``{ stage = "…" }`` and its place; they are checked once all stages are known.
    """

    source: Source
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    plugin_missing: bool = False
    stage_references: list[tuple[KeyPath, str]] = field(default_factory=list)

    def add(self, path: KeyPath, message: str, *, plugin: bool = False) -> None:
        """Add a mistake at the line of `path`.

        Args:
            plugin: the cause is a missing or broken plugin.
        """
        self.problems.append(self.source.problem(path, message))
        self.plugin_missing |= plugin

    def warn(self, path: KeyPath, message: str) -> None:
        """Add a warning at the line of `path`."""
        self.warnings.append(str(self.source.problem(path, message)))

    def error(self) -> PipelineError:
        """Return all mistakes as one error."""
        return PipelineError(self.problems, exit_code=3 if self.plugin_missing else 2)


def table_at(path: KeyPath) -> str:
    """Return how a message refers to the table at `path`: ``[stages.pretrain.model]``."""
    return f"[{dotted(path)}]" if path else TOP


def key_at(path: KeyPath, *inner: str | int) -> str:
    """Return the key at `path` with its table: ``[model] dropout``, ``[model] layers[1].size``, ``seed``.

    Args:
        inner: the rest of the path, if the value at `path` is itself a list or table.
    """
    *table, key = path
    if isinstance(key, int):  # of a list
        return key_at(tuple(table), key, *inner)
    text = dotted((key, *inner))
    return f"{table_at(tuple(table))} {text}" if table else text
