import io
import re
import time

import pytest
from rich.console import Console

from dlpipe import progress
from dlpipe.training.progress import Progress

METRICS = {"train/loss": 0.123456, "train/lr": 0.001}


def wait_for(condition):
    """Wait until the thread that draws has done its part."""
    ends = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.005)


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


def test_what_the_log_of_a_resumed_run_has_is_shown_again_and_not_logged_again(tmp_path):
    file = tmp_path / "log.txt"
    for _ in range(2):
        console, out = plain()
        with Progress(file, console) as shown:
            shown.message("mine.points: train 7", once=True, aside=";  ready in 0.1 s")
            shown.warning("odd")
            shown.message("resuming after step 5")

        assert out.getvalue().splitlines() == [
            "mine.points: train 7;  ready in 0.1 s",
            "warning: odd",
            "resuming after step 5",
        ]

    once = ["mine.points: train 7", "warning: odd"]
    assert log_lines(file) == [*once, "resuming after step 5", "resuming after step 5"]


def test_a_phase_is_shown_and_known_until_the_next_one(monkeypatch):
    monkeypatch.setattr(progress, "FIRST", 0.01)
    console, out = plain()

    with Progress(None, console) as shown:
        assert shown.doing == "preparing the run"
        shown.phase("building the data", "tune")
        wait_for(lambda: out.getvalue())
        assert shown.doing == "building the data of stage tune"
        shown.start(lambda: 5, 10)
        assert shown.doing == "training"
        shown.phase("drawing the curves")
        assert shown.doing == "drawing the curves"

    assert re.match(r"building the data of stage tune  0:0\d\n", out.getvalue())


def test_a_long_line_is_one_line_where_nobody_watches():
    console, out = plain()

    Progress(None, console).message("x" * 500)

    assert out.getvalue() == "x" * 500 + "\n"


def test_log_points_are_in_the_log_once_and_in_the_lines_now_and_then(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "FIRST", 0.02)
    console, out = plain()
    step = [0]

    with Progress(tmp_path / "log.txt", console) as shown:
        shown.start(lambda: step[0], 200, stage="tune (2 of 3)", memory=lambda: 1_200_000_000)
        for step[0] in (50, 100):
            shown.logged(step[0], METRICS, 2.0)
        shown.evaluated(100, 0.0, {}, {"dev/slots/f1": 0.5}, "dev/slots/f1", True)
        wait_for(lambda: "1.2 GB" in out.getvalue())

    line = out.getvalue().splitlines()[-1]
    assert re.fullmatch(
        r"stage tune \(2 of 3\): step 100/200  \S+/s, \d+ s left  best 0.5000  1.2 GB  loss 0.1235 lr 0.001", line
    )
    assert log_lines(tmp_path / "log.txt") == [
        *(f"  step {number} loss 0.1235 lr 0.001 2.0 steps/s" for number in (50, 100)),
        " step 100  dev slots/f1 0.5  * best so far",
    ]


def test_on_a_narrow_terminal_the_numbers_of_steps_stay_whole(monkeypatch):
    monkeypatch.setattr(progress, "AFTER", 0.01)
    out = io.StringIO()

    with Progress(None, Console(file=out, force_terminal=True, width=60, color_system=None)) as shown:
        shown.start(lambda: 50, 20000)
        shown.logged(50, {f"train/loss_{number}": 0.5 for number in range(9)}, 120.0)
        wait_for(lambda: "step 50/20000 " in out.getvalue())
    assert "…" in out.getvalue()


def test_quiet_shows_warnings_and_results_only_and_logs_everything(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "FIRST", 0.001)
    console, out = plain()

    with Progress(tmp_path / "log.txt", console, quiet=True) as shown:
        shown.message("run runs/slots")
        shown.warning("odd")
        shown.start(lambda: 5, 10)
        shown.evaluated(5, 0.0, {}, {"dev/slots/f1": 0.5}, "dev/slots/f1", False)
        time.sleep(0.02)
        shown.message("test 0.5", result=True)

    assert out.getvalue().splitlines() == ["warning: odd", "test 0.5"]
    assert len(log_lines(tmp_path / "log.txt")) == 4


@pytest.mark.parametrize(
    ("step", "epoch", "better", "line"),
    [
        (40, 2.0, True, "  epoch 2  train loss 0.1235  dev slots/f1 0.95 words/loss 0.25  * best so far"),
        (30, 1.5, False, "epoch 1.5  train loss 0.1235  dev slots/f1 0.95 words/loss 0.25"),
        (40, 0.0, False, "  step 40  train loss 0.1235  dev slots/f1 0.95 words/loss 0.25"),
    ],
)
def test_an_evaluation_is_one_line_with_one_metric_of_each_evaluator(tmp_path, step, epoch, better, line):
    console, out = plain()

    Progress(tmp_path / "log.txt", console).evaluated(
        step,
        epoch,
        {"loss": 0.123456},
        {"dev/slots/f1": 0.95, "dev/slots/recall": 0.9, "dev/words/loss": 0.25},
        "dev/slots/f1",
        better,
        ["dev/slots/f1", "dev/words/loss"],
    )

    assert out.getvalue() == line + "\n"
    assert log_lines(tmp_path / "log.txt") == [line]


