"""One small run, which the tests of this folder share and do not change."""

import os

import pytest

import dlpipe

TABLES = {
    "name": "small",
    "seed": 1,
    "threads": 1,
    "data": {"use": "vision.digits", "limit": 200},
    "model": {"use": "core.mlp", "hidden_dim": 8},
    "trainer": {"use": "core.supervised", "epochs": 2, "batch_size": 50, "log_every": 2},
    "evaluators": {"digits": {"use": "core.classification", "compare_baselines": False}},
}


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """A finished run of `TABLES`, in a folder of its own."""
    folder = tmp_path_factory.mktemp("small")
    before = os.getcwd()  # noqa: PTH109
    os.chdir(folder)
    try:
        return dlpipe.load(TABLES).run(quiet=True)
    finally:
        os.chdir(before)
