"""Metrics arrive in MLflow, and a resumed run continues its run there."""

from types import SimpleNamespace

import pytest

mlflow = pytest.importorskip("mlflow")

from mlflow.tracking import MlflowClient  # noqa: E402

from dlpipe_example.mlflow_runs import MLflow  # noqa: E402


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path


def log(folder, resumed_step=0, error=None, steps=(1, 2)):
    """Call the hooks as a run does."""
    callback = MLflow(folder=folder / "mlruns")
    callback.dlpipe_run_start(SimpleNamespace(name="sales", folder=folder / "run", seed=3, resumed_step=resumed_step))
    for step in steps:
        callback.dlpipe_step_logged(step, {"train/loss": 1 / step})
    callback.dlpipe_evaluated(steps[-1], {"dev/forecast/mase": 0.5})
    if error:
        callback.dlpipe_run_failed(error)
    callback.dlpipe_run_end()


def runs(folder):
    client = MlflowClient(tracking_uri=(folder / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("sales")
    return client, client.search_runs([experiment.experiment_id])


def test_metrics_arrive_with_their_steps(folder):
    log(folder)

    client, (run,) = runs(folder)
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 1.0), (2, 0.5)]
    assert run.data.metrics["dev/forecast/mase"] == 0.5
    assert run.info.status == "FINISHED"
    assert run.data.tags["dlpipe.seed"] == "3"


@pytest.mark.parametrize(("error", "status"), [(ValueError("no"), "FAILED"), (KeyboardInterrupt(), "KILLED")])
def test_a_run_that_fails_is_marked(folder, error, status):
    log(folder, error=error)

    assert runs(folder)[1][0].info.status == status


def test_a_resumed_run_continues_the_same_run(folder):
    log(folder, error=ValueError("no"))
    log(folder, resumed_step=2, steps=(3, 4))

    client, (run,) = runs(folder)
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "train/loss")] == [1, 2, 3, 4]
    assert run.info.status == "FINISHED"