def test_the_mark_of_the_best_is_explained_once():
    console, out = plain()
    shown = Progress(None, console)

    for step in (1, 2):
        shown.evaluated(step, 0.0, {}, {"dev/slots/f1": 0.5}, "dev/slots/f1", True)

    assert [line[-6:] for line in out.getvalue().splitlines()] == ["so far", "0.5  *"]


def test_the_line_of_an_evaluation_has_80_columns_and_says_once_where_the_rest_is():
    console, out = plain()
    metrics = {f"dev/evaluator_{number}/accuracy": 0.5 for number in range(9)}
    shown = Progress(None, console)

    for _ in range(2):
        shown.evaluated(40, 2.0, {"loss": 0.25}, metrics, next(iter(metrics)), False, list(metrics))

    assert out.getvalue().splitlines() == [
        "  epoch 2  train loss 0.25  dev evaluator_0/accuracy 0.5  +8 in metrics.jsonl",
        "  epoch 2  train loss 0.25  dev evaluator_0/accuracy 0.5  +8",
    ]


def test_the_line_of_an_evaluation_has_something_of_each_split():
    console, out = plain()
    metrics = {f"{split}/{'slots' * 7}/f1": 0.5 for split in ("dev", "train")}

    Progress(None, console).evaluated(40, 2.0, {"d_loss": 1.5, "g_loss": 0.5}, metrics)

    line = f"  epoch 2  train d_loss 1.5  dev {'slots' * 7}/f1 0.5  +2 in metrics.jsonl"
    assert out.getvalue() == line + "\n"


def test_without_an_evaluation_the_line_has_the_train_loss_and_there_is_none_without_both():
    console, out = plain()
    shown = Progress(None, console)

    shown.evaluated(40, 2.0, {"loss": 0.25}, {})
    shown.evaluated(80, 4.0, {}, {})

    assert out.getvalue() == "  epoch 2  train loss 0.25\n"


def test_on_a_terminal_the_steps_move_without_a_log_point(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "AFTER", 0.01)
    monkeypatch.setattr(progress, "REDRAW", 0.01)
    console, out = terminal()
    step = [20]

    with Progress(tmp_path / "log.txt", console) as shown:
        shown.start(lambda: step[0], 200)
        shown.logged(50, METRICS, 120.0)
        for step[0] in (60, 70):
            wait_for(lambda: f"step {step[0]}/200" in out.getvalue())
        shown.message("a message")

    assert "loss 0.1235 lr 0.001" in out.getvalue()
    assert "a message" in out.getvalue()
    assert out.getvalue().endswith("\x1b[?25h\r\x1b[1A\x1b[2K")  # the cursor is shown, the line is gone
    shown.stop()  # a second time does no harm


def test_standard_output_stays_clean(capsys):
    Progress(None).message("run runs/slots")

    assert capsys.readouterr() == ("", "run runs/slots\n")


def test_all_metrics_of_the_test_split_are_shown_in_one_line_if_it_has_room_for_them(tmp_path):
    console, out = plain()
    metrics = {"test/slots/f1": 0.98351, "test/slots/precision": 0.5}

    Progress(None, console, quiet=True).tested(750, metrics, ["test/slots/f1"], tmp_path / "metrics.jsonl")

    assert out.getvalue() == "test (checkpoint of step 750):  slots/f1 0.9835  slots/precision 0.5000\n"


def test_of_many_metrics_of_the_test_split_the_primary_ones_are_shown_and_where_the_rest_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    console, out = plain()
    metrics = {f"test/part_{part}/{name}": 0.5 for part in range(5) for name in ("recall", "accuracy")}
    primary = {f"test/part_{part}/accuracy" for part in range(5)}

    Progress(None, console).tested(750, metrics, primary, tmp_path / "metrics.jsonl")
    Progress(None, console).tested(750, metrics, (), tmp_path / "metrics.jsonl")

    assert out.getvalue().splitlines() == [
        "test (checkpoint of step 750):  part_0/accuracy 0.5000  part_1/accuracy 0.5000",
        "  part_2/accuracy 0.5000  part_3/accuracy 0.5000  part_4/accuracy 0.5000",
        "  5 more in metrics.jsonl",
        "test (checkpoint of step 750):  part_0/recall 0.5000  part_0/accuracy 0.5000",
        "  part_1/recall 0.5000",
        "  7 more in metrics.jsonl",
    ]


@pytest.mark.parametrize(
    ("evaluator", "line"),
    [
        ("words", "  epoch 2  train loss 0.25 words/f1 1  dev words/f1 0.5  +2 in metrics.jsonl"),
        ("words" * 3, f"  epoch 2  train loss 0.25  dev {'words' * 3}/f1 0.5  +3 in metrics.jsonl"),
    ],
)
def test_the_monitored_metric_on_train_is_shown_if_it_fits(evaluator, line):
    console, out = plain()
    names = ("noise" * 6, evaluator)
    metrics = {f"{split}/{name}/f1": value for split, value in (("train", 1.0), ("dev", 0.5)) for name in names}

    Progress(None, console).evaluated(40, 2.0, {"loss": 0.25}, metrics, f"dev/{evaluator}/f1", False, sorted(metrics))

    assert out.getvalue() == line + "\n"
