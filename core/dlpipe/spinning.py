"""How long the threads of torch spin while they wait for each other.

A thread that spins keeps its core from whoever would let it go on. On an idle machine that is fastest; on a machine
whose cores others use too, it makes a run many times slower (``benchmarks/busy_machine.py``). libgomp, the OpenMP of
torch on Linux, reads its limit from the environment once, when it is loaded, so a process of the command line looks at
the machine while it starts, and sets the limit before it imports torch.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import MutableMapping
from pathlib import Path

from dlpipe.launch import launched, usable_cores

#: Variables of the environment that say how threads wait; one that the user has set is obeyed.
VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
#: How often a thread looks whether it may go on before it lets others have its core.
SPINS = 1000
#: How much of a core may be missing before the machine counts as busy: something always runs for a moment.
TOLERANCE = 0.5
_STATISTICS = Path("/proc/stat")
#: Columns of a CPU in it (proc(5)): user, system, irq, softirq and steal; and nice, for processes of a lower priority.
_BUSY, _NICE = (1, 3, 6, 7, 8), 2
_first: tuple[float, float] | None = None


def observe() -> None:
    """Begin to look at what others use of the cores of this process."""
    global _first
    _first = _moment()


def limit_spinning(threads: int | None, environment: MutableMapping[str, str] = os.environ) -> None:
    """Set a limit if the threads of a run and other programs together need more than the cores of this process.

    Without effect if `observe` was not called before, if the user has set one of `VARIABLES`, after the import of
    torch, and in one of several processes that train together: the others start with it, and are no other programs.

    Args:
        threads: of the run; one for each core if None.
    """
    now, cores = _moment(), usable_cores()
    if _first is None or now is None or "torch" in sys.modules or launched(environment).size > 1:
        return
    if any(name in environment for name in VARIABLES):
        return
    used, seconds = (after - before for after, before in zip(now, _first, strict=True))
    others = used / max(seconds, 1e-9)
    if (threads or cores) + others > cores + TOLERANCE:
        environment["GOMP_SPINCOUNT"] = str(SPINS)


def _moment() -> tuple[float, float] | None:
    """Return the seconds for which others have used the cores of this process, and the time; None if not known."""
    try:
        lines = [line.split() for line in _STATISTICS.read_text(encoding="ascii").splitlines()]
        mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        # Those of a lower priority let this process have the core, unless its own is low.
        columns = (*_BUSY, _NICE) if os.getpriority(os.PRIO_PROCESS, 0) > 0 else _BUSY
        ticks = sum(int(line[column]) for line in lines if line and line[0] in mine for column in columns)
        return ticks / os.sysconf("SC_CLK_TCK") - time.process_time(), time.monotonic()
    except (OSError, ValueError, IndexError, AttributeError):  # another system than Linux
        return None
