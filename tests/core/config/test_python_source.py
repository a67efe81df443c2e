"""A pipeline given in Python means what the same file means, and its mistakes have places."""

import datetime
from pathlib import Path

import numpy as np
import pytest

from dlpipe.config.check import check_source
from dlpipe.config.python_source import override, source_of
from dlpipe.errors import InputError, PipelineError
from dlpipe.sweep.plan import plan

TABLES = {
    "name": "toy",
    "data": {"use": "fake.images"},
    "model": {"use": "fake.net"},
    "trainer": {"use": "fake.fit", "epochs": 2},
}


def problems_of(registry, tables, *overrides):
    def check() -> None:
        source = source_of(tables)
        override(source, overrides)
        check_source(source, registry)

    with pytest.raises(PipelineError, match=r"\S: ") as caught:
        check()
    return [str(problem) for problem in caught.value.problems]


def test_a_dict_means_what_the_same_file_means(fakes, load):
    text = (
        'name = "toy"\ndata.use = "fake.images"\nmodel.use = "fake.net"\ntrainer = { use = "fake.fit", epochs = 2 }\n'
    )

    assert check_source(source_of(TABLES), fakes).plain() == load(text).plain()


def test_the_place_of_a_mistake_in_a_dict_is_its_path(fakes):
    tables = TABLES | {"model": {"use": "fake.stack", "layers": [{"size": 2}, {"size": 0}]}}

    assert problems_of(fakes, tables) == [
        "model.layers[1].size: [model] layers[1].size = 0: expected a whole number above 0"
    ]
    assert problems_of(fakes, {**TABLES, "nmae": "x"}) == ['nmae: `nmae`: unknown key. Did you mean "name"?']


def test_what_is_missing_at_the_top_of_a_dict_is_missing_in_the_argument(fakes):
    tables = {key: value for key, value in TABLES.items() if key != "name"}

    assert problems_of(fakes, tables) == [
        'argument of load: missing key `name`; expected it at the top of the file, such as name = "slot-filling"'
    ]


def test_the_place_of_a_mistake_in_an_override_is_override(fakes):
    assert problems_of(fakes, TABLES, "trainer.epochs=ten", {"model.dropout": 1.5}) == [
        "override: [model] dropout = 1.5: expected a number from 0 to 1",
        'override: [trainer] epochs = "ten": expected a whole number above 0',
    ]
    assert problems_of(fakes, TABLES, "trainer.epochs") == [
        'override: "trainer.epochs": expected PATH=VALUE, such as trainer.epochs=3'
    ]
    assert problems_of(fakes, TABLES, {"trainer..epochs": 3, "name": "a"}, {"extends": "a.toml"}) == [
        'override: "trainer..epochs": expected a path such as trainer.epochs',
        'override: extends = "a.toml": only a file can extend another one; write it at the top of the file',
    ]


def test_what_set_a_value_is_told_for_each_value_of_a_table(fakes):
    source = source_of(TABLES)
    override(source, ["trainer.epochs=3", {"model": {"dropout": 0.25}}])
    pipeline = check_source(source, fakes)

    origins = [str(pipeline.origin(path)) for path in (("model", "use"), ("model", "dropout"), ("trainer", "epochs"))]

    assert origins == ["argument of load", "override", "override"]
    assert pipeline.origin(("model", "bias")) is None


def test_later_overrides_win_and_another_use_drops_parameters(fakes):
    source = source_of(TABLES | {"model": {"use": "fake.net", "dropout": 0.25}})
    override(source, [{"seed": 1, "model.use": "fake.sized"}, "seed=5"])

    plain = check_source(source, fakes).plain()

    assert plain["seed"] == 5
    assert plain["model"] == {"use": "fake.sized", "width": 64, "rates": [0.5, 0.25]}


def test_values_of_python_become_those_of_toml():
    values = source_of(
        {
            "path": Path("a/b"),
            "pair": (1, 2.5),
            "rate": np.float32(0.5),
            "size": np.int64(3),
            "day": datetime.date(2026, 1, 2),
        }
    ).values

    assert values == {"path": "a/b", "pair": [1, 2.5], "rate": 0.5, "size": 3, "day": datetime.date(2026, 1, 2)}
    assert [type(values[key]) for key in ("rate", "size")] == [float, int]


def test_all_values_that_toml_cannot_hold_are_named():
    with pytest.raises(PipelineError) as caught:
        source_of({"model": {"label": None, "sizes": [1, {2}]}, 3: 4})

    assert [str(problem) for problem in caught.value.problems] == [
        "argument of load: the key 3 is not a string",
        "model.label: None: TOML has no such value; leave the key out",
        'model.sizes[1]: "{2}": expected a string, number, boolean, date, list or dict',
    ]


def test_a_dict_extends_a_file_from_the_working_directory(write, tmp_path, monkeypatch):
    write('name = "base"\nseed = 3\n', "base.toml")
    monkeypatch.chdir(tmp_path)

    source = source_of({"extends": "base.toml", "name": "mine"})

    assert source.values == {"name": "mine", "seed": 3}
    assert str(source.origins["seed",]) == "base.toml:2"
    with pytest.raises(PipelineError, match=r'argument of load: extends = "bse.toml": there is no such pipeline file'):
        source_of({"extends": "bse.toml"})


def test_a_name_stands_for_a_pipeline_that_comes_with_dlpipe_unless_there_is_such_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert source_of("cnn_digits").values["name"] == "cnn-digits"
    Path("cnn_digits").write_text('name = "mine"\n')
    assert source_of("cnn_digits").values["name"] == "mine"


def test_something_else_is_refused():
    with pytest.raises(InputError, match="load got a list; expected a file, a name or a dict"):
        source_of([TABLES])


def test_an_axis_of_a_sweep_and_an_override_of_it_are_refused_together(fakes):
    source = source_of(TABLES | {"sweep": {"trainer.epochs": [1, 2]}})
    override(source, ["trainer.epochs=3"])

    with pytest.raises(
        PipelineError, match=r"override: trainer.epochs is an axis of \[sweep\], which would win over override"
    ):
        plan(source, fakes)
