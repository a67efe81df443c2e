"""The time slice of a thread: read, set and inherited where the system has one, and otherwise nothing."""

from __future__ import annotations

import platform
import subprocess
import sys
import threading

import pytest

from dlpipe import time_slice

needs_slices = pytest.mark.skipif(
    time_slice.time_slice() is None, reason="this system does not say how long a time slice is"
)


def in_a_thread(function, *arguments):
    """Return the result of a call in a new thread, which keeps its time slice."""
    found = []
    thread = threading.Thread(target=lambda: found.append(function(*arguments)))
    thread.start()
    thread.join()
    return found[0]


@needs_slices
def test_threads_and_processes_have_the_time_slice_of_the_thread_that_starts_them():
    program = "from dlpipe.time_slice import time_slice; print(time_slice())"

    def found():
        time_slice.set_time_slice(5e-4)
        started = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        return time_slice.time_slice(), in_a_thread(time_slice.time_slice), float(started.stdout)

    before = time_slice.time_slice()
    assert before != 5e-4
    assert in_a_thread(found) == (5e-4, 5e-4, 5e-4)
    assert time_slice.time_slice() == before


@pytest.mark.parametrize(
    ("module", "name", "value"), [(sys, "platform", "darwin"), (platform, "machine", lambda: "s390x")]
)
def test_other_systems_do_not_say_and_nothing_is_set(monkeypatch, module, name, value):
    monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(time_slice.ctypes, "CDLL", None)

    time_slice.set_time_slice(5e-4)

    assert time_slice.time_slice() is None
