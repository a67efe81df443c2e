import socket
import time

import pytest

from dlpipe.errors import InputError, Interrupted
from dlpipe.registry.hooks import RunView
from dlpipe.training.callbacks import Callbacks

pytest.importorskip("mlflow", reason="mlflow-skinny is not installed; pip install '.[mlflow]'")
pytest.importorskip("alembic", reason="alembic is not installed; pip install '.[mlflow]'")
from dlpipe.training.mlflow import ENVIRONMENT, MLflow

PIPELINE = {"name": "slots", "trainer": {"use": "core.supervised", "optimizer": {"lr": 0.1}}}


@pytest.fixture(autouse=True)
def same_environment(monkeypatch, tmp_path):
    """Restore the environment afterwards; files that MLflow writes outside of the run end up in `tmp_path`."""
    for variable, value in ENVIRONMENT.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)


def started(folder, resumed_step=0, **options):
    folder.mkdir(exist_ok=True)
    run = RunView("slots", folder, 7, resumed_step, lambda reason: None, pipeline=PIPELINE)
    failures = []
    watchers = Callbacks({"curves": MLflow(**options)}, run, failures.append)
    watchers.call("dlpipe_run_start")
    return watchers, failures


def process(folder, steps, resumed_step=0, *, error=None, **options):
    """Do what a run does with its callbacks."""
    watchers, failures = started(folder, resumed_step, **options)
    for step in steps:
        watchers.call("dlpipe_step_logged", step=step, metrics={"train/loss": 1 / step})
    watchers.call("dlpipe_evaluated", step=steps[0], split="test", metrics={"test/slots/f1": 0.5})
    if error:
        watchers.call("dlpipe_run_failed", step=steps[-1], error=error)
    watchers.call("dlpipe_run_end", step=steps[-1])
    assert failures == []


@pytest.mark.parametrize("place", ["files", pytest.param("run folder", marks=pytest.mark.slow)])
def test_a_resumed_run_continues_and_sends_no_step_twice(tmp_path, place):
    from mlflow import MlflowClient

    folder = tmp_path / "run"
    options = {"tracking_uri": f"file:{folder}/store"} if place == "files" else {}  # a database takes seconds
    process(folder, [1, 2, 3], error=Interrupted("stopped"), **options)
    client = MlflowClient(tracking_uri=options.get("tracking_uri", f"sqlite:///{folder}/mlflow/mlflow.db"))
    experiment = client.get_experiment_by_name("slots").experiment_id
    (run,) = client.search_runs([experiment])
    assert run.info.status == "KILLED"

    process(folder, [2, 3, 4], resumed_step=1, **options)

    (run,) = client.search_runs([experiment])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run")
    assert run.data.params["trainer.optimizer.lr"] == "0.1"
    assert run.data.tags["dlpipe.run_folder"] == str(folder)
    assert run.data.metrics == {"train/loss": 0.25, "test/slots/f1": 0.5}
    losses = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in losses] == [(1, 1), (2, 1 / 2), (3, 1 / 3), (4, 1 / 4)]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_server_that_does_not_answer_delays_a_run_once_and_gets_everything_later(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    watchers, failures = started(tmp_path / "run", tracking_uri=f"file:{tmp_path}/store", experiment="mine")
    callback = watchers._manager.get_plugin("curves")
    working = callback._client
    with socket.create_server(("127.0.0.1", 0)) as silent:
        from mlflow import MlflowClient

        callback._client = MlflowClient(tracking_uri=f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        with pytest.warns(UserWarning, match="MLflow does not take the metrics of step 1; they are kept and sent late"):
            watchers.call("dlpipe_step_logged", step=1, metrics={"train/loss": 0.5})
        for step in (2, 3, 4, 5):
            watchers.call("dlpipe_step_logged", step=step, metrics={"train/loss": 0.5})
        assert time.monotonic() - began < 3
    callback._client = working
    watchers.call("dlpipe_run_end", step=5)

    assert failures == []
    (run,) = working.search_runs([working.get_experiment_by_name("mine").experiment_id])
    assert [each.step for each in working.get_metric_history(run.info.run_id, "train/loss")] == [1, 2, 3, 4, 5]


def test_a_pipeline_that_never_uses_the_network_has_no_server(monkeypatch):
    with pytest.raises(InputError, match=r'tracking_uri = "http://host", but the pipeline has offline = true'):
        MLflow(tracking_uri="http://host", offline=True)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host")
    assert MLflow(offline=True)._uri is None
    assert MLflow()._uri == "http://host"
