"""The schema is draft 4, accepts what `dlpipe check` accepts and refuses what an editor should mark."""

import json
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft4Validator

from dlpipe.config.json_schema import SEARCH, pipeline_schema
from dlpipe.registry.loading import load_plugins
from dlpipe.sweep.settings import KEYS, METHODS, PRUNERS

PIPELINES = sorted((Path(__file__).parents[3] / "pipelines").glob("*.toml"))
TOP = 'name = "x"\n'


@pytest.fixture(scope="module")
def schema():
    # Through JSON, which editors read: tuples become arrays.
    return json.loads(json.dumps(pipeline_schema(load_plugins({}))))


@pytest.fixture(scope="module")
def errors(schema):
    """Return the paths of the mistakes in a pipeline."""

    def errors(text):
        return [
            ".".join(map(str, error.absolute_path))
            for error in Draft4Validator(schema).iter_errors(tomllib.loads(text))
        ]

    return errors


def test_the_schema_is_valid_draft_4(schema):
    Draft4Validator.check_schema(schema)


def keywords(schema):
    """Yield every keyword of a schema, at any depth."""
    if isinstance(schema, list):
        for part in schema:
            yield from keywords(part)
    elif isinstance(schema, dict):
        for key, part in schema.items():
            if key == "properties":
                yield from keywords(list(part.values()))
            elif key not in ("default", "enum"):
                yield key
                yield from keywords(part)


def without_defaults(schema):
    """Return a schema without the defaults of parameters, which may be the text "null"."""
    if isinstance(schema, list):
        return [without_defaults(part) for part in schema]
    if isinstance(schema, dict):
        return {key: without_defaults(part) for key, part in schema.items() if key != "default"}
    return schema


def test_the_schema_uses_no_keyword_of_newer_drafts(schema):
    assert not {"const", "prefixItems", "$defs", "if", "then", "examples"} & set(keywords(schema))
    assert '"null"' not in json.dumps(without_defaults(schema))


def test_the_schema_of_a_search_has_the_keys_and_choices_that_are_accepted():
    properties = SEARCH["properties"]

    assert tuple(properties) == KEYS
    assert (tuple(properties["method"]["enum"]), tuple(properties["pruner"]["enum"])) == (METHODS, PRUNERS)


@pytest.mark.parametrize("file", PIPELINES, ids=lambda file: file.name)
def test_every_pipeline_file_is_accepted(errors, file):
    assert errors(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        'extends = "base.toml"\n[trainer]\nepochs = 3\n',
        '[trainer]\nuse = "core.supervised"\nbatch_size = "full"\nmax_grad_norm = 1\nsteps = 3\n',
        '[trainer]\nuse = "core.supervised"\noptimizer = { use = "adam", betas = [0.8, 0.9] }\n',
        '[trainer]\nuse = "core.supervised"\noptimizer = { lr = 1e-4 }\n',
        '[trainer]\nuse = "core.supervised"\nschedule = { use = "step", step_size = 3 }\n',
        '[stages.a.data]\nuse = "text.flights"\n',
        'plugins = ["./mine.py"]\n',
        '[data]\nuse = "text.iob"\npath = "folder"\n',
    ],
)
def test_what_check_accepts_is_accepted(errors, text):
    assert errors(text if text.startswith("extends") else TOP + text) == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("sede = 3", ""),
        ("seed = -1", "seed"),
        ('seed = "3"', "seed"),
        ('device = "gpu"', "device"),
        ('[data]\nuse = "text.fligths"', "data"),
        ('[model]\nuse = "text.rnn_tagger"\nhiden_dim = 3', "model"),
        ('[model]\nuse = "text.rnn_tagger"\nhidden_dim = 0', "model"),
        ('[model]\nuse = "text.rnn_tagger"\ncell = "lsmt"', "model"),
        ('[model]\nuse = "text.rnn_tagger"\ndropout = 1', "model"),
        ('[trainer]\nuse = "core.supervised"\nseed = 3', "trainer"),
        ('[trainer]\nuse = "core.supervised"\nepochs = 0', "trainer"),
        ('[trainer]\nuse = "core.supervised"\noptimizer = { use = "adm" }', "trainer"),
        ('[trainer]\nuse = "core.supervised"\noptimizer = { momentum = 0.9 }', "trainer"),
        ('[trainer]\nuse = "core.supervised"\noptimizer = { use = "adam", betas = [0.8] }', "trainer"),
        ('[trainer]\nuse = "core.supervised"\nschedule = { use = "step", size = 3 }', "trainer"),
        ('[evaluators.slots]\nuse = "text.rnn_tagger"', "evaluators.slots"),
        ('[stages.a.data]\nuse = "text.nothing"', "stages.a.data"),
        ("[stages.a.datum]\nx = 1", "stages.a"),
    ],
)
def test_a_mistake_is_marked_at_its_place(errors, text, place):
    assert errors(TOP + text) == [place]


