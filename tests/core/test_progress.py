"""What takes long says how far it is."""

import io
import os
import re
import time

import pytest
from rich.console import Console

from dlpipe import progress
from dlpipe.errors import Preempted
from dlpipe.progress import Activity, Display, activity, displayed_by, stopped_by, tracked


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def display():
    """A display whose lines can be read; nothing is drawn, as no test lasts that long."""
    shown = Display(Console(file=io.StringIO()))
    with displayed_by(shown):
        yield shown


def test_items_are_passed_on_and_counted_while_they_are_used(display, clock):
    seen = []
    for item in tracked(["a", "b", "c"], "reading images"):
        clock[0] += 2
        seen.append((item, *display.lines()))

    assert seen == [
        ("a", "reading images 0/3  0:02"),
        ("b", "reading images 1/3  0.25/s, 8 s left"),
        ("c", "reading images 2/3  0.333/s, 3 s left"),
    ]
    assert display.lines() == []


def test_without_a_total_only_the_count_and_the_rate_are_shown(display, clock):
    shown = []
    for _ in tracked(iter("abc"), "reading"):
        clock[0] += 1
        shown += display.lines()

    assert shown == ["reading  0:01", "reading 1  0.5/s", "reading 2  0.667/s"]


def test_bytes_have_units(clock):
    download = Activity("downloading cifar.tar.gz", 170_000_000, "bytes")
    download.done = 34_000_000
    clock[0] += 10

    assert download.counts() == "downloading cifar.tar.gz 34 MB/170 MB"
    assert download.pace() == "3.4 MB/s, 40 s left"


def test_time_can_end_it(clock):
    assert Activity("step", position=lambda: 5, left=lambda: 3700.0).pace() == "1 h 1 min left"
    assert Activity("step", position=lambda: 5, left=lambda: 200.0).pace() == "3 min 20 s left"


def test_what_is_within_another_is_shown_after_it_until_it_ends(display):
    with activity("evaluating on test: slots"):
        for _ in tracked(range(2), "batches"):
            inner = display.lines()
        outer = display.lines()

    assert inner == ["evaluating on test: slots  0:00", inner[1]]
    assert inner[1].startswith("batches 1/2")
    assert outer == ["evaluating on test: slots  0:00"]


def test_the_next_phase_takes_the_place_of_all_that_is_shown_and_its_clock_starts_again(display, clock):
    display.replace(Activity("testing the checkpoint of step 5"))
    with activity("evaluating on test: slots"):
        clock[0] += 3725
        before = display.lines()
        display.replace(Activity("drawing the figures of slots"))
    clock[0] += 65

    assert before == ["testing the checkpoint of step 5  1:02:05", "evaluating on test: slots  1:02:05"]
    assert display.lines() == ["drawing the figures of slots  1:05"]
    display.stop()


def test_on_a_terminal_what_counts_nothing_moves_with_the_time(monkeypatch, clock):
    monkeypatch.setattr(progress, "AFTER", 0.01)
    monkeypatch.setattr(progress, "REDRAW", 0.01)
    out = io.StringIO()

    display = Display(Console(file=out, force_terminal=True, width=80, color_system=None))
    with displayed_by(display), activity("comparing with the baseline core.logistic_regression"):
        for seconds in (0, 1, 2):
            ends = time.perf_counter() + 10
            while f"core.logistic_regression 0:0{seconds}" not in out.getvalue():
                assert time.perf_counter() < ends
                time.sleep(0.001)
            clock[0] += 1


def test_what_is_counted_stops_before_the_next_item():
    seen = []

    def check():
        if len(seen) == 2:
            raise Preempted("stopped by SIGTERM")

    def work():
        for item in tracked("abcd", "episodes"):
            seen.append(item)

    with stopped_by(check), pytest.raises(Preempted, match="^stopped by SIGTERM$"):
        work()
    assert seen == ["a", "b"]
    assert list(tracked("ab", "episodes")) == ["a", "b"]  # nothing can be stopped afterwards


def test_an_error_in_the_loop_ends_what_is_shown(display):
    def fail():
        for _ in tracked(range(3), "reading"):
            raise ValueError("no picture")

    with pytest.raises(ValueError, match="no picture"):
        fail()

    assert display.lines() == []
    assert display._thread is None


def test_where_nobody_watches_there_is_a_first_line_soon_and_then_one_per_interval(monkeypatch):
    monkeypatch.setattr(progress, "FIRST", 0.01)
    out = io.StringIO()

    with displayed_by(Display(Console(file=out, width=40))):
        for _ in tracked(range(3), "reading many of the images of this data set"):
            time.sleep(0.05)

    assert re.fullmatch(r"reading many of the images of this data set \d/3.*\n", out.getvalue())


def test_what_is_quick_is_not_shown():
    out = io.StringIO()

    with displayed_by(Display(Console(file=out, force_terminal=True))):
        assert list(tracked(range(3), "reading")) == [0, 1, 2]

    assert out.getvalue() == ""


def test_what_is_shown_does_not_keep_a_process_alive_that_ends_in_the_middle(display):
    with activity("training"):
        assert display._thread.daemon


def test_a_forked_process_shows_nothing(display):
    reading, writing = os.pipe()
    with activity("training"):
        child = os.fork()
        if child == 0:
            with activity("reading"):
                os.write(writing, b"quiet" if progress._current._quiet else b"shows")
            os._exit(0)
    os.waitpid(child, 0)

    assert os.read(reading, 5) == b"quiet"


def test_an_item_costs_less_than_a_microsecond(display):
    began = time.process_time()
    for _ in tracked(range(200_000), "reading"):
        pass

    assert (time.process_time() - began) / 200_000 < 1e-6
