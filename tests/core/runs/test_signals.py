import os
import signal
import threading

import pytest

from dlpipe.errors import Interrupted, Preempted
from dlpipe.runs.signals import StopSignals

CAUGHT = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2]


def handlers():
    return [signal.getsignal(number) for number in CAUGHT]


@pytest.mark.parametrize("number", CAUGHT)
def test_a_signal_is_noticed_and_nothing_else_happens(number):
    notices = []

    with StopSignals(notices.append) as signals:
        assert signals.received == ""
        os.kill(os.getpid(), number)

    assert signals.received == number.name
    assert signals.interrupted == (number is signal.SIGINT)
    assert notices == [f"{number.name}: saving a checkpoint after this step; a second one stops at once"]


@pytest.fixture
def keyboard():
    """Ctrl-C as in a terminal; a process in the background may have been started with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("keyboard")
def test_a_second_interruption_ends_the_program():
    with StopSignals() as signals, pytest.raises(KeyboardInterrupt):  # noqa: PT012  the first must be harmless
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.received == "SIGINT"
        os.kill(os.getpid(), signal.SIGINT)


def test_after_the_first_signal_all_have_their_old_meaning():
    before = handlers()

    with StopSignals():
        assert handlers() != before
        os.kill(os.getpid(), signal.SIGUSR1)
        assert handlers() == before


def test_afterwards_signals_have_their_old_meaning():
    before = handlers()

    with pytest.raises(ValueError, match="whatever"), StopSignals():
        raise ValueError("whatever")

    assert handlers() == before


def test_a_notice_that_meets_a_stream_in_use_does_no_harm():
    def notice(message):
        raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stderr>'>")

    with StopSignals(notice) as signals:
        os.kill(os.getpid(), signal.SIGTERM)

    assert signals.received == "SIGTERM"


def test_outside_the_main_thread_nothing_happens():
    before, inside = handlers(), []

    def work():
        with StopSignals():
            inside.append(handlers())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert inside == [before]


def test_where_nothing_has_to_be_saved_the_signal_has_its_usual_effect_after_the_notice():
    happened = []
    before = signal.signal(signal.SIGUSR2, lambda number, frame: happened.append("usual effect"))
    try:
        with StopSignals(at_once=happened.append):
            os.kill(os.getpid(), signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR2, before)

    assert happened == ["SIGUSR2", "usual effect"]


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, Interrupted), (signal.SIGTERM, Preempted)])
def test_where_a_signal_is_ignored_the_first_ends_the_program_with_the_exit_code_of_its_error(
    number, error, monkeypatch
):
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with StopSignals(at_once=lambda name: None):
            os.kill(os.getpid(), number)
    finally:
        signal.signal(number, before)

    assert codes == [error.exit_code]


def test_while_deferring_a_signal_waits():
    happened = []

    with StopSignals(at_once=happened.append) as signals, signals.deferring():
        os.kill(os.getpid(), signal.SIGUSR2)

    assert (signals.received, happened) == ("SIGUSR2", [])
    with pytest.raises(Preempted, match="^stopped by SIGUSR2 after step 5$"):
        signals.check(" after step 5")


def test_after_an_error_while_deferring_a_signal_no_longer_waits():
    happened = []
    before = signal.signal(signal.SIGUSR2, lambda number, frame: None)
    try:
        with StopSignals(at_once=happened.append) as signals:
            with pytest.raises(ValueError, match="^training failed$"), signals.deferring():
                raise ValueError("training failed")
            os.kill(os.getpid(), signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR2, before)

    assert happened == ["SIGUSR2"]


def test_a_forked_process_leaves_the_decision_to_its_parent():
    with StopSignals() as signals:
        if not (child := os.fork()):
            os.kill(os.getpid(), signal.SIGUSR1)
            os._exit(bool(signals.received))
        _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
