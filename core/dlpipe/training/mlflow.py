"""Metrics in MLflow: in a database in the run folder, or on a server."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dlpipe.config.source import leaves
from dlpipe.errors import InputError, Interrupted, Preempted, in_words
from dlpipe.registry.hooks import RunView, hookimpl
from dlpipe.training.tracking import Sent

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: What MLflow reads from the environment when it is imported or used, unless the user has set it: it does not report
#: its use to its authors, and a server that does not answer delays a run by seconds instead of minutes.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
}
#: Seconds without another attempt after the server has failed; meanwhile, metrics are collected.
PAUSE = 300
#: What MLflow accepts at once.
MAX_PARAMS, MAX_METRICS = 100, 1000


class MLflow:
    """Log the pipeline, all metrics and the outcome of the run to MLflow (https://mlflow.org).

    Args:
        tracking_uri: where to, such as "http://localhost:5000" or "sqlite:///mlflow.db"; if not given, the environment
            variable ``MLFLOW_TRACKING_URI``, or else the database ``mlflow/mlflow.db`` in the run folder.
        experiment: in which the run appears; the name of the pipeline if not given.
        offline: the setting of the pipeline.
    """

    def __init__(
        self, *, tracking_uri: str | None = None, experiment: str | None = None, offline: bool = False
    ) -> None:
        if offline and tracking_uri and urlsplit(tracking_uri).scheme not in ("", "file", "sqlite"):
            raise InputError(
                f'tracking_uri = "{tracking_uri}", but the pipeline has offline = true; expected "sqlite:///FILE"'
            )
        self._uri = tracking_uri or (None if offline else os.environ.get("MLFLOW_TRACKING_URI"))
        self._experiment = experiment
        self._client: MlflowClient | None = None
        self._waiting: list[tuple[int, int, Mapping[str, float]]] = []  # time in ms, step, metrics
        self._pause_until = 0.0
        self._status = "FINISHED"

    @hookimpl
    def dlpipe_run_start(self, run: RunView) -> None:
        """Start a run of MLflow, or continue that of the process before."""
        for variable, value in ENVIRONMENT.items():
            os.environ.setdefault(variable, value)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        logging.getLogger("mlflow").setLevel(logging.ERROR)  # how it creates a database, and what it cuts off
        self._sent = Sent(run.folder / "mlflow.json")
        own = run.folder / "mlflow"
        if not self._uri:
            own.mkdir(exist_ok=True)
        client = MlflowClient(tracking_uri=self._uri or f"sqlite:///{own.absolute() / 'mlflow.db'}")
        if self._sent.continues:
            client.update_run(self._sent.id, status="RUNNING")
        else:
            name = self._experiment or run.name
            found = client.get_experiment_by_name(name)
            artifacts = None if self._uri else str(own.absolute() / "artifacts")
            experiment = found.experiment_id if found else client.create_experiment(name, artifact_location=artifacts)
            tags = {"dlpipe.pipeline": run.name, "dlpipe.run_folder": str(run.run_folder), "dlpipe.stage": run.stage}
            title = " ".join(filter(None, (run.run_folder.name, run.stage)))
            self._sent.id = client.create_run(experiment, run_name=title, tags=tags).info.run_id
            params = [Param(".".join(map(str, path)), str(value)) for path, value in leaves(run.pipeline)]
            for start in range(0, len(params), MAX_PARAMS):
                client.log_batch(self._sent.id, params=params[start : start + MAX_PARAMS])
            self._sent.record()
        self._client = client

    @hookimpl
    def dlpipe_step_logged(self, step: int, metrics: Mapping[str, float]) -> None:
        """Send training metrics."""
        self._log(step, metrics)

    @hookimpl
    def dlpipe_evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        """Send metrics of an evaluation."""
        self._log(step, metrics)

    @hookimpl
    def dlpipe_run_failed(self, error: BaseException) -> None:
        """Remember it for the end."""
        self._status = "KILLED" if isinstance(error, (Interrupted, Preempted)) else "FAILED"

    @hookimpl
    def dlpipe_run_end(self) -> None:
        """Send what is waiting, and the outcome."""
        if self._client is not None:
            self._send()
            self._client.set_terminated(self._sent.id, self._status)

    def _log(self, step: int, metrics: Mapping[str, float]) -> None:
        if remaining := self._sent.remaining(step, metrics):
            self._waiting.append((int(time.time() * 1000), step, remaining))
        if time.monotonic() < self._pause_until:
            return
        try:
            self._send()
        except Exception as error:
            self._pause_until = time.monotonic() + PAUSE
            warnings.warn(
                f"MLflow does not take the metrics of step {step}; they are kept and sent later: {in_words(error)}",
                stacklevel=2,
            )

    def _send(self) -> None:
        """Send all that is waiting, the oldest first; what fails goes on waiting."""
        from mlflow.entities import Metric

        assert self._client is not None
        while self._waiting:
            when, step, metrics = self._waiting[0]
            batch = [Metric(name, value, when, step) for name, value in metrics.items()]
            for start in range(0, len(batch), MAX_METRICS):
                self._client.log_batch(self._sent.id, metrics=batch[start : start + MAX_METRICS])
            self._sent.record(step, metrics)
            del self._waiting[0]
