"""What a process does in a step that has too few examples for all."""

from __future__ import annotations

from collections.abc import Sequence

from dlpipe.compute import Compute
from dlpipe.data.columns import on_device
from dlpipe.protocols import Batch


class StandIn:
    """Gives a rank that has none of the examples of a batch those of another one, so that all run the model.

    Their loss counts nothing; they are the first examples of the run.
    """

    def __init__(self, compute: Compute) -> None:
        self._compute = compute
        self._batch: Batch = {}

    def fill(self, batches: Sequence[Batch]) -> list[Batch]:
        """Return the batches of a step, none of them empty. The first call is one of all ranks."""
        if not self._batch:
            first = self._compute.ranks.from_leader(
                # Two, since batch normalization refuses a single one.
                lambda: {name: column[:2].cpu() for name, column in next(filter(None, batches)).items()}
            )
            self._batch = on_device(first, self._compute.device)
        return [batch or self._batch for batch in batches]

    def is_own(self, batch: Batch) -> bool:
        """Whether a batch that `fill` returned has examples of this rank."""
        return batch is not self._batch
