"""How long Linux lets a thread have its core before it may give it to another one: its time slice.

Threads share a core equally whatever their slices are, but one with a short slice gets it soon after it is woken, for
less time (sched_setattr(2); Documentation/scheduler/sched-eevdf.rst of Linux 6.12, which is the first that has it).
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys

#: The numbers of the system calls sched_setattr and sched_getattr, by machine.
_SET = {"x86_64": 314, "aarch64": 274}
_GET = {"x86_64": 315, "aarch64": 275}


class _Attributes(ctypes.Structure):
    """The first version of ``struct sched_attr``; `runtime` is the time slice in nanoseconds."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def time_slice() -> float | None:
    """Return the time slice of this thread in seconds; None if the system does not say."""
    found = _attributes()
    return found.runtime / 1e9 if found and found.runtime else None


def set_time_slice(seconds: float) -> None:
    """Set the time slice of this thread and of those that it will start, where the system lets it."""
    attributes = _attributes()
    if attributes and attributes.policy in (os.SCHED_OTHER, os.SCHED_BATCH):
        attributes.runtime = round(seconds * 1e9)
        ctypes.CDLL(None).syscall(_SET[platform.machine()], 0, ctypes.byref(attributes), 0)


def _attributes() -> _Attributes | None:
    """Return how Linux schedules this thread; None on other systems, and where it does not say."""
    if sys.platform != "linux" or platform.machine() not in _GET:
        return None
    found = _Attributes()
    size = ctypes.sizeof(found)
    failed = ctypes.CDLL(None).syscall(_GET[platform.machine()], 0, ctypes.byref(found), size, 0)
    return None if failed else found
