"""The command ``predict``: items, options, messages and exit codes."""

from __future__ import annotations

import csv
import io
import itertools
import json
import sys

import pytest
from click.testing import CliRunner

from dlpipe.cli import make_program
from dlpipe.commands.answers import on_standard_output
from dlpipe.commands.predict import _write
from dlpipe.data import FailedItem
from dlpipe.errors import InputError
from dlpipe.registry.loading import load_plugins
from dlpipe.runs.folder import STATUS
from dlpipe.runs.streams import unfailing


@pytest.fixture
def dlpipe(toy_run, tmp_path, monkeypatch):
    """Ask an untrained run about items; return exit code, lines of output, and of messages."""
    monkeypatch.chdir(tmp_path)
    folder = toy_run("line").run

    def dlpipe(*arguments, stdin=None):
        given = ["predict", str(folder), "--allow-local-plugins", *map(str, arguments)]
        registry = load_plugins()
        done = CliRunner().invoke(make_program(registry), given, input=stdin, obj=registry)
        code = getattr(done.exception, "exit_code", done.exit_code) if done.exception else done.exit_code
        error = [] if done.exception is None or isinstance(done.exception, SystemExit) else [str(done.exception)]
        return code, done.stdout.splitlines(), done.stderr.splitlines() + error

    return dlpipe


def test_one_bad_item_is_one_line_and_the_others_are_answered(dlpipe):
    code, answers, messages = dlpipe("1 2", "bad", "3")

    assert code == 1
    assert [line for line in answers if line.startswith("item")] == ["item: 1 2", "item: 3"]
    assert messages == ["item 2: 'bad': expected numbers from 1 to 9", "1 of 3 items could not be used"]


def test_lines_of_json_correspond_to_the_items(dlpipe):
    code, answers, messages = dlpipe("--json", "-", stdin="1 2\nbad\n3\n")

    found = [json.loads(line) for line in answers]
    assert code == 1
    assert [each["item"] for each in found] == ["1 2", "bad", "3"]
    assert found[1] == {"item": "bad", "error": "'bad': expected numbers from 1 to 9"}
    assert messages[0].startswith("line 2: 'bad'")


def searched(trained, target, values):
    """Answer every item twice, except one that is bad."""
    for item in values["items"]:
        if item == "bad":
            yield FailedItem(item, item, InputError("bad cannot be read"))
        else:
            yield from ({"item": item, "place": place} for place in (1, 2))


@pytest.fixture
def application(monkeypatch):
    monkeypatch.setattr("dlpipe.commands.predict.application_of", lambda stage: "dlpipe_audio.search:search")
    monkeypatch.setattr("dlpipe.engine.inference.apply", searched)


def test_a_bad_item_of_an_application_is_a_line_of_json_among_the_answers_of_others(application, dlpipe):
    code, answers, messages = dlpipe("--json", "a", "bad", "b")

    assert code == 1
    assert [json.loads(line) for line in answers] == [
        {"item": "a", "place": 1},
        {"item": "a", "place": 2},
        {"item": "bad", "error": "bad cannot be read"},
        {"item": "b", "place": 1},
        {"item": "b", "place": 2},
    ]
    assert messages == ["bad cannot be read", "1 item could not be used"]


def test_a_line_that_is_no_text_is_a_bad_item_of_an_application(application, dlpipe, tmp_path):
    (tmp_path / "items.txt").write_bytes(b"a\n\xff\n")
    (tmp_path / "none.txt").write_bytes(b"\xff\n")

    code, answers, messages = dlpipe("--csv", "--file", "items.txt")
    alone = dlpipe("--json", "--file", "none.txt")

    reason = "byte 1 of the line, 0xff, is not UTF-8 text; convert the file to UTF-8"
    assert code == 1
    assert answers == ["item,place,error", f'\\xff,,"{reason}"', "a,1,", "a,2,"]
    assert messages == [f"items.txt:2: {reason}", "1 item could not be used"]
    assert alone[0] == 1
    assert [json.loads(line)["item"] for line in alone[1]] == ["\\xff"]


def test_answers_that_nobody_reads_any_more_are_not_computed(monkeypatch):
    class Closed(io.StringIO):
        def flush(self):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", unfailing(Closed(), BrokenPipeError))
    answers = ({"label": str(number)} for number in itertools.count())

    _write(answers, on_standard_output("json"), debug=False, one_each=True)

    assert next(answers) == {"label": "1"}


def test_a_table_goes_to_a_new_file_and_nothing_to_standard_output(dlpipe, tmp_path):
    (tmp_path / "items.txt").write_text("1 2\nbad\n3\n")

    code, answers, _ = dlpipe("--file", "items.txt", "--output", "answers.csv")
    again = dlpipe("3", "--output", "answers.csv")

    with (tmp_path / "answers.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert (code, answers) == (1, [])
    assert list(rows[0]) == ["item", "label", "error"]
    assert [row["item"] for row in rows] == ["1 2", "bad", "3"]
    assert again[0] == 2
    assert "answers.csv exists; remove it, or choose another name with --output FILE" in again[2][-1]


def test_a_table_on_standard_output_is_csv(dlpipe):
    code, answers, _ = dlpipe("1 2", "--csv")

    assert code == 0
    assert answers[0] == "item,label,error"
    assert answers[1].startswith("1 2,")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["1", "--json", "--csv"], "--json cannot be combined with --csv; give one of the two"),
        (["1", "--csv", "--output", "a.csv"], "--csv cannot be combined with --output a.csv; give one of the two"),
        (["1", "--output", "a.png"], "--output a.png: expected a name that ends in .csv or .jsonl"),
        (["1", "--file", "x"], "1: items cannot be combined with --file x"),
        (["1", "--top", "1"], 'use = "toy.words": the answers of this data are no classes'),
        (["--file", "no.txt"], "no.txt cannot be read as text: No such file or directory"),
        ([], "standard input is empty; expected items, one per line"),
        (["1", "--checkpoint", "77"], 'checkpoint "77": expected best, last or one of the steps'),
    ],
)
def test_wrong_input_is_refused(dlpipe, arguments, message):
    code, answers, messages = dlpipe(*arguments, stdin="")

    assert (code, answers) == (2, [])
    assert message in messages[-1]


def test_the_checkpoint_of_an_unfinished_run_is_named(dlpipe, toy_run, tmp_path):
    status = toy_run("line").run / STATUS
    finished = status.read_text()
    status.write_text(json.dumps({"state": "interrupted"}))

    code, _, messages = dlpipe("1 2")

    status.write_text(finished)
    assert code == 0
    assert messages[0].endswith("has not finished (interrupted); its checkpoint step-00000001 is used")
