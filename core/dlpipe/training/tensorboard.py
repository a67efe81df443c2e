"""TensorBoard events in the run folder."""

from __future__ import annotations

from collections.abc import Mapping

from torch.utils.tensorboard import SummaryWriter

from dlpipe.registry.hooks import RunView, hookimpl


class TensorBoard:
    """Write all metrics as TensorBoard events into the run folder; ``tensorboard --logdir runs`` shows them."""

    def __init__(self) -> None:
        self._writer: SummaryWriter | None = None

    @hookimpl
    def dlpipe_run_start(self, run: RunView) -> None:
        """Open an events file; what a killed process wrote after its checkpoint is purged."""
        self._writer = SummaryWriter(str(run.folder), purge_step=run.resumed_step + 1)

    @hookimpl
    def dlpipe_step_logged(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write training metrics."""
        self._write(step, metrics)

    @hookimpl
    def dlpipe_evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write metrics of an evaluation."""
        self._write(step, metrics)

    @hookimpl
    def dlpipe_checkpoint_saved(self) -> None:
        """Flush the events up to the checkpoint to disk."""
        if self._writer:
            self._writer.flush()

    @hookimpl
    def dlpipe_run_end(self) -> None:
        """Close the file."""
        if self._writer:
            self._writer.close()

    def _write(self, step: int, metrics: Mapping[str, float]) -> None:
        assert self._writer is not None
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
