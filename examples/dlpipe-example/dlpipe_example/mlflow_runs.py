"""Metrics in MLflow, in its file store: ``mlflow ui --backend-store-uri mlruns`` shows them."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlpipe import hookimpl
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

#: In the folder of the run: the id of its run in MLflow.
RUN_ID = "mlflow_run_id.txt"
#: MLflow asks for this since it prefers a database to files, which need no server and no further package.
ALLOWED = "MLFLOW_ALLOW_FILE_STORE"


class MLflow:
    """Log all metrics of a run to MLflow; a resumed run continues its run in MLflow.

    Args:
        folder: of the file store; it is created if needed.
        experiment: in MLflow; the name of the pipeline if not given.
    """

    def __init__(self, *, folder: Path = Path("mlruns"), experiment: str | None = None) -> None:
        os.environ.setdefault(ALLOWED, "true")
        self._client, self._experiment = MlflowClient(tracking_uri=folder.absolute().as_uri()), experiment
        self._run_id, self._status = "", "FINISHED"

    @hookimpl
    def dlpipe_run_start(self, run: Any) -> None:
        """Create a run in MLflow; continue it if the run is resumed."""
        record = run.folder / RUN_ID
        if run.resumed_step and record.is_file():
            self._run_id = record.read_text(encoding="utf-8")
            self._client.update_run(self._run_id, "RUNNING")
            return
        name = self._experiment or run.name
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        tags = {"dlpipe.folder": str(run.folder.absolute()), "dlpipe.seed": str(run.seed)}
        self._run_id = self._client.create_run(experiment, run_name=run.folder.name, tags=tags).info.run_id
        record.write_text(self._run_id, encoding="utf-8")

    @hookimpl
    def dlpipe_step_logged(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log training metrics."""
        self._log(step, metrics)

    @hookimpl
    def dlpipe_evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of an evaluation."""
        self._log(step, metrics)

    @hookimpl
    def dlpipe_run_failed(self, error: BaseException) -> None:
        """Remember how the run ended."""
        self._status = "FAILED" if isinstance(error, Exception) else "KILLED"

    @hookimpl
    def dlpipe_run_end(self) -> None:
        """Say in MLflow how the run ended."""
        self._client.set_terminated(self._run_id, self._status)

    def _log(self, step: int, metrics: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        self._client.log_batch(self._run_id, [Metric(name, value, now, step) for name, value in metrics.items()])
