"""What every test may count on: one thread, no network, and real data where there is some."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

# Before torch is imported anywhere: tests run beside other work, and many threads that wait for each
# other are far slower then than one.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest

from dlpipe.runs.atomic import locked

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the project."""
    return ROOT


def needs_atari() -> None:
    """Skip the test where ale-py is not installed."""
    pytest.importorskip("ale_py", reason="ale-py is not installed; it is GPL and not part of dlpipe[all]")


def needs_espeak() -> None:
    """Skip the test where espeak-ng is not installed."""
    if importlib.util.find_spec("espeakng_loader") is None:
        pytest.skip("espeakng-loader is not installed; it is GPL and not part of dlpipe[all]")


@pytest.fixture
def espeak() -> None:
    """Skip the test where espeak-ng is not installed."""
    needs_espeak()


def needs_packages_of(text: str) -> None:
    """Skip the test where a package is not installed that a component named in `text` needs and `dlpipe[all]` lacks."""
    if "rl.atari" in text:
        needs_atari()
    if "audio.spoken_words" in text:
        needs_espeak()


@pytest.fixture
def without_report(request, monkeypatch) -> None:
    """Let the runs of this process write no report and no curves, which take more than half the time of a short run.

    Those of a test marked ``writes_report`` do.
    """
    if request.node.get_closest_marker("writes_report"):
        return
    for name in ("write_curves", "write_report"):
        monkeypatch.setattr(f"dlpipe.engine.outcome.{name}", lambda _: None)


@pytest.fixture
def patient(tmp_path):
    """Return a function that makes a `Patient` of the text of a pipeline."""
    from .coaching import Patient

    return lambda text: Patient(tmp_path, text)


class MypyCache:
    """What mypy remembers of torch, which it needs most of a minute for, shared by all tests and processes of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def options(self) -> Iterator[list[str]]:
        """Yield options of mypy; one process at a time."""
        with locked(self._folder.with_name("mypy.lock")):
            yield ["--strict", "--cache-dir", str(self._folder)]


@pytest.fixture(scope="session")
def mypy_cache(tmp_path_factory) -> MypyCache:
    """Let mypy remember what it knows of torch."""
    base = tmp_path_factory.getbasetemp()
    return MypyCache((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "mypy")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; tests that want it are skipped where there is none."""
    folder = Path(os.environ.get("DLPIPE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data sets are not at {folder}; set DLPIPE_TEST_DATA to their folder")
    return folder
