"""Run dlpipe, as the program ``dlpipe`` or as ``python -m dlpipe``.

Signals are handled before anything else is imported: an exception in the middle of an import can end in a traceback,
or in an abort inside torch.
"""

import contextlib
import importlib
import os
import signal
from types import FrameType

from dlpipe.garbage_collection import collect_rarely
from dlpipe.runs.stop_signals import INTERRUPTED, PREEMPTED, STOP_SIGNALS


def main() -> None:
    """Run the program and exit with its exit code."""
    for number in STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as in a background job
            signal.signal(number, _stop)
    collect_rarely()
    importlib.import_module("dlpipe.spinning").observe()
    importlib.import_module("dlpipe.cli").main()


def _stop(number: int, frame: FrameType | None) -> None:
    """End the process at once: nothing is lost, since a run in progress has handlers of its own."""
    with contextlib.suppress(OSError):
        os.write(
            2,
            b"interrupted\n" if number == signal.SIGINT else b"stopped by %s\n" % signal.Signals(number).name.encode(),
        )
    os._exit(INTERRUPTED if number == signal.SIGINT else PREEMPTED)


if __name__ == "__main__":
    main()
