"""Every kind of mistake is reported at its line, all of them at once; a correct file is understood."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlpipe.config.check import check_source, load_pipeline
from dlpipe.config.defaults import Computed
from dlpipe.config.source import source_of_text
from dlpipe.config.values import adapter
from dlpipe.errors import InputError, PipelineError, PluginError
from dlpipe.messages import shown
from dlpipe.registry.loading import Registry

GOOD = (Path(__file__).parent / "good.toml").read_text(encoding="utf-8")

STAGES = (Path(__file__).parent / "stages.toml").read_text(encoding="utf-8")


# Correct files


def test_a_pipeline_is_understood(load):
    pipeline = load(GOOD)

    stage = pipeline.stages[""]
    assert (pipeline.settings.name, pipeline.settings.seed, pipeline.settings.device) == ("good", 3, "auto")
    assert stage.model.values == {
        "freeze": None,
        "dropout": 0.25, "bias": True, "rate": 0.1, "sizes": (3,), "kind": "a", "label": None
    }  # fmt: skip
    assert stage.trainer.values["batch_size"] == 4
    assert stage.trainer.values["optimizer"]["lr"] == 0.01
    assert stage.trainer.values["optimizer"]["betas"] == (0.9, 0.999)
    assert "epochs" not in stage.trainer.values
    assert (stage.options.epochs, stage.options.log_every) == (2, 50)
    assert [stage.evaluators["right"].table, stage.model.table] == ["[evaluators.right]", "[model]"]
    assert stage.callbacks["log"].values == {"num_classes": 5, "every": 1}


def test_a_trainer_that_builds_its_own_model_needs_no_model_table(load):
    text = 'name = "x"\n[data]\nuse = "fake.images"\n[trainer]\nuse = "fake.play"\nsteps = 3\n'

    assert load(text).stages[""].model is None


@pytest.mark.parametrize(
    "text", [GOOD, STAGES, (Path(__file__).parents[3] / "pipelines/slot_filling.toml").read_text()]
)
def test_a_resolved_pipeline_loads_again_as_the_same(load, write, text):
    pipeline = load(text)

    again = load(write(tomli_w.dumps(pipeline.plain()), "elsewhere/resolved.toml"))

    assert again.plain() == pipeline.plain()
    assert again.settings == pipeline.settings
    assert again.stages == pipeline.stages


@pytest.mark.parametrize("name", ["adafactor", "muon", "lbfgs", "sgd"])
def test_defaults_that_toml_cannot_hold_are_left_to_torch(load, write, name):
    pipeline = load(GOOD, [f'trainer.optimizer={{ use = "{name}" }}'])

    text = tomli_w.dumps(pipeline.plain())

    assert not any(isinstance(value, Computed) for value in pipeline.stages[""].trainer.values["optimizer"].values())
    assert load(write(text)).plain() == pipeline.plain()


def test_a_date_survives_where_any_value_is_accepted(load):
    pipeline = load(GOOD, ["data.extra=2020-01-31", "data.table={ a = [10:30:00] }"])

    plain = pipeline.plain()["data"]

    assert tomli_w.dumps(plain).count("2020-01-31") == 1
    assert "10:30:00" in tomli_w.dumps(plain)


# Every kind of mistake


@pytest.mark.parametrize(
    ("line", "text", "expected"),
    [
        (
            4,
            'use = "fake.imagse"',
            '[data] use = "fake.imagse": no plugin offers this data. Did you mean "fake.images"?',
        ),
        (4, 'use = "fake.net"', '[data] use = "fake.net": fake.net is a model, not a data component.'),
        (4, "use = 3", '[data] use = 3: expected the name of a data component, such as "namespace.name"'),
        (
            4,
            "size = 3",
            (3, '[data] missing key `use`: expected the name of a data component, such as "namespace.name"'),
        ),
        (4, 'use = "a\\nb"', '[data] use = "a\\nb": no plugin offers this data.'),
        (7, "dropuot = 0.5", '[model] dropuot: unknown key of fake.net. Did you mean "dropout"?'),
        (
            7,
            "zzz = 0.5",
            "[model] zzz: unknown key of fake.net. It takes num_classes, dropout, bias, rate, sizes, kind,",
        ),
        (7, '"a b" = 0.5', '[model] "a b": unknown key of fake.net. It takes'),
        (7, "batch_size = 5", "`batch_size` belongs to [trainer], not to [model]"),
        (7, "epochs = 5", "`epochs` belongs to [trainer], not to [model]"),
        (7, "device = 'cpu'", "`device` belongs to the top of the file, not to [model]"),
        (7, "seed = 1", "`seed` belongs to the top of the file, not to [model]"),
        (7, "compute = 1", "[model] compute: unknown key of fake.net."),
        (10, "epochs = 1\ndropout = 0.1", (11, "`dropout` belongs to [model], not to [trainer]")),
        (11, "num_classes = 3", "[trainer] num_classes: unknown key of fake.fit."),
        (13, 'use = "fake.accuracy"\nsize = 3', (14, "`size` belongs to [data], not to [evaluators.right]")),
        (2, "dropout = 0.1", "`dropout` belongs to [model], not to the top of the file"),
        (2, "epochs = 3", "`epochs` belongs to [trainer], not to the top of the file"),
        (2, "sede = 3", '`sede`: unknown key. Did you mean "seed"?'),
        (2, "compute = 3", "`compute`: unknown key."),
        (2, "[modell]\nuse = 'x'", '[modell]: unknown table. Did you mean "model"?'),
        (2, "stages = 3", "stages = 3: expected tables such as [stages.pretrain.data]"),
        (14, "[other]", "[other]: unknown table."),
        (10, "log_every = 5", (8, "[trainer] has no end; give epochs, steps or minutes")),
        (10, 'epochs = 1\nmonitor = "dev/no/f1"', (11, '[trainer] monitor = "dev/no/f1": expected one of dev/right/…')),
        (10, 'epochs = 1\nmonitor = "test/right/f1"', (11, '[trainer] monitor = "test/right/f1": expected one of')),
        (10, 'epochs = 1\nmonitor = "right"', (11, '[trainer] monitor = "right": expected one of dev/right/…')),
        (
            12,
            "[evaluators]",
            (13, '[evaluators] use = "fake.accuracy": give each evaluator a name, such as [evaluators.mine]'),
        ),
        (12, '[evaluators."../x"]', '"../x" cannot be the name of an evaluator; expected letters, digits'),
        (11, "optimizer = 3", '[trainer] optimizer = 3: expected a table such as { use = "adam", lr = 1e-3 }'),
        (11, "optimizer = {}", "[trainer] optimizer = {}: expected a table such as"),
        (
            11,
            "schedule = { T_max = 1 }",
            '[trainer] schedule = {"T_max": 1}: expected a table such as { use = "cosine_annealing" }. T_max fits '
            'schedule cosine_annealing: also set trainer.schedule.use = "cosine_annealing"',
        ),
        (7, "lr = 1", "`lr` belongs to [trainer.optimizer], not to [model]"),
        (
            2,
            "learning_rate = 1",
            "`learning_rate` belongs to [trainer.optimizer], not to the top of the file, where it is",
        ),
        (11, "early_stopping = 5", '[trainer] early_stopping: unknown key of fake.fit. Did you mean "patience"?'),
        (7, "early_stopping = 5", "`early_stopping` belongs to [trainer], not to [model], where it is called patience"),
        (11, "zzz = 1", "[trainer] zzz: unknown key of fake.fit. `dlpipe show fake.fit` lists its keys."),
        (
            11,
            'optimizer = { use = "adam", momentum = 1 }',
            "[trainer.optimizer] momentum: unknown key of optimizer adam. It is a parameter of optimizer sgd, rmsprop, muon.",
        ),
        (11, "optimizer = { lrr = 1 }", '[trainer.optimizer] lrr: unknown key of optimizer sgd. Did you mean "lr"?'),
        (
            11,
            "lr = 1",
            "[trainer] lr: unknown key of fake.fit. It is a parameter of optimizer sgd: set trainer.optimizer.lr = 1.",
        ),
        (
            11,
            "learning_rate = 1",
            "[trainer] learning_rate: unknown key of fake.fit. It is a parameter of optimizer sgd: set trainer.optimizer.lr = 1.",
        ),
        (
            11,
            'optimizer = { use = "sgd" }\nbetas = 1',
            (
                12,
                "[trainer] betas: unknown key of fake.fit. It is a parameter of optimizer adam, adamw, adamax …, not of sgd: set trainer.optimizer = ",
            ),
        ),
        (
            11,
            "T_max = 9",
            "[trainer] T_max: unknown key of fake.fit. It is a parameter of schedule cosine_annealing: set "
            'trainer.schedule = { use = "cosine_annealing", T_max = 9 }.',
        ),
        (11, 'optimizer = { use = "adm" }', '[trainer] optimizer use = "adm": unknown optimizer. Did you mean "adam"?'),
        (11, 'optimizer = { use = "zz" }', '[trainer] optimizer use = "zz": unknown optimizer. There are adam, adamw,'),
        (
            11,
            'optimizer = { use = "adam", learning_rate = 1 }',
            '[trainer.optimizer] learning_rate: unknown key of optimizer adam. Did you mean "lr"?',
        ),
        (
            11,
            'optimizer = { use = "adam", momentun = 1 }',
            "[trainer.optimizer] momentun: unknown key of optimizer adam.",
        ),
        (
            11,
            'optimizer = { use = "sgd", batch_size = 1 }',
            "`batch_size` belongs to [trainer], not to [trainer.optimizer]",
        ),
        (
            11,
            'schedule = { use = "cosine" }',
            '[trainer] schedule use = "cosine": unknown schedule. Did you mean "cosine_annealing"?',
        ),
        (
            11,
            'schedule = { use = "step" }',
            "[trainer.schedule] missing key `step_size` of schedule step: expected a whole number",
        ),
        (11, 'schedule = { use = "step", step_size = "3" }', '[trainer.schedule] step_size = "3": expected a whole'),
    ],
)
def test_a_mistake_is_reported_at_its_line(changed, mistakes, line, text, expected):
    at, expected = expected if isinstance(expected, tuple) else (line, expected)

    found = mistakes(changed(line, text))

    assert any(place == at and message.startswith(expected) for place, message in found), found


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([1], (1, 'missing key `name`; expected it at the top of the file, such as name = "slot-filling"')),
        (
            [3, 4],
            (1, 'missing table [data]; add it with use = "…" (available: core.table, fake.images, fake.words, text.'),
        ),
        ([5, 6, 7], (1, "missing table [model]; add it with")),
        ([8, 9, 10, 11], (1, "missing table [trainer]; add it with")),
        ([9], (8, "[trainer] missing key `use`: expected the name of a trainer")),
        ([16], (14, "[callbacks.log] missing key `num_classes` of fake.watch: expected a whole number")),
    ],
)
def test_a_missing_key_or_table_is_reported(mistakes, lines, expected):
    text = "".join(line for number, line in enumerate(GOOD.splitlines(True), 1) if number not in lines)

    ((line, message),) = mistakes(text)

    assert line == expected[0]
    assert message.startswith(expected[1])


def test_a_value_in_place_of_a_table_is_reported(mistakes):
    text = 'name = "x"\ndata = 3\n[model]\nuse = "fake.net"\n[trainer]\nuse = "fake.fit"\nepochs = 1\n'

    assert mistakes(text)[0] == (2, 'data = 3: expected a table with use = "…"')


def test_all_mistakes_of_a_file_are_reported_at_once_and_in_order(mistakes):
    found = mistakes("""\
