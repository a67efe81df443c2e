"""Files that extend each other, ``--set``, origins of values, and all the ways a file can be unreadable."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlpipe.config.source import MAX_BYTES, SET, Origin, dotted, key_path, read_source, source_of_text
from dlpipe.errors import PipelineError
from dlpipe.messages import relative

BASE = """\
name = "base"

[model]
use = "text.rnn_tagger"
cell = "lstm"
hidden_dim = 5

[trainer]
use = "core.supervised"
optimizer = { use = "adam", lr = 0.1, betas = [0.8, 0.9] }
"""


@pytest.fixture
def problems():
    """Return the mistakes of a file as `PipelineError` gives them, without the folder."""

    def problems(file, assignments=()):
        with pytest.raises(PipelineError, match=r"\S: ") as caught:  # each message starts with its place
            read_source(file, assignments)
        assert caught.value.exit_code == 2
        return [str(problem).replace(f"{file.parent}{os.sep}", "") for problem in caught.value.problems]

    return problems


# extends


def test_tables_merge_and_other_values_replace(write):
    write(BASE, "base.toml")
    file = write('extends = "base.toml"\n[model]\nhidden_dim = 7\nwindow = [1]\n[trainer.optimizer]\nbetas = [0.7]\n')

    values = read_source(file).values

    assert values["name"] == "base"
    assert values["model"] == {"use": "text.rnn_tagger", "cell": "lstm", "hidden_dim": 7, "window": [1]}
    assert values["trainer"]["optimizer"] == {"use": "adam", "lr": 0.1, "betas": [0.7]}
    assert "extends" not in values


def test_another_use_drops_the_parameters_of_the_former_component(write):
    write(BASE, "base.toml")
    file = write('extends = "base.toml"\n[model]\nuse = "text.feedforward_tagger"\nwindow = 2\n')

    source = read_source(file)

    assert source.values["model"] == {"use": "text.feedforward_tagger", "window": 2}
    assert ("model", "cell") not in source.origins
    assert source.values["trainer"]["optimizer"]["lr"] == 0.1


def test_the_same_use_keeps_the_parameters(write):
    write(BASE, "base.toml")
    file = write('extends = "base.toml"\n[model]\nuse = "text.rnn_tagger"\n')

    assert read_source(file).values["model"]["cell"] == "lstm"


def test_an_evaluator_may_be_named_use(write):
    write('[evaluators.use]\nuse = "a.b"\n[evaluators.other]\nuse = "a.c"\n', "base.toml")
    file = write('extends = "base.toml"\n[evaluators.use]\ntop = 2\n')

    assert read_source(file).values["evaluators"] == {"use": {"use": "a.b", "top": 2}, "other": {"use": "a.c"}}


def test_files_extend_over_several_steps_and_folders(write):
    write("a = 1\nb = 1\nc = 1\n", "base.toml")
    write('extends = "../base.toml"\nb = 2\nc = 2\n', "sub/middle.toml")
    file = write('extends = "sub/middle.toml"\nc = 3\n')

    source = read_source(file)

    assert source.values == {"a": 1, "b": 2, "c": 3}
    assert next(iter(source.texts)) == str(file)
    assert len(source.texts) == 3


def test_the_origin_of_a_value_is_its_file_and_line(write):
    base = write(BASE, "base.toml")
    file = write('extends = "base.toml"\n\n[model]\nhidden_dim = 7\n')

    source = read_source(file, ["trainer.optimizer.lr=0.2"])

    assert source.origin(("name",)) == Origin(str(base), 1)
    assert source.origin(("model", "cell")) == Origin(str(base), 5)
    assert source.origin(("model", "hidden_dim")) == Origin(str(file), 4)
    assert source.origin(("model", "nothing")) == Origin(str(file), 3)
    assert source.origin(("trainer", "optimizer", "lr")) == Origin(SET)
    assert source.origin(("trainer", "optimizer", "use")) == Origin(str(base), 10)
    assert source.origin(("unknown",)) == Origin(str(file), 1)
    assert str(source.origin(("name",))) == f"{base}:1"
    assert str(Origin(SET)) == "--set"


def test_the_origin_of_a_table_that_only_an_assignment_makes_is_the_assignment(write):
    source = read_source(write("[trainer]\nepochs = 1\n"), ["trainer.schedule.gamma=1"])

    assert source.origin(("trainer", "schedule")) == Origin(SET)
    assert source.origin(("trainer",)).line == 1


def test_a_path_starts_from_the_folder_of_its_file_or_from_the_working_directory():
    assert str(Origin("a/b.toml", 3).folder) == "a"
    assert str(Origin(SET).folder) == "."


def test_files_that_extend_each_other_in_a_circle_are_reported(write, problems):
    write('name = "x"\nextends = "pipeline.toml"\n', "other.toml")
    file = write('extends = "other.toml"\n')

    (problem,) = problems(file)

    assert problem == "other.toml:2: the file extends itself: pipeline.toml → other.toml → pipeline.toml"


def test_a_file_that_extends_itself_is_reported(write, problems):
    file = write('\nextends = "./pipeline.toml"\n')

    assert problems(file) == ["pipeline.toml:2: the file extends itself: pipeline.toml → pipeline.toml"]


def test_a_missing_base_is_reported_at_extends_with_the_nearest_file(write, problems):
    write("", "slot_filling.toml")
    file = write('name = "x"\nextends = "slot_filing.toml"\n')

    assert problems(file) == [
        'pipeline.toml:2: extends = "slot_filing.toml": there is no such pipeline file. '
        'Did you mean "slot_filling.toml"?'
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('"nowhere/base.toml"', 'extends = "nowhere/base.toml": there is no such pipeline file.'),
        ('"/nowhere/base.toml"', 'extends = "/nowhere/base.toml": there is no such pipeline file.'),
        ('"."', 'extends = ".": the file cannot be read: Is a directory'),
        ('"a\\u0000b"', "the file cannot be read: embedded null byte"),
        (f'"{"x" * 5000}"', "the file cannot be read: File name too long"),
        ("3", "extends = 3: expected a file name"),
        ("{ a = 1 }", 'extends = {"a": 1}: expected a file name'),
    ],
)
def test_a_base_that_cannot_be_read_is_reported_at_extends(write, problems, value, expected):
    (problem,) = problems(write(f'name = "x"\nextends = {value}\n'))

    assert problem.startswith("pipeline.toml:2: ")
    assert problem.endswith(expected)


def test_a_mistake_in_the_base_is_reported_there(write, problems):
    write("\na = = 1\n", "base.toml")

    (problem,) = problems(write('extends = "base.toml"\n'))

    assert problem.startswith("base.toml:2: not valid TOML: ")


# --set


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        (" 3 ", 3),
        ("3.5", 3.5),
        ("true", True),
        ("gru", "gru"),
        ('"gru"', "gru"),
        ("two words", "two words"),
        ("[1, 2]", [1, 2]),
        ("{ use = 'x' }", {"use": "x"}),
        ("", ""),
        ("a=b", "a=b"),
        ("1\nname = 'other'", "1\nname = 'other'"),
        ("nan-ish", "nan-ish"),
    ],
)
def test_a_value_is_toml_or_else_a_string(write, text, value):
    source = read_source(write(BASE), [f"model.new={text}"])

    assert source.values["model"]["new"] == value
    assert source.origins[("model", "new")] == Origin(SET)


def test_set_takes_precedence_over_the_file_and_over_an_earlier_set(write):
    source = read_source(write(BASE), ["model.hidden_dim=7", "model.hidden_dim=9", "name=new"])

    assert source.values["model"]["hidden_dim"] == 9
    assert source.values["name"] == "new"


@pytest.mark.parametrize("reverse", [False, True])
def test_set_of_another_use_keeps_what_is_set_with_it(write, reverse):
    assignments = ["trainer.optimizer.lr=0.5", "trainer.optimizer.use=sgd", "model={ use = 'a.b', c = 1 }", "model.d=2"]

    source = read_source(write(BASE), assignments[::-1] if reverse else assignments)

    assert source.values["trainer"]["optimizer"] == {"use": "sgd", "lr": 0.5}
    assert source.values["model"] == {"use": "a.b", "c": 1, "d": 2}
    assert source.origins[("trainer", "optimizer", "lr")] == Origin(SET)


def test_set_creates_missing_tables(write):
    source = read_source(write(BASE), ["evaluators.slots.use=text.slot_f1", "name.part=3"])

    assert source.values["evaluators"] == {"slots": {"use": "text.slot_f1"}}
    assert source.values["name"] == {"part": 3}


def test_set_of_another_use_drops_the_old_parameters_and_keeps_the_line_of_the_table(write):
    file = write(BASE)

    source = read_source(file, ["model.use=text.feedforward_tagger", "trainer.optimizer.use=sgd"])

    assert source.values["model"] == {"use": "text.feedforward_tagger"}
    assert source.values["trainer"] == {"use": "core.supervised", "optimizer": {"use": "sgd"}}
    assert source.origin(("model", "missing")) == Origin(str(file), 3)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ('stages."v1.0".trainer.epochs', ("stages", "v1.0", "trainer", "epochs")),
        ("stages.'v1.0'", ("stages", "v1.0")),
        (' a . "b=c" ', ("a", "b=c")),
        ("größe.two words.it's", ("größe", "two words", "it's")),
        (r'"\u00e9"', ("é",)),
    ],
)
def test_a_part_of_a_path_is_quoted_if_it_has_dots(write, name, path):
    source = read_source(write("[stages.'v1.0'.trainer]\n"), [f"{name}=3"])

    assert source.origins[path] == Origin(SET)
    assert key_path(name) == key_path(dotted(path)) == path


def test_all_wrong_set_values_are_reported(write, problems):
    assignments = [
        "epochs",
        "=3",
        "a..b=1",
        'a."b=1',
        "a." * 30 + "b=1",
        "extends=x.toml",
        "a=" + "[" * 10_000,
        "b=" + "9" * 5000,
        "c=99999999999999999999",
    ]

    found = problems(write(BASE), assignments)

    assert found == [
        '--set: "=3": expected PATH=VALUE, such as trainer.epochs=3',
        '--set: "a."b=1": expected PATH=VALUE, such as trainer.epochs=3',
        '--set: "a..b=1": expected PATH=VALUE, such as trainer.epochs=3',
        f'--set: "{"a." * 30}b=1": expected PATH=VALUE, such as trainer.epochs=3',
        '--set: "epochs": expected PATH=VALUE, such as trainer.epochs=3',
        "--set: 99999999999999999999… is a whole number of more than 64 bits",
        "--set: [[[[[[[[[[[[[[[[[[[[… is nested more than 20 levels deep",
        '--set: extends = "x.toml": only a file can extend another one; write it at the top of the file',
    ]


# Files that cannot be used


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"a = 1\n\nb = '\xff'\n", ["pipeline.toml:3: byte 0xff at offset 12 is not UTF-8; save the file as UTF-8"]),
        (b"a = 1\nb = '\0'\n", ["pipeline.toml:2: not valid TOML: character 11 is NUL"]),
        ("a = 1\n" * 200_000, [f"pipeline.toml: the file is too long; a pipeline has at most {MAX_BYTES:,} bytes"]),
        ("\nb = " + "[" * 10_000, ["pipeline.toml:2: nested more than 20 levels deep"]),
        ("\nb = " + "[" * 10_000 + "]" * 10_000, ["pipeline.toml:2: nested more than 20 levels deep"]),
        (".".join("a" * 100_000) + " = 1", ["pipeline.toml:1: nested more than 20 levels deep"]),
        ("a = 1\nb = \n", ["pipeline.toml:2: not valid TOML: Invalid value"]),
        ("a = 1\n\nb = [\n", ["pipeline.toml:4: not valid TOML: Invalid value"]),
        ("a = 1\nb = [1\n", ["pipeline.toml:3: not valid TOML: Unclosed array"]),
        (
            "a = 1\nb = 2\na = 3\n[t]\nx = 1\n[t]\nx = 2\n",
            [
                "pipeline.toml:3: `a` is given twice, first on line 1; remove one",
                "pipeline.toml:6: `t` is given twice, first on line 4; remove one",
                "pipeline.toml:7: `t.x` is given twice, first on line 5; remove one",
            ],
        ),
        (
            "a = foo\nb = 1\nb = 2\n",
            [
                "pipeline.toml:1: not valid TOML: Invalid value",
                "pipeline.toml:3: `b` is given twice, first on line 2; remove one",
            ],
        ),
        ("a = 1\n[t]\nb = 99999999999999999999\n", ["pipeline.toml:3: `t.b` is a whole number of more than 64 bits"]),
        ("a = [1, 0xffffffffffffffffffff]\n", ["pipeline.toml:1: `a[1]` is a whole number of more than 64 bits"]),
    ],
    ids=lambda value: None if isinstance(value, list) else repr(value[:12]),
)
def test_a_file_that_is_not_toml_is_refused_with_its_line(write, problems, text, expected):
    assert problems(write(text)) == expected


def test_a_number_of_thousands_of_digits_is_refused(write, problems):
    (problem,) = problems(write("a = " + "9" * 5000))

    assert problem.startswith("pipeline.toml: not valid TOML: Exceeds the limit")


def test_a_byte_order_mark_and_crlf_are_read(write):
    source = read_source(write(b"\xef\xbb\xbfname = 'x'\r\n\r\n[model]\r\nuse = 'a.b'\r\n"))

    assert source.values == {"name": "x", "model": {"use": "a.b"}}
    assert source.origin(("model", "use")).line == 4


def test_a_missing_file_is_reported_with_the_nearest_one(write, problems):
    write("", "slot_filling.toml")
    file = write("", "x.toml").with_name("slot_filing.toml")

    assert problems(file) == ['slot_filing.toml: there is no such pipeline file. Did you mean "slot_filling.toml"?']


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("pipelines/slot_filling.toml", "slot_filling"),
        ("slot_filling.toml", "slot_filling"),
        ("recipe/depth.toml", "recipe/depth"),
    ],
)
def test_a_missing_file_with_the_name_of_a_pipeline_of_dlpipe_is_answered_with_its_commands(
    file, name, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slot_filling_2.toml").touch()

    with pytest.raises(PipelineError) as caught:
        read_source(file)

    assert str(caught.value) == (
        f"{file}: there is no such pipeline file. A pipeline of this name comes with dlpipe: dlpipe run {name}; "
        f"to copy it: dlpipe new pipeline {name}"
    )


@pytest.mark.parametrize("base", ["slot_filling.toml", "../pipelines/slot_filling.toml"])
def test_a_missing_base_with_the_name_of_a_pipeline_of_dlpipe_can_be_copied_beside_the_file(
    base, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x.toml").write_text(f'extends = "{base}"\n')

    with pytest.raises(PipelineError) as caught:
        read_source("mine/x.toml")

    assert str(caught.value) == (
        f'mine/x.toml:1: extends = "{base}": there is no such pipeline file. A pipeline of this name comes with dlpipe; '
        "copy it with: dlpipe new pipeline slot_filling --output mine/slot_filling.toml; "
        'and write extends = "slot_filling.toml"'
    )


@pytest.mark.parametrize("name", ["slot_filing", "slot_filing.toml"])
def test_a_missing_file_is_reported_with_the_nearest_pipeline_of_dlpipe(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(PipelineError, match='there is no such pipeline file. Did you mean "slot_filling"\\?'):
        read_source(name)


def test_a_file_in_a_missing_folder_is_reported(tmp_path, problems):
    assert problems(tmp_path / "no" / "x.toml") == ["x.toml: there is no such pipeline file."]


def test_a_folder_is_not_a_file(tmp_path, problems):
    folder = tmp_path / "folder"
    folder.mkdir()

    assert problems(folder) == ["folder: the file cannot be read: Is a directory"]


def test_a_link_to_itself_is_not_a_file(tmp_path, problems):
    link = tmp_path / "loop.toml"
    link.symlink_to(link)

    assert problems(link) == ["loop.toml: the file cannot be read: Too many levels of symbolic links"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_reported(write, problems):
    file = write("a = 1")
    file.chmod(0)

    assert problems(file) == ["pipeline.toml: the file cannot be read: Permission denied"]


def test_a_file_that_cannot_be_opened_is_reported_with_the_reason(write, problems, monkeypatch):
    file = write("a = 1")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(file), "open", refuse)

    assert problems(file) == ["pipeline.toml: the file cannot be read: Permission denied"]


def test_a_pipe_that_a_file_extends_is_not_waited_for(write):
    os.mkfifo(write('extends = "base.toml"').parent / "base.toml")

    with pytest.raises(PipelineError, match=r'pipeline.toml:1: extends = "base.toml": this is not a file, but a pipe'):
        read_source(write('extends = "base.toml"'))


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device")
def test_a_device_without_end_is_not_read_to_its_end():
    with pytest.raises(PipelineError, match="the file is too long"):
        read_source("/dev/zero")


@given(st.text(max_size=80) | st.text("ab.=[]{}\"'\\#,1 \n\0", max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        source = source_of_text(text, "x.toml")
    except PipelineError as error:
        assert all(problem.line <= text.count("\n") + 1 for problem in error.problems)
    else:
        assert isinstance(source.values, dict)


def test_a_text_by_itself_does_not_follow_extends():
    assert source_of_text('extends = "base.toml"', "x.toml").values == {"extends": "base.toml"}


# Words


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("model", "hidden_dim"), "model.hidden_dim"),
        (("filters", 0, "size"), "filters[0].size"),
        (("a", "b c", "d.e"), 'a."b c"."d.e"'),
        (("a\nb",), '"a\\nb"'),
        (("",), '""'),
        ((), ""),
    ],
)
def test_a_path_is_written_as_a_person_would(path, text):
    assert dotted(path) == text


def test_a_path_is_relative_to_the_working_directory_if_that_is_shorter(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert relative(tmp_path / "runs" / "x") == str(Path("runs", "x"))
    assert relative(Path("/x")) == "/x"
