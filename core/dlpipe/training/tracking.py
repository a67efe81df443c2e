"""What the callbacks that send a run to a tracking service have in common."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlpipe.runs.files import read_json, write_json


class Sent:
    """What of a run a service has got, kept in a file of the run folder.

    A resumed run continues the service's run of the same id. It repeats the steps after its checkpoint, and of these
    only what the service has not got yet is sent.

    Args:
        path: the file; it is created by the first `record`.

    Attributes:
        id: of the service's run; it can be set until the first `record`.
        continues: whether an earlier process has sent something.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.continues = path.exists()
        recorded: dict[str, Any] = read_json(path) if self.continues else {"id": secrets.token_hex(8), "steps": {}}
        self.id: str = recorded["id"]
        self._steps: dict[str, int] = recorded["steps"]

    def remaining(self, step: int, metrics: Mapping[str, float]) -> dict[str, float]:
        """Return the metrics of a step that have not been sent."""
        return {name: value for name, value in metrics.items() if step > self._steps.get(name, -1)}

    def record(self, step: int = 0, metrics: Mapping[str, float] | None = None) -> None:
        """Record that the metrics of a step have been sent."""
        self._steps |= dict.fromkeys(metrics or {}, step)
        write_json(self._path, {"id": self.id, "steps": self._steps})