def properties(schema):
    """Yield (name, schema) of every key at any depth."""
    if isinstance(schema, list):
        for part in schema:
            yield from properties(part)
    elif isinstance(schema, dict):
        for key, part in schema.items():
            if key == "properties":
                yield from part.items()
            yield from properties(part)


def test_every_default_is_valid_by_its_own_schema(schema):
    defaults = [(name, part) for name, part in properties(schema) if "default" in part]

    assert len(defaults) > 100
    for name, part in defaults:
        assert Draft4Validator({**part, "definitions": schema["definitions"]}).is_valid(part["default"]), (name, part)


def test_keys_have_the_descriptions_of_the_docstrings(schema):
    (tagger,) = [table for table in schema["definitions"]["model"]["oneOf"] if table["title"] == "text.rnn_tagger"]

    assert tagger["properties"]["hidden_dim"] == {
        "type": "integer",
        "minimum": 0,
        "exclusiveMinimum": True,
        "default": 100,
        "description": "H, units per direction and layer.",
    }
    assert "device" not in tagger["properties"]


def test_a_trained_model_is_a_reference_and_a_broken_component_accepts_any_key(fakes):
    models = pipeline_schema(fakes)["definitions"]["model"]["oneOf"]
    named = {table["title"]: table for table in models}

    tuned, gone = Draft4Validator(named["fake.tuned"]), Draft4Validator(named["fake.gone"])

    assert tuned.is_valid({"use": "fake.tuned", "encoder": {"stage": "first"}})
    assert not tuned.is_valid({"use": "fake.tuned", "encoder": {"stage": "first", "run": "x"}})
    assert tuned.is_valid({"use": "fake.tuned", "encoder": {"stage": "a"}, "others": [{"stage": "a"}, {"run": "x"}]})
    assert not tuned.is_valid({"use": "fake.tuned", "encoder": {"stage": "a"}, "others": {"stage": "a"}})
    assert gone.is_valid({"use": "fake.gone", "anything": 3})


def test_an_argument_that_dlpipe_provides_is_not_a_key(schema):
    (trainer,) = [table for table in schema["definitions"]["trainer"]["oneOf"] if table["title"] == "core.supervised"]

    assert {"batch_size", "epochs", "monitor"} <= set(trainer["properties"])
    assert not {"model", "data", "compute", "seed"} & set(trainer["properties"])


def test_a_table_within_a_table_is_described_in_place(fakes):
    models = pipeline_schema(fakes)["definitions"]["model"]["oneOf"]
    layers = next(model for model in models if model["title"] == "fake.stack")["properties"]["layers"]

    assert layers["items"]["properties"]["size"]["minimum"] == 0
    assert layers["items"]["additionalProperties"] is False
    assert "$ref" not in json.dumps(layers)


def test_the_direction_of_reduce_on_plateau_is_not_a_key(schema):
    schedules = {table["title"]: table["properties"] for table in schema["definitions"]["schedule"]["oneOf"]}

    assert "factor" in schedules["reduce_on_plateau"]
    assert "mode" not in schedules["reduce_on_plateau"]
    assert "mode" in schedules["cyclic"]
