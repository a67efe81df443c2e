import os
import signal
import threading

import pytest

from dlpipe.runs.signals import StopSignals

CAUGHT = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]


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
