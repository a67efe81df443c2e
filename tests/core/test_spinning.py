"""On a busy machine, threads of torch spin less: what counts as busy, and that the limit is set in time."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from dlpipe import spinning

#: Ticks of two CPUs: user, nice, system, idle, iowait, irq, softirq, steal, guest.
COLUMNS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest")
PIPELINE = """
name = "busy"
[data]
use = "text.flights"
num_train = 40
[model]
use = "text.rnn_tagger"
hidden_dim = 4
[trainer]
use = "core.supervised"
steps = 1
[evaluators.slots]
use = "text.slot_f1"
"""


@pytest.fixture
def limit(monkeypatch, tmp_path):
    """Return a function that says what is set in the environment after a second with these ticks on four CPUs."""
    moment = {"own": 1.0, "clock": 10.0, "priority": 0}
    monkeypatch.setattr(spinning, "_STATISTICS", tmp_path / "stat")
    monkeypatch.setattr(spinning, "_first", None)
    monkeypatch.setattr(spinning, "usable_cores", lambda: 2)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 3}, raising=False)
    monkeypatch.setattr(os, "sysconf", lambda _: 100)
    monkeypatch.setattr(os, "getpriority", lambda *_: moment["priority"])
    monkeypatch.setattr(spinning.time, "process_time", lambda: moment["own"])
    monkeypatch.setattr(spinning.time, "monotonic", lambda: moment["clock"])

    def write(ticks):
        lines = [
            f"cpu{number} {' '.join(str(ticks.get((number, name), 0)) for name in COLUMNS)}" for number in range(4)
        ]
        (tmp_path / "stat").write_text("\n".join(["cpu 1 2 3", *lines, "intr 7", ""]))

    def limited(ticks, threads=None, environment=(), priority=0):
        moment["priority"] = priority
        write({(1, "user"): 500})
        spinning.observe()
        moment.update(own=moment["own"] + 0.5, clock=moment["clock"] + 1)
        write({(1, "user"): 550} | {key: value + 550 * (key == (1, "user")) for key, value in ticks.items()})
        found = dict(environment)
        spinning.limit_spinning(threads, found)
        return found

    return limited


@pytest.mark.parametrize(
    ("ticks", "threads", "limited"),
    [
        ({}, None, False),
        ({(3, "user"): 45}, None, False),
        ({(3, "user"): 55}, None, True),
        ({(1, "user"): 45, (3, "user"): 45}, 1, False),
        ({(1, "user"): 50, (3, "user"): 105}, 1, True),
        ({(0, "user"): 100, (2, "user"): 100}, None, False),
        ({(3, "nice"): 100, (3, "idle"): 100, (3, "iowait"): 100, (3, "guest"): 100}, None, False),
        *(({(3, name): 60}, None, True) for name in ("system", "irq", "softirq", "steal")),
    ],
)
def test_a_limit_is_set_if_others_need_the_cores_of_the_threads(limit, ticks, threads, limited):
    assert limit(ticks, threads) == ({"GOMP_SPINCOUNT": "1000"} if limited else {})


def test_others_of_a_low_priority_count_if_that_of_the_run_is_low(limit):
    assert limit({(3, "nice"): 100}) == {}
    assert limit({(3, "nice"): 100}, priority=10) == {"GOMP_SPINCOUNT": "1000"}


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_what_the_user_has_set_is_obeyed(limit, name):
    assert limit({(3, "user"): 100}, environment={name: "x"}) == {name: "x"}


def test_processes_that_train_together_are_no_other_programs(limit):
    several = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}

    assert limit({(3, "user"): 100}, environment=several) == several
    assert "GOMP_SPINCOUNT" in limit({(3, "user"): 100}, environment=several | {"WORLD_SIZE": "1", "RANK": "0"})


def test_nothing_is_set_after_the_import_of_torch_or_without_a_first_look_or_where_it_is_not_known(
    limit, monkeypatch, tmp_path
):
    busy = {(3, "user"): 100}
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)
        assert limit(busy) == {}
    assert limit(busy) == {"GOMP_SPINCOUNT": "1000"}

    monkeypatch.setattr(spinning, "_first", None)
    spinning.limit_spinning(None, found := {})
    assert found == {}

    monkeypatch.setattr(spinning, "_STATISTICS", tmp_path / "missing")
    spinning.observe()
    spinning.limit_spinning(None, found)
    assert found == {}


@pytest.mark.skipif(sys.platform != "linux", reason="libgomp is the OpenMP of torch on Linux")
@pytest.mark.parametrize("command", ["run", "resume"])
def test_the_limit_of_a_run_is_set_before_torch_is_loaded_and_recorded(tmp_path, command):
    (tmp_path / "busy.toml").write_text(PIPELINE)
    program = (
        "import sys; from dlpipe import spinning; from dlpipe.__main__ import main; "
        "spinning._moment = iter([(0.0, 0.0), (9.0, 1.0)]).__next__; main()"
    )
    environment = {name: value for name, value in os.environ.items() if name not in spinning.VARIABLES}

    def dlpipe(*arguments):
        started = [sys.executable, "-c", program, *arguments]
        shown = environment | {"OMP_DISPLAY_ENV": "verbose"}
        return subprocess.run(started, cwd=tmp_path, env=shown, capture_output=True, text=True, check=True)

    done = dlpipe("run", "busy.toml", "--no-rehearsal")
    if command == "resume":
        done = dlpipe("resume", "runs/busy/latest", "--set", "trainer.steps=2")

    assert "GOMP_SPINCOUNT = '1000'" in done.stderr
    recorded = json.loads((tmp_path / "runs/busy/latest/provenance.json").read_text())
    assert recorded["openmp"]["GOMP_SPINCOUNT"] == "1000"
