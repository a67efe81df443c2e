"""The metrics of a run (or stage), one line per log point."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dlpipe.errors import DlpipeError, RunFolderError
from dlpipe.json_text import to_json
from dlpipe.messages import relative
from dlpipe.runs.atomic import flush
from dlpipe.runs.files import append_text, read_json_lines

#: The mean loss of the steps of a trainer.
TRAINING_LOSS = "train/loss"


def judged_names(evaluators: Iterable[str]) -> tuple[str, ...]:
    """Return how the names of the metrics of evaluators begin: ``test/``, ``dev/``, and on train with the evaluator.

    Others that begin with ``train/`` are those that a trainer logs.
    """
    return ("test/", "dev/", *(f"train/{name}/" for name in evaluators))


class MetricsLog:
    """``metrics.jsonl``: one JSON object a line, append-only, except that it is truncated on resume.

    Values that depend on the clock have keys of their own (``time``, ``steps_per_second``,
    ``seconds``); all others are equal between two runs of the same pipeline and seed.

    Args:
        writes: if not, the file is only read: another process writes it.
    """

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path, self._writes = path, writes

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a line; a number that is not finite is written as null, since JSON has no NaN.

        Raises:
            DlpipeError: it cannot be written.
        """
        if not self._writes:
            return
        try:
            append_text(self.path, to_json(record) + "\n")
        except OSError as error:
            raise DlpipeError(f"{relative(self.path)} cannot be written: {error.strerror}") from error

    def sync(self) -> int:
        """Flush all lines to disk, and return the size in bytes, which a checkpoint refers to."""
        if self._writes and self.path.exists():
            flush(self.path)
        return self.size()

    def size(self) -> int:
        """Return the bytes written so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def truncate(self, size: int) -> None:
        """Remove everything after the first `size` bytes: what a killed process wrote after its checkpoint."""
        if self._writes and self.size() > size:
            os.truncate(self.path, size)

    def damage(self, size: int) -> str:
        """Return how the file differs from one that ended with a whole line at `size` bytes, or an empty string."""
        if self.size() < size:
            return f"it has {self.size():,} bytes, but had {size:,}"
        if size:
            with self.path.open("rb") as file:
                file.seek(size - 1)
                if file.read(1) != b"\n":
                    return f"no line ends at byte {size:,}, where one ended"
        return ""

    def repair(self, size: int) -> None:
        """Keep the whole lines among the first `size` bytes."""
        kept = self.path.read_bytes()[:size] if self.path.exists() else b""
        self.truncate(kept.rfind(b"\n") + 1)

    def records(self) -> list[dict[str, Any]]:
        """Return all lines; none if the file was never written.

        Raises:
            RunFolderError: the file or one of its lines cannot be read.
        """
        records = read_json_lines(self.path) if self.path.exists() else []
        for number, record in enumerate(records, start=1):
            if record.get("step") is None:
                raise RunFolderError(f'{relative(self.path)}:{number} has no "step"; it was not written by dlpipe')
        return records
