"""Everything that the plugin offers keeps the rules of dlpipe, and its runs resume exactly."""

import importlib.util
from pathlib import Path

import pytest
from dlpipe.testing import check_resume, component_checks

ROOT = Path(__file__).resolve().parents[1]
PIPELINES = ["seasonal.toml", "visitors.toml"]
if importlib.util.find_spec("mlflow"):  # otherwise its checks are skipped
    PIPELINES.append("tracked.toml")
CHECKS = component_checks(
    "series",
    pipelines=[ROOT / name for name in PIPELINES],
    items={"series.seasonal": " ".join(map(str, range(48))), "series.csv": " ".join(map(str, range(24)))},
)


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_component(check):
    check()


@pytest.mark.parametrize("name", ["seasonal.toml", "visitors.toml"])
def test_a_run_resumes_exactly(name, tmp_path):
    check_resume(ROOT / name, tmp_path, assignments=["trainer.epochs=2"])
