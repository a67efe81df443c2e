import io
import re

import pytest
from rich.console import Console

from dlpipe.training import progress
from dlpipe.training.progress import Progress

METRICS = {"train/loss": 0.123456, "train/lr": 0.001}


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def plain():
    """Return a console that is no terminal, and what is written to it."""
    out = io.StringIO()
    return Console(file=out, soft_wrap=True, width=80), out


def terminal():
    out = io.StringIO()
    return Console(file=out, force_terminal=True, width=120, color_system=None), out


def log_lines(path):
    """Return the lines of a log without their times."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in lines)
    return [line[20:] for line in lines]


def test_messages_are_shown_and_logged(tmp_path):
    console, out = plain()

    with Progress(tmp_path / "log.txt", console) as shown:
        shown.message("run runs/slots")
        shown.warning("the checkpoint [of step 5] is damaged :car:")

    expected = ["run runs/slots", "warning: the checkpoint [of step 5] is damaged :car:"]
    assert out.getvalue().splitlines() == expected
    assert log_lines(tmp_path / "log.txt") == expected


def test_a_long_line_is_one_line_where_nobody_watches():
    console, out = plain()

    Progress(None, console).message("x" * 500)

    assert out.getvalue() == "x" * 500 + "\n"


def test_log_points_are_plain_lines_now_and_then_and_all_in_the_log(tmp_path, clock):
    console, out = plain()

    with Progress(tmp_path / "log.txt", console) as shown:
        shown.start(0, 200)
        for step in (50, 100, 150):
            clock[0] += 6
            shown.logged(step, METRICS, 2.0)

    assert out.getvalue() == "step 100/200  loss 0.1235 lr 0.001  2 steps/s, 50 s left\n"
    assert [line for line in log_lines(tmp_path / "log.txt") if line.startswith("  ")] == [
        f"  step {step} loss 0.1235 lr 0.001 2.0 steps/s" for step in (50, 100, 150)
    ]


@pytest.mark.parametrize(
    ("total", "rate", "end"),
    [
        (None, 2.0, "step 5  loss 0.1235 lr 0.001  2 steps/s"),
        (1000, 1.0, "step 5/1000  loss 0.1235 lr 0.001  1 steps/s, 16 min 35 s left"),
        (1000, 0.0, "step 5/1000  loss 0.1235 lr 0.001  0 steps/s"),
    ],
)
def test_a_plain_line_says_what_is_left_where_that_is_known(clock, total, rate, end):
    console, out = plain()
    shown = Progress(None, console)
    shown.start(0, total)
    clock[0] += 11

    shown.logged(5, METRICS, rate)

    assert out.getvalue().strip() == end


@pytest.mark.parametrize(
    ("step", "epoch", "better", "line"),
    [
        (40, 2.0, True, "  epoch 2  dev slots/f1 0.95 slots/loss 0.25  *"),
        (30, 1.5, False, "epoch 1.5  dev slots/f1 0.95 slots/loss 0.25"),
        (40, 0.0, False, "  step 40  dev slots/f1 0.95 slots/loss 0.25"),
    ],
)
def test_an_evaluation_is_one_line(tmp_path, step, epoch, better, line):
    console, out = plain()

    Progress(tmp_path / "log.txt", console).evaluated(
        step, epoch, {"dev/slots/f1": 0.95, "dev/slots/loss": 0.25}, "dev/slots/f1", better
    )

    assert out.getvalue() == line + "\n"
    assert log_lines(tmp_path / "log.txt") == [line]


def test_a_terminal_has_a_live_bar(tmp_path):
    console, out = terminal()

    with Progress(tmp_path / "log.txt", console) as shown:
        shown.start(20, 200)
        shown.evaluated(40, 1.0, {"dev/slots/f1": 0.95}, "dev/slots/f1", True)
        shown.logged(50, METRICS, 120.0)
        shown._bar.refresh()

    assert "50/200" in out.getvalue()
    assert "loss 0.1235 lr 0.001 120/s best 0.9500" in out.getvalue()
    assert "dev slots/f1 0.95  *" in out.getvalue()
    assert len(log_lines(tmp_path / "log.txt")) == 2


def test_the_bar_is_gone_when_the_context_is_left():
    console, _ = terminal()

    with Progress(None, console) as shown:
        shown.start(0, 200)
        assert shown._bar is not None

    assert shown._bar is None
    shown.stop()  # a second time does no harm


def test_without_a_terminal_there_is_no_bar():
    console, out = plain()

    with Progress(None, console) as shown:
        shown.start(0, 200)

    assert out.getvalue() == ""


def test_standard_output_stays_clean(capsys):
    Progress(None).message("run runs/slots")

    assert capsys.readouterr() == ("", "run runs/slots\n")
