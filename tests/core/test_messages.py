"""The nearest known name, values as in a TOML file, short paths."""

import datetime
import json
from pathlib import Path

import pytest

from dlpipe.config.torch_names import OPTIMIZERS
from dlpipe.messages import (
    counted,
    display_width,
    nearest,
    other_separator,
    padded,
    printable,
    relative,
    shown,
    shown_end,
    shown_number,
)


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("rnn_taggr", ["rnn_tagger", "crf"], ' Did you mean "rnn_tagger"?'),
        ("xyz", ["rnn_tagger"], ""),
        ("xyz", [], ""),
        ("adma", ["adamax", "adam"], ' Did you mean "adam"?'),  # two swapped letters are one mistake
        ("adams", ["adam", "adamw"], ' Did you mean "adam"?'),  # of two equally near names, the first
        ("translation.toml", ["gan_ring.toml", "slot_filling.toml"], ""),
        ("recurrent", ["recurrent_tagger"], ' Did you mean "recurrent_tagger"?'),
        ("rec", ["recurrent_tagger"], ' Did you mean "recurrent_tagger"?'),
        ("re", ["recurrent_tagger"], ""),
        ("SGD", ["adam", "sgd"], ' Did you mean "sgd"?'),
        ("Adam", ["adamw", "adam"], ' Did you mean "adam"?'),
        ("ab", ["cd", "abc"], ' Did you mean "abc"?'),
        ("", ["a"], ""),
        ("num_epochs", ["steps", "epochs"], ' Did you mean "epochs"?'),
        (
            "accumulation_steps",
            ["warmup_steps", "gradient_accumulation_steps"],
            ' Did you mean "gradient_accumulation_steps"?',
        ),
        ("grad_norm", ["max_norm_scale", "norm_type"], ""),
    ],
)
def test_the_nearest_name_is_suggested_if_one_is_near(name, known, hint):
    assert nearest(name, known) == hint


@pytest.mark.parametrize(("typo", "meant"), [("adma", "adam"), ("adams", "adam"), ("adamv", "adam"), ("sdg", "sgd")])
def test_of_equally_near_optimizers_the_usual_one_is_suggested(typo, meant):
    assert nearest(typo, OPTIMIZERS) == f' Did you mean "{meant}"?'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((1, True, None, "é\n"), '[1, true, null, "é\\n"]'),
        ({"a": {}, "b c": [1.0, 1e-7]}, '{"a": {}, "b c": [1.0, 1e-07]}'),
        ([datetime.date(2024, 1, 2), datetime.time(3, 4)], "[2024-01-02, 03:04:00]"),
        (datetime.datetime(2024, 1, 2, 3, 4), "2024-01-02T03:04:00"),
        ([float("inf"), float("-inf"), float("nan")], "[inf, -inf, nan]"),
        (Path("x"), '"x"'),
    ],
)
def test_a_value_is_shown_as_in_a_file(value, text):
    assert shown(value) == text


def test_a_long_value_is_truncated():
    assert shown("x" * 100) == '"' + "x" * 56 + "…"


def test_a_path_is_shown_relative_to_the_working_directory_if_that_is_shorter(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    assert relative(tmp_path / "runs" / "x") == "runs/x"
    assert relative(Path("/a")) == "/a"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("\x1b[2J\x1b]0;title\x07", r"\u001b[2J\u001b]0;title\u0007"),
        ("line\rover", r"line\u000dover"),
        ("\x9b31m\x7f", r"\u009b31m\u007f"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("name\udcff", r"name\udcff"),  # a byte of a file name that is not UTF-8 cannot be printed at all
        ("Zürich\t\u200d👩\n", "Zürich\t\u200d👩\n"),
    ],
)
def test_control_characters_are_shown_instead_of_sent(text, safe):
    assert printable(text) == safe


def test_escaped_json_means_the_same():
    text = json.dumps("\x1b\x9b\u202e", ensure_ascii=False)

    assert json.loads(printable(text)) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("good", 4),
        ("很好", 4),
        ("café", 4),
        ("cafe\u0301", 4),  # an accent of its own
        ("ｱ！", 3),  # half width, full width
        ("a\u200db", 2),
        ("\x97", 6),  # shown as \\u0097
    ],
)
def test_a_width_is_counted_in_columns_of_a_terminal(text, columns):
    assert display_width(text) == columns
    assert padded(text, 8) == text + " " * (8 - columns)
    assert padded(text, 1) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 trials"), (1, "1 trial"), (2, "2 trials")])
def test_one_is_singular(count, text):
    assert counted(count, "trial") == text


@pytest.mark.parametrize(
    ("number", "options", "text"),
    [
        (0.0, {}, "0.0000"),
        (0.98765, {}, "0.9877"),
        (-2.34567e-5, {}, "-2.35e-05"),
        (123456.0, {}, "1.23e+05"),
        (2e-5, {"like": 0.5}, "0.0000"),
        (0.25, {"sign": "+"}, "+0.2500"),
    ],
)
def test_a_number_has_the_digits_that_suit_its_size(number, options, text):
    assert shown_number(number, **options) == text


def test_the_end_of_a_training_says_its_step_once():
    assert shown_end("10 epochs done", 2500) == "10 epochs done after step 2500"
    assert shown_end("60 steps done", 60) == "60 steps done"
    assert shown_end("1 step done", 1) == "1 step done"


@pytest.mark.parametrize(
    ("header", "hint"),
    [
        (["a;b, c"], ' Is the table separated by ";"? Then say so'),
        (["a\tb"], ' Is the table separated by "\\t"? Then say so'),
        (["a;b", "c"], ""),
        (["a"], ""),
        ([], ""),
    ],
)
def test_a_header_of_one_name_with_a_separator_in_it_has_another_separator(header, hint):
    assert other_separator(header, "say so") == hint


def test_a_value_that_is_nested_too_deeply_is_described():
    nested: list = []
    for _ in range(5000):
        nested = [nested]

    assert shown(nested) == "a list that is nested too deeply"
