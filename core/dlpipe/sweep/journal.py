"""The file in which several processes keep one search: a line of JSON for each operation.

Optuna's own file backend takes its lock with a link, which outlives a process that is killed, and cannot be read after
a line that was cut off. Here the operating system holds the lock, and the next writer removes such a line. Nothing is
unpickled: only a backend with snapshots would be.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from dlpipe.errors import RunFolderError
from dlpipe.messages import relative
from dlpipe.runs.atomic import locked

JOURNAL = "journal.jsonl"


class JournalFile(BaseJournalBackend):
    """A journal in a folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL
        self._lock = folder / ".journal.lock"
        self._read = (0, 0)  # lines that were read, and where they end

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Return the operations from a number on; a line that is being written does not count."""
        number, offset = self._read if self._read[0] <= log_number_from else (0, 0)
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(offset)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        lines = whole.splitlines()
        self._read = (number + len(lines), offset + len(whole))
        return [
            self._operation(line, place) for place, line in enumerate(lines, start=number) if place >= log_number_from
        ]

    def _operation(self, line: bytes, place: int) -> dict[str, Any]:
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise RunFolderError(
                f"{relative(self.path)}:{place + 1}: this is not a line of JSON that a search wrote; restore the file, "
                "or remove its folder to search from the start (finished runs are kept)"
            )
        return found

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append operations, all or none."""
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with locked(self._lock), self.path.open("ab") as file:
            file.truncate(self._end())
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())

    def _end(self) -> int:
        """Return where the last whole line ends."""
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            while size:
                start = max(0, size - 65536)
                file.seek(start)
                found = file.read(size - start).rfind(b"\n")
                if found >= 0:
                    return start + found + 1
                size = start
        return 0