nmae = "x"
sede = 3
[data]
use = "fake.imagse"
[model]
use = "fake.net"
dropout = "high"
epochs = 3
[trainer]
use = "fake.fit"
epochs = "ten"
monitor = "dev/slots/f1"
optimizer = { use = "adm" }
[evaluators.right]
use = "fake.acuracy"
[callbacks.log]
use = "fake.watch"
""")

    assert [line for line, _ in found] == [1, 1, 2, 4, 7, 8, 11, 12, 13, 15, 16]


def test_a_mistake_of_the_command_line_has_no_line(load):
    with pytest.raises(PipelineError, match=r'^--set: \[model\] dropout = "high": expected a number from 0 to 1'):
        load(GOOD, ["model.dropout=high"])


# Plugins that are missing or broken


@pytest.mark.parametrize(
    ("use", "message", "code"),
    [
        ("fake.nte", '[model] use = "fake.nte": no plugin offers this model. Did you mean "fake.net"?', 2),
        ("nobody.cnn", "[model] use = \"nobody.cnn\": no installed plugin has the namespace 'nobody' (installed: ", 3),
        ("fake.far", '[model] use = "fake.far" needs no-such-dist; install with: pip install "dlpipe-fake[far]"', 3),
        (
            "fake.gone",
            '[model] use = "fake.gone" (dlpipe-fake 1.0): nowhere_at_all:Net cannot be imported: ModuleNotFoundError',
            3,
        ),
    ],
)
def test_the_exit_code_tells_a_missing_plugin_from_a_wrong_name(changed, load, use, message, code):
    with pytest.raises(PipelineError, match=re.escape(message)) as caught:
        load(changed(6, f'use = "{use}"'))

    (problem,) = caught.value.problems
    assert problem.line == 6
    assert problem.message.startswith(message)
    assert caught.value.exit_code == code


def test_a_broken_plugin_that_is_needed_is_reported_with_its_cause(entry_point, write):
    from dlpipe.registry.loading import load_plugins

    registry = load_plugins({}, [entry_point("fake", "1 / 0")])

    with pytest.raises(PipelineError, match="is broken: ZeroDivisionError: division by zero") as caught:
        load_pipeline(write(GOOD), registry)

    assert caught.value.exit_code == 3


def test_without_plugins_no_component_is_available(write):
    with pytest.raises(PipelineError, match=r"missing table \[model\].*available: none") as caught:
        load_pipeline(write('name = "x"\n'), Registry())

    assert caught.value.exit_code == 2


# Local plugins

LOCAL = "from dlpipe import ModelSpec, hookimpl\n@hookimpl\ndef dlpipe_models():\n    return [ModelSpec('net', 'fake_parts:Net', '')]"


@pytest.fixture
def mine(write):
    """Write a pipeline that brings its own plugin along."""
    write(LOCAL, "mine.py")
    return 'plugins = ["./mine.py"]\n' + GOOD.replace("fake.net", "mine.net")


def test_a_local_plugin_is_used_when_allowed(load, mine, tmp_path):
    pipeline = load(mine, allow_local_plugins=True)

    assert pipeline.local_plugins == ((tmp_path / "mine.py").resolve(),)
    assert pipeline.stages[""].model.component.name == "mine.net"
    assert pipeline.plain()["plugins"] == ["./mine.py"]
    assert load(mine, allow_local_plugins=True).plain() == pipeline.plain()


def test_a_local_plugin_is_not_run_unless_allowed(mistakes, mine):
    assert mistakes(mine)[0] == (1, 'plugins: "./mine.py" would run Python code; allow it with --allow-local-plugins')


@pytest.mark.parametrize("name", ["../x.py", "/x.py", "a/../../x.py", ".", "\\u0000"])
def test_a_local_plugin_must_be_in_the_folder_of_the_file(mistakes, name):
    found = mistakes(f'plugins = ["{name}"]\n{GOOD}', allow_local_plugins=True)

    assert [line for line, _ in found] == [1]
    assert found[0][1].endswith("is outside the folder of the pipeline file")


@pytest.mark.parametrize("value", ["3", '"./mine.py"', "[3]"])
def test_plugins_must_be_a_list_of_names(mistakes, value):
    ((line, message),) = mistakes(f"plugins = {value}\n{GOOD}")

    assert line == 1
    assert message.endswith(': expected a list of file names such as ["./mine.py"]')


def test_a_broken_local_plugin_is_reported_with_all_other_mistakes(changed, load, write):
    write("1 / 0", "broken.py")

    with pytest.raises(PipelineError, match="is broken: ZeroDivisionError") as caught:
        load('plugins = ["./broken.py"]\n' + changed(7, "dropuot = 1"), allow_local_plugins=True)

    assert [problem.line for problem in caught.value.problems] == [1, 8]
    assert "is broken: ZeroDivisionError" in caught.value.problems[0].message
    assert caught.value.exit_code == 3


# Hostile input

VALUES = [
    "3",
    "true",
    "1e999",
    "nan",
    "-inf",
    "0xffffffffffffffffffff",
    "2020-01-31",
    '""',
    "[]",
    "{}",
    '"\\u0000"',
    '"~x"',
]
TABLES = [
    '{ stage = "a" }',
    '{ run = "\\u0000" }',
    '{ use = "adam", lr = [] }',
    "[[model]]",
    "[model.use]",
    "[stages.a]",
]
OTHER = ["=", "[", "]", '"', "'''", "stages = { a = {} }", "use = 3", "a.b.c.d = 1", "\x00", "\u202e", "x" * 300]
JUNK = st.sampled_from([*VALUES, *TABLES, *OTHER])


@st.composite
def mutated(draw):
    """A valid pipeline with values, keys or lines replaced, dropped or put in."""
    lines = draw(st.sampled_from([GOOD, STAGES])).splitlines()
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        key, _, value = lines[at].partition(" = ")
        how = draw(st.sampled_from(["value", "key", "drop", "insert", "double", "cut"]))
        junk = draw(JUNK | st.text(max_size=10))
        changes = {"value": f"{key} = {junk}", "key": f"{junk} = {value}", "drop": "", "insert": f"{junk}\n{lines[at]}"}
        lines[at] = (changes | {"double": f"{lines[at]}\n{lines[at]}", "cut": lines[at][: len(junk)]})[how]
    return "\n".join(lines)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mutated())
def test_any_file_is_understood_or_refused_with_our_own_error(fakes, text):
    try:
        pipeline = check_source(source_of_text(text, "x.toml"), fakes)
    except (PipelineError, PluginError, InputError) as error:
        assert str(error)
    else:
        tomllib.loads(tomli_w.dumps(pipeline.plain()))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([*tomllib.loads(GOOD), "model.dropout", "trainer.optimizer", "data.path", "data.extra"]), JUNK)
def test_any_value_of_the_command_line_is_understood_or_refused_with_our_own_error(fakes, tmp_path, path, junk):
    file = tmp_path / "pipeline.toml"
    file.write_text(GOOD)

    try:
        load_pipeline(file, fakes, [f"{path}={junk}"])
    except (PipelineError, PluginError, InputError) as error:
        assert str(error)


# Helpers


@pytest.mark.parametrize(
    ("value", "text"),
    [("é\n", '"é\\n"'), ([1, 2], "[1, 2]"), ("x" * 70, '"' + "x" * 56 + "…"), ({"a": None}, '{"a": null}')],
)
def test_a_value_is_shown_as_it_would_be_written(value, text):
    assert shown(value) == text


def test_a_type_that_pydantic_does_not_know_accepts_anything():
    assert adapter(dict[int]).validate_python("anything") == "anything"


def test_the_plain_form_can_be_written_as_json(load):
    assert json.loads(json.dumps(load(GOOD).plain()))["model"]["dropout"] == 0.25


def test_origins_are_known_for_what_the_file_says(load, tmp_path):
    pipeline = load(GOOD, ["model.rate=1"])

    assert str(pipeline.origin(("model", "dropout"))) == f"{tmp_path / 'pipeline.toml'}:7"
    assert str(pipeline.origin(("model", "rate"))) == "--set"
    assert pipeline.origin(("model", "bias")) is None
