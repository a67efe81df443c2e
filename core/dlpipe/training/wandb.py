"""Metrics in Weights & Biases, sent by a process of its own, or kept in the run folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

import wandb

from dlpipe.errors import InputError
from dlpipe.registry.hooks import RunView, hookimpl
from dlpipe.training.tracking import Sent

#: Seconds that an unreachable server may delay the start and the end of a run; in between, nothing waits for it.
PATIENCE = 60


class WandB:
    """Log the pipeline, all metrics and the outcome of the run to Weights & Biases (https://wandb.ai).

    The run folder keeps all that is sent, in ``wandb``. With "offline", ``wandb sync`` can send it later.

    Args:
        project: in which the run appears; the name of the pipeline if not given.
        mode: "online" needs an account (``wandb login``); "offline" never uses the network; "disabled" does nothing.
            If not given, that of the environment variable ``WANDB_MODE``, or else "online"; "offline" in a pipeline
            with ``offline = true``.
        offline: the setting of the pipeline.
    """

    def __init__(
        self,
        *,
        project: str | None = None,
        mode: Literal["online", "offline", "disabled"] | None = None,
        offline: bool = False,
    ) -> None:
        if offline and mode == "online":
            raise InputError('mode = "online", but the pipeline has offline = true; expected "offline" or "disabled"')
        self._project = project
        self._mode = mode or ("offline" if offline else os.environ.get("WANDB_MODE") or "online")
        # Without a prompt, which would wait for an answer that nobody gives in a batch job.
        if self._mode == "online" and not wandb.login(prompt=False, verify=False):
            raise InputError(
                "Weights & Biases has no API key here; log in with `wandb login`, set WANDB_API_KEY, or write "
                'mode = "offline"'
            )
        self._run: wandb.Run | None = None
        self._failed = False

    @hookimpl
    def dlpipe_run_start(self, run: RunView) -> None:
        """Start a run of W&B, or continue that of the process before."""
        self._folder, self._sent = run.folder, Sent(run.folder / "wandb.json")
        self._run = wandb.init(
            project=self._project or run.name,
            id=self._sent.id,
            name=" ".join(filter(None, (run.run_folder.name, run.stage))),
            group=run.run_folder.name if run.stage else None,
            tags=[run.name, run.run_folder.name],
            notes=f"run folder: {run.run_folder}",
            config=dict(run.pipeline),
            dir=run.folder,
            mode=self._mode,  # type: ignore[arg-type]  # WANDB_MODE is checked by wandb
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(
                console="off",  # the screen belongs to dlpipe
                quiet=True,
                symlink=False,  # a run folder has no links
                init_timeout=PATIENCE,
                finish_timeout=PATIENCE,
            ),
        )
        self._remove_links()
        # An axis of our own: the steps of wandb have to grow, but the best checkpoint may be older than the last.
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")
        self._sent.record()

    @hookimpl
    def dlpipe_step_logged(self, step: int, metrics: Mapping[str, float]) -> None:
        """Send training metrics."""
        self._log(step, metrics)

    @hookimpl
    def dlpipe_evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        """Send metrics of an evaluation."""
        self._log(step, metrics)

    @hookimpl
    def dlpipe_run_failed(self) -> None:
        """Remember it for the end."""
        self._failed = True

    @hookimpl
    def dlpipe_run_end(self, step: int) -> None:
        """Complete the summary, and wait a while until everything is sent."""
        if self._run is None:
            return
        self._run.summary.update({"steps": step, "outcome": "failed" if self._failed else "finished"})
        self._run.finish(exit_code=int(self._failed))
        self._remove_links()

    def _log(self, step: int, metrics: Mapping[str, float]) -> None:
        assert self._run is not None
        if remaining := self._sent.remaining(step, metrics):
            self._run.log({**remaining, "step": step})
            self._sent.record(step, remaining)

    def _remove_links(self) -> None:
        """Remove the link to wandb's own log: with a link that leads out of it, the folder could not be opened."""
        for path in (self._folder / "wandb").rglob("*"):
            if path.is_symlink():
                path.unlink()
