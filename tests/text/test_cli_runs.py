"""The command line as users and batch jobs see it: texts, signals and exit codes.

Runs are real processes; what is asked about a run that is finished is asked in this one, which saves seconds each time.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dlpipe.cli import make_program
from dlpipe.errors import DataError, InputError
from dlpipe.registry.loading import load_plugins

SMALL = ["--set", "data.num_train=300", "--set", "data.num_dev=50", "--set", "data.num_test=50", "--set", "threads=1"]
WALL_CLOCK = {"time", "seconds", "steps_per_second"}


def dlpipe(*arguments, cwd, stdin=None):
    """Run the command line and return the completed process."""
    command = [sys.executable, "-m", "dlpipe", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, text=True, timeout=120, check=False)


def ask(*arguments, stdin=None) -> Result:
    """Run the command line in this process and the current folder; what it raises is left to `refused`."""
    registry = load_plugins()
    return CliRunner().invoke(make_program(registry), list(map(str, arguments)), input=stdin, obj=registry)


def refused(done: Result) -> str:
    """Return the message of an answer to wrong input."""
    assert isinstance(done.exception, InputError | DataError), done.output
    assert done.exception.exit_code == 2
    return str(done.exception)


@pytest.fixture
def in_trained(trained, monkeypatch):
    """The folder with a finished run is the current one."""
    monkeypatch.chdir(trained)
    return trained


@pytest.fixture(scope="module")
def pipeline_file(root) -> Path:
    return root / "pipelines" / "slot_filling.toml"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, pipeline_file):
    """A folder with a small finished run in it."""
    folder = tmp_path_factory.mktemp("trained")
    done = dlpipe("run", pipeline_file, *SMALL, "--set", "trainer.epochs=2", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "finished"
    return folder


LATEST = "runs/slot-filling/latest"


def test_a_run_reports_in_plain_lines_and_suggests_the_next_commands(tmp_path, pipeline_file):
    done = dlpipe("run", pipeline_file, *SMALL, "--fast", cwd=tmp_path)

    assert done.returncode == 0
    assert done.stdout == ""
    assert re.search(r"^run runs/slot-filling/\d{4}-", done.stderr)
    look = re.search(r"  look at it:   (runs/slot-filling/\S+/report\.html)", done.stderr)
    assert (tmp_path / look[1]).is_file()
    assert "  improve it:   dlpipe coach runs/slot-filling/" in done.stderr
    assert "  use it:       dlpipe predict runs/slot-filling/" in done.stderr
    assert list((tmp_path / LATEST).glob("events.out.tfevents*"))


def test_predict_prints_tokens_with_labels(in_trained):
    done = ask("predict", LATEST, "I want to leave Taipei on November 2nd")

    assert done.exit_code == 0
    item, *rows = [line.split() for line in done.stdout.splitlines() if not line.startswith("unknown")]
    assert item[0] == "item:"
    assert [row[0] for row in rows] == ["i", "want", "to", "leave", "taipei", "on", "november", "2nd"]
    assert all(len(row) == 2 for row in rows)


def test_predict_reads_lines_and_writes_json(in_trained):
    (in_trained / "sentences.txt").write_text("leave taipei\nto grumbleton\n")

    from_file = ask("predict", LATEST, "--file", "sentences.txt", "--json")
    from_stdin = ask("predict", LATEST, "-", "--json", stdin="leave taipei\nto grumbleton\n")

    answers = [json.loads(line) for line in from_file.stdout.splitlines()]
    assert [answer["tokens"] for answer in answers] == [["leave", "taipei"], ["to", "grumbleton"]]
    assert answers[1]["unknown"] == ["grumbleton"]
    assert from_stdin.stdout == from_file.stdout


def test_predict_accepts_ten_thousand_characters(in_trained):
    done = ask("predict", LATEST, "leave taipei " * 770, "--json")

    assert done.exit_code == 0
    assert len(json.loads(done.stdout)["labels"]) == 2 * 770


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        ([LATEST, "-"], "", r"standard input is empty; expected items, one per line"),
        ([LATEST, "--file", "nothing.txt"], None, r"nothing.txt cannot be read as text: No such file"),
        (
            [LATEST, "--file", "binary"],
            None,
            r"binary cannot be read as text: line 1 has a NUL byte; expected UTF-8 text",
        ),
        (
            [LATEST, "hello", "--file", "binary"],
            None,
            r"hello: items cannot be combined with --file binary; give one of the two",
        ),
        (["runs/other", "hello"], None, r"runs/other: there is no such run folder"),
    ],
)
def test_invalid_input_to_predict_is_refused(in_trained, arguments, stdin, message):
    (in_trained / "binary").write_bytes(b"\xff\xfe\x00\x01")

    done = ask("predict", *arguments, stdin=stdin)

    assert re.search(message, refused(done))


def test_evaluate_prints_nested_json(in_trained):
    done = ask("evaluate", LATEST, "--split", "dev", "--json")

    metrics = json.loads(done.stdout)
    assert set(metrics["slots"]) == {"f1", "precision", "recall", "token_accuracy"}


def test_a_finished_run_has_nothing_to_resume(in_trained):
    done = ask("resume", LATEST, "--json")

    assert done.exit_code == 0
    assert json.loads(done.stdout)["state"] == "finished"
    assert "is finished; to train longer: dlpipe resume" in done.stderr


def started(folder, pipeline_file, *options):
    """Start a run and wait until it has taken its first steps."""
    command = [sys.executable, "-m", "dlpipe", "run", str(pipeline_file), *SMALL, *options]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if re.search(r"epoch +1 ", line):  # the first evaluation: there is a checkpoint now
            return process
    pytest.fail("the run ended before its first evaluation")


def metrics_of(folder):
    records = [json.loads(line) for line in (folder / LATEST / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in record.items() if key not in WALL_CLOCK} for record in records]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, pipeline_file):
    """A run that was not interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    assert dlpipe("run", pipeline_file, *SMALL, "--set", "trainer.epochs=10", cwd=folder).returncode == 0
    return folder


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [
        (signal.SIGTERM, 75, "stopped by SIGTERM after step"),
        pytest.param(signal.SIGUSR1, 75, "stopped by SIGUSR1 after step", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 130, "stopped by SIGINT after step", marks=pytest.mark.slow),
        (signal.SIGKILL, -signal.SIGKILL, ""),
    ],
)
def test_a_resumed_run_ends_as_if_it_had_not_been_stopped(tmp_path, pipeline_file, whole, number, code, message):
    process = started(tmp_path, pipeline_file, "--set", "trainer.epochs=10")
    os.kill(process.pid, number)
    told = process.communicate(timeout=60)[1]

    assert process.returncode == code
    assert message in told
    assert not message or "resume it with: dlpipe resume runs/slot-filling/" in told
    assert "Traceback" not in told

    resumed = dlpipe("resume", LATEST, "--json", cwd=tmp_path)

    assert resumed.returncode == 0, resumed.stderr
    outcome = json.loads(resumed.stdout)
    assert (Path(outcome["run"]).parent.name, outcome["state"]) == ("slot-filling", "finished")
    assert metrics_of(tmp_path) == metrics_of(whole)
    last = Path(LATEST) / "checkpoints" / "last" / "weights.safetensors"
    assert (tmp_path / last).read_bytes() == (whole / last).read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"train.iob.*empty"),
        (b"leave taipei now\n\n", r"train.iob:1"),
        (b"leave taipei now\tO B-from\n", r"train.iob:1.*3 words.*2 tags"),
        (b"\x7fELF\x00\x01\x02\xff\xfe" * 50, r"train.iob"),
        (b"go " * 100_000 + b"\t" + b"O " * 100_000 + b"\n", r"train.iob:1.*100,?000"),
    ],
)
def test_invalid_data_is_refused(tmp_path, monkeypatch, pipeline_file, content, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.iob").write_bytes(content)

    done = ask("run", pipeline_file, "--set", "data.use=text.iob", "--set", "data.path=.")

    assert re.search(message, refused(done))


def test_debug_shows_the_traceback_of_an_error(tmp_path, pipeline_file):
    done = dlpipe("--debug", "run", pipeline_file, "--set", "data.use=text.iob", cwd=tmp_path)

    assert done.returncode == 2
    assert "Traceback" in done.stderr
