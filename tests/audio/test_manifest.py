from __future__ import annotations

import json

import pytest
import torch

from dlpipe.errors import DataError
from dlpipe_audio.manifest import manifest

from .conftest import audio, tone

LONG = {"long.wav": audio(tone(2.0)), "b/short.flac": audio(tone(0.3), kind="FLAC")}
ROWS = [
    {"path": "long.wav", "start": 0.1, "end": 0.4, "word": "yes", "speaker": "ann", "split": "train"},
    {"path": "long.wav", "start": 0.5, "end": 0.9, "word": "no", "speaker": "ann", "split": "train"},
    {"path": "b/short.flac", "start": "", "end": "", "word": "no", "speaker": "bob", "split": "test"},
]


def table(rows, delimiter=","):
    lines = [rows[0].keys(), *(row.values() for row in rows)]
    return "\n".join(delimiter.join(map(str, line)) for line in lines)


def load(write, content, name="words.csv", **options):
    return manifest(write(LONG | {name: content}) / name, rate_hz=8000, dev_size=0.0, **options)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("words.csv", table(ROWS)),
        ("words.tsv", table(ROWS, "\t")),
        ("words.jsonl", "\n".join(json.dumps(row) for row in ROWS)),
    ],
)
def test_a_table_lists_parts_of_files(write, name, content):
    data = load(write, content, name)

    assert data.names("train") == ["long.wav 0.1-0.4", "long.wav 0.5-0.9"]
    assert data.names("test") == ["b/short.flac"]
    assert data.split("train").columns["frames"].lengths.tolist() == [31, 41]
    whole = torch.from_numpy(tone(2.0))
    torch.testing.assert_close(data.waveform("train", 0), whole[800:3200], atol=1e-4, rtol=0)


def test_objects_may_have_numbers_and_lists(write):
    row = ROWS[0] | {"word": 0, "speaker": 0, "phones": ["Y", "EH", "S"]}

    data = load(write, "\n".join(map(json.dumps, [row, ROWS[1] | {"speaker": None}])), "words.jsonl")

    found = {(each.word, each.speaker, each.phones) for each in data.segments("train")}
    assert found == {("0", "0", ("Y", "EH", "S")), ("no", "unknown", ())}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "gone.wav"}, r"words.csv:2: no such file: .*gone.wav; correct path, or set skip_bad = true"),
        ({"path": "../x.wav"}, r"words.csv:2: '../x.wav' does not lie below the folder of the table"),
        ({"path": "a.txt"}, r"words.csv:2: 'a.txt'; expected a .wav, .flac, .ogg file"),
        ({"start": "soon"}, r"words.csv:2: start 'soon'; expected a number of seconds such as 1.25"),
        ({"end": -1}, r"words.csv:2: end '-1'; expected a number of seconds"),
        ({"word": ""}, r"words.csv:2: path 'long.wav', word ''; expected both to be filled in"),
        ({"split": "middle"}, r"words.csv:2: split 'middle'; expected train, dev or test"),
        ({"start": 0.5, "end": 0.9}, r"words.csv: long.wav 0.5-0.9 is listed twice; remove one of the lines"),
    ],
)
def test_a_mistake_in_a_row_is_named_with_its_line(write, change, message):
    with pytest.raises(DataError, match=message):
        _ = load(write, table([ROWS[0] | change, *ROWS[1:]])).splits


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("path,text\na.wav,b", "w.csv", r"w.csv:1: no column 'word'; there are path, text"),
        ("path,word,strat\na.wav,b,1", "w.csv", r'w.csv:1: unknown column \'strat\'. Did you mean "start"'),
        ("path,word\na.wav", "w.csv", r"w.csv:2: expected 2 columns as in the header"),
        ("path,word\n", "w.csv", r"w.csv: it lists no recordings; expected one word per line"),
        ('{"path": 1', "w.jsonl", r"w.jsonl:1: not JSON"),
        ('{"path": "a.wav", "word": ["b"]}', "w.jsonl", r"w.jsonl:1: word \['b'\]; expected a text or a number"),
        (
            '{"path": "a.wav", "word": "b", "phones": [1]}',
            "w.jsonl",
            r"w.jsonl:1: phones \[1\]; expected phones separated by blanks, or a list of them",
        ),
        ("[1]", "w.jsonl", r"w.jsonl:1: '\[1\]'; expected an object with path and word"),
        (b"\xff\xfe", "w.csv", r"w.csv cannot be read: .*; expected a table in UTF-8"),
        ("x", "w.txt", r"w.txt: expected a table, .csv, .tsv, .jsonl; for a folder or an archive use audio.folder"),
    ],
)
def test_a_table_that_cannot_be_used_is_named(write, content, name, message):
    with pytest.raises(DataError, match=message):
        _ = load(write, content, name).splits


def test_what_the_column_split_does_not_name_is_held_out_of_train(write):
    takes = [ROWS[0] | {"start": start / 10, "end": start / 10 + 0.2} for start in range(10)]

    data = manifest(write(LONG | {"words.csv": table([*takes, ROWS[2]])}) / "words.csv", dev_size=0.3)

    assert [len(data.segments(split)) for split in data.splits] == [7, 3, 1]
    assert data.names("test") == ["b/short.flac"]


def test_a_trained_model_is_evaluated_on_a_table_without_training_words(write):
    data = load(write, table([row | {"split": "test"} for row in ROWS]))

    assert data.splits == ("test",)
    with pytest.raises(
        DataError, match=r"data: no recordings for train, only for test; add some. To evaluate a trained"
    ):
        _ = data.facts
    data.restore({"labels": ["yes", "no"]})
    assert data.split("test").columns["targets"].tolist() == [0, 1, 1]
    assert data.fingerprint()


@pytest.mark.parametrize(
    ("option", "value"), [("test_speakers", ["ann"]), ("test_words", ["no"]), ("test_size", 0.5), ("test_size", 0.0)]
)
def test_an_option_of_a_split_that_the_table_names_is_refused(write, option, value):
    with pytest.raises(DataError, match=rf"{option} = .* has no effect: .*words.csv has a test split of its own; rem"):
        _ = load(write, table(ROWS), **{option: value}).splits


def test_a_part_outside_of_its_file_is_named_or_left_out(write):
    content = table([*ROWS, ROWS[0] | {"start": 1.9, "end": 2.4}])

    with pytest.raises(DataError, match=r"long.wav: the segment from 1.9 to 2.4 s does not lie within the file"):
        load(write, content).split("train")
    with pytest.warns(UserWarning, match="1 of 3 words of the train split"):
        assert len(load(write, content, skip_bad=True).split("train")) == 2


def test_a_missing_file_is_left_out_and_counted_where_the_user_asks_for_it(write):
    content = table([*ROWS, ROWS[0] | {"path": "gone.wav"}])

    with pytest.warns(UserWarning, match="1 of 3 words of the train split"):
        assert len(load(write, content, skip_bad=True).split("train")) == 2
