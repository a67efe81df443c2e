"""The keys of one table: values, unknown and renamed keys, tables within the table, optimizers, defaults."""

import re
from pathlib import Path

import pytest
import tomli_w

from dlpipe.config.settings import RENAMED
from dlpipe.registry.specs import ModelSpec, RegisteredComponent

GOOD = (Path(__file__).parent / "good.toml").read_text(encoding="utf-8")


# Values


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("rate=1", 1.0),
        ("rate=1e-3", 0.001),
        ("sizes=[1, 2]", (1, 2)),
        ("kind=b", "b"),
        ("kind=3", 3),
        ("label=text", "text"),
        ("bias=false", False),
    ],
)
def test_a_value_of_the_right_type_is_accepted(load, assignment, value):
    found = load(GOOD, [f"model.{assignment}"]).stages[""].model.values[assignment.partition("=")[0]]

    assert found == value
    assert type(found) is type(value)


def test_numbers_of_a_schedule_can_be_read_again(load):
    table = load(GOOD, ["trainer.schedule={use='multi_step', milestones=[3, 6]}"]).stages[""].trainer.values["schedule"]

    assert [list(table["milestones"]), list(table["milestones"])] == [[3, 6], [3, 6]]


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ('model.rate="1"', '[model] rate = "1": expected a number'),
        ("model.rate=true", "[model] rate = true: expected a number"),
        ("model.rate=2020-01-31", "[model] rate = 2020-01-31: expected a number"),
        ("model.bias=1", "[model] bias = 1: expected true or false"),
        ("model.bias=yes", '[model] bias = "yes": expected true or false'),
        ("model.label=3", "[model] label = 3: expected a string"),
        ("model.dropout=1.5", "[model] dropout = 1.5: expected a number from 0 to 1"),
        ("model.dropout=nan", "[model] dropout = nan: expected a number from 0 to 1"),
        ("model.kind=c", '[model] kind = "c": expected one of "a", "b", 3'),
        ("trainer.goal=maxx", '[trainer] goal = "maxx": expected one of "max", "min". Did you mean "max"?'),
        ("model.sizes=3", "[model] sizes = 3: expected a list of whole numbers"),
        ('model.sizes=["3"]', '[model] sizes[0] = "3": expected a whole number'),
        ("model.sizes=text", '[model] sizes = "text": expected a list of whole numbers'),
        ("trainer.batch_size=4.0", "[trainer] batch_size = 4.0: expected a whole number above 0"),
        ("trainer.batch_size=true", "[trainer] batch_size = true: expected a whole number above 0"),
        ('trainer.epochs="10"', '[trainer] epochs = "10": expected a whole number above 0'),
        ("trainer.epochs=ten", '[trainer] epochs = "ten": expected a whole number above 0'),
        ("trainer.epochs=0", "[trainer] epochs = 0: expected a whole number above 0"),
        ("trainer.monitor=3", "[trainer] monitor = 3: expected a string"),
        ("trainer.goal=up", '[trainer] goal = "up": expected one of "max", "min"'),
        ("trainer.optimizer.lr=fast", '[trainer.optimizer] lr = "fast": expected a number'),
        ("data.path=3", "[data] path = 3: expected a path"),
        ("data.path=~no-such-user/x", '[data] path = "~no-such-user/x": no such user'),
        ('data.path="a\\u0000/../b"', '[data] path = "a\\u0000/../b": embedded null byte'),
        ("data.pair=[1]", "[data] pair = [1]: expected a list of 2: a path, a path"),
        ("data.table=3", "[data] table = 3: expected a table"),
        ("seed=-1", "seed = -1: expected a whole number of at least 0"),
        ("seed=true", "seed = true: expected a whole number of at least 0"),
        ("device=gpu", 'device = "gpu": expected "auto", "cpu", "cuda", "cuda:N" or "mps"'),
        ('name="../x"', "name = \"../x\": expected a name of letters, digits, '-', '_' and '.'"),
        (
            "model.dropout=" + "x" * 90,
            '[model] dropout = "' + "x" * 56 + "…: expected a number from 0 to 1",
        ),
    ],
)
def test_a_wrong_value_is_reported_with_what_was_expected(mistakes, assignment, message):
    assert mistakes(GOOD, [assignment]) == [(0, message)]


def test_a_relative_path_starts_from_the_folder_of_its_file(changed, load, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(changed(4, 'use = "fake.images"\npath = "here"\nfiles = ["one"]'), "base/base.toml")
    write('extends = "../base/base.toml"\n[data]\npair = ["a", "/b"]\n', "sub/pipeline.toml")

    data = load(Path("sub/pipeline.toml"), ["data.files=['two', '~/three']"]).stages[""].data.values

    assert data["path"] == tmp_path / "base" / "here"
    assert data["pair"] == (tmp_path / "sub" / "a", Path("/b"))
    assert data["files"] == [tmp_path / "two", Path.home() / "three"]


def test_a_path_is_the_same_from_every_folder_and_links_stay_unless_a_parent_follows(
    changed, load, write, tmp_path, monkeypatch
):
    write(changed(4, 'use = "fake.images"\npath = "link/here"\nfiles = ["link/../one"]'), "pipeline.toml")
    (tmp_path / "far" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to("far/inner")
    monkeypatch.chdir(tmp_path / "far")

    first, second = (load(Path(name)) for name in ("../pipeline.toml", tmp_path / "pipeline.toml"))

    assert first.plain() == second.plain()
    assert first.stages[""].data.values["path"] == tmp_path / "link" / "here"
    assert first.stages[""].data.values["files"] == [tmp_path / "far" / "one"]


STACK = GOOD.replace('use = "fake.net"\ndropout = 0.25', 'use = "fake.stack"')


def stack(*lines):
    return (
        "\n".join([*STACK.partition("[trainer]")[0].partition('use = "fake.stack"')[:2], *lines, "[trainer]"])
        + (STACK.partition("[trainer]")[2])
    )


def test_tables_within_a_table_are_checked_at_their_own_lines(mistakes):
    text = stack("layers = [", '  { size = 3, kind = "a" },', "  { sise = 3 },", '  { kind = "c" },', "]", "first = 3")

    found = [message for _, message in mistakes(text)]

    assert found == [
        '[model] layers[1].sise: unknown key. Did you mean "size"?',
        '[model] layers[2].kind = "c": expected one of "a", "b"',
        "[model] first = 3: expected a table",
    ]


def test_a_missing_key_of_a_table_within_a_table_is_reported(mistakes):
    found = [message for _, message in mistakes(stack("tiers = [{ height = 2 }, {}]", "first = { wide = 2 }"))]

    assert found == [
        "[model] tiers[1]: missing key `height`; expected a whole number above 0",
        "[model] first.wide: unknown key. It takes size, kind.",
    ]


@pytest.mark.parametrize("assignments", [[], ["trainer.optimizer.weight_decay=0"]])
def test_a_whole_number_becomes_the_float_that_is_expected_by_default_too(load, assignments):
    optimizer = load(GOOD, assignments).stages[""].trainer.values["optimizer"]

    assert repr(optimizer["weight_decay"]) == "0.0"


def test_a_default_tuple_becomes_the_list_that_a_file_would_give(load):
    assert load(STACK).stages[""].model.values["layers"] == [{"size": 2}]


# Related


RELATED = GOOD.replace('use = "fake.net"\ndropout = 0.25', 'use = "fake.related"')


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["pieces=3"], 'pieces = 3 has an effect only with kind = "b", and kind is "a"; remove it or change kind'),
        (["alpha=0.5"], "alpha = 0.5 has an effect only with sizes, and sizes is []; remove it or change sizes"),
        (
            ["alpha=0.5", "sizes=[1]", "kind=c"],
            'alpha = 0.5 has an effect only with kind = "a" or "b", and kind is "c"; remove it or change kind',
        ),
        (["share=0.5", "sizes=[1]"], "share = 0.5 has no effect with sizes = [1]; remove one of the two"),
    ],
)
def test_a_value_without_effect_beside_the_others_is_refused(mistakes, assignments, message):
    found = mistakes(RELATED, [f"model.{assignment}" for assignment in assignments])

    assert found == [(0, f"[model] {message}")]


@pytest.mark.parametrize("assignment", ["trainer.optimizer.lr=0.5", "trainer.optimizer={lr = 0.5}"])
def test_a_table_that_names_no_optimizer_changes_the_default_one(load, assignment):
    plain, changed = (load(GOOD, given).stage().trainer.values["optimizer"] for given in ([], [assignment]))

    assert plain["lr"] != 0.5
    assert changed == {**plain, "lr": 0.5}


@pytest.mark.parametrize(
    "assignments", [["pieces=2"], ["pieces=3", "kind=b"], ["alpha=0.5", "sizes=[1]"], ["share=0.5"], ["label=x"]]
)
def test_a_default_and_a_value_with_effect_are_accepted_and_one_that_the_data_decides(load, assignments):
    load(RELATED, [f"model.{assignment}" for assignment in assignments])


def test_a_resolved_pipeline_with_all_its_defaults_is_accepted(load):
    pipeline = load(RELATED, ["model.sizes=[1]", "model.kind=c"])

    assert load(tomli_w.dumps(pipeline.plain())).plain() == pipeline.plain()


# Renamed


def test_a_former_key_works_with_a_warning_that_gives_its_new_name(load, write):
    pipeline = load(GOOD.replace("epochs = 2", "epochs = 2\nbatch = 8"))

    assert pipeline.stage().trainer.values["batch_size"] == 8
    [warning] = pipeline.warnings
    assert warning.endswith("pipeline.toml:11: [trainer] batch was renamed to batch_size; use the new name")
    assert pipeline.origin(("trainer", "batch_size")).line == 11
    assert load(GOOD, ["trainer.batch=8"]).warnings == (
        "--set: [trainer] batch was renamed to batch_size; use the new name",
    )
    assert load(GOOD).warnings == ()


def test_a_mistake_in_a_former_key_is_at_its_line(mistakes):
    text = GOOD.replace("epochs = 2", "epochs = 2\nbatch = 0")

    assert mistakes(text) == [(11, "[trainer] batch_size = 0: expected a whole number above 0")]


def test_a_key_that_is_given_by_both_names_is_a_mistake(mistakes):
    text = GOOD.replace("epochs = 2", "epochs = 2\nbatch = 8\nbatch_size = 8")

    assert mistakes(text) == [(11, "[trainer] batch was renamed to batch_size, and both are given; remove batch")]


def test_a_former_key_of_a_table_within_a_table_works(load, mistakes):
    pipeline = load(stack("layers = [", "  { size = 3 },", "  { width = 4 },", "]"))

    assert pipeline.stage().model.values["layers"] == [{"size": 3}, {"size": 4}]
    assert [warning.partition(": ")[2] for warning in pipeline.warnings] == [
        "[model] layers[1].width was renamed to layers.size; use the new name"
    ]
    found = mistakes(stack("layers = [{ width = 0 }, { size = 3, width = 3 }]"))
    assert [message for _, message in found] == [
        "[model] layers[0].size = 0: expected a whole number above 0",
        "[model] layers[1].width was renamed to layers.size, and both are given; remove width",
    ]


def test_a_former_key_counts_as_given(load):
    given = ["data.use=fake.words", "model.num_classes=3", "evaluators.right.num_classes=3"]

    assert load(GOOD, [*given, "data.needed=x"]).stage().data.values == {"must": "x"}


def test_the_former_name_of_a_budget_ends_a_run(load):
    assert load(GOOD.replace("epochs = 2", "updates = 2")).stage().options.steps == 2


@pytest.mark.parametrize(
    ("kind", "assignment", "where", "current"),
    [
        ("trainer", "trainer.save_every=3", "[trainer] save_every", "checkpoint_every"),
        ("evaluator", 'evaluators.right.on=["dev"]', "[evaluators.right] on", "splits"),
        ("pipeline", "cores=3", "cores", "threads"),
    ],
)
def test_a_former_option_of_the_core_works(load, monkeypatch, kind, assignment, where, current):
    monkeypatch.setitem(RENAMED, kind, {where.split()[-1]: current})

    assert load(GOOD, [assignment]).warnings == (f"--set: {where} was renamed to {current}; use the new name",)


@pytest.mark.parametrize("old", ["fake.network", "elsewhere.net"])
def test_a_former_name_of_a_component_works(load, old):
    pipeline = load(GOOD.replace('"fake.net"', f'"{old}"'))

    assert pipeline.plain() == load(GOOD).plain()
    [warning] = pipeline.warnings
    assert warning.endswith(f'pipeline.toml:6: [model] use = "{old}" was renamed to "fake.net"; use the new name')


def test_a_former_name_that_means_another_key_now_is_that_key(load, monkeypatch):
    monkeypatch.setitem(RENAMED, "trainer", {"steps": "epochs"})

    pipeline = load(GOOD.replace("epochs = 2", "steps = 2"))

    assert (pipeline.stage().options.steps, pipeline.warnings) == (2, ())


# Defaults and types of the component


@pytest.fixture
def careless(fakes, write, monkeypatch, tmp_path):
    """Offer a model with a parameter like a text."""
    monkeypatch.syspath_prepend(tmp_path)

    def careless(parameter):
        module = f"careless_{abs(hash(parameter))}"
        write(
            "from collections.abc import Sequence\nfrom dlpipe.fields import OptimizerTable, Positive\n"
            f"class Net:\n    def __init__(self, *, {parameter}): ...",
            f"{module}.py",
        )
        spec = ModelSpec("careless", f"{module}:Net", "careless")
        fakes.components["model"]["fake.careless"] = RegisteredComponent(spec, "fake", "dlpipe-fake 1.0")
        return GOOD.replace('"fake.net"', '"fake.careless"').replace("dropout = 0.25\n", "")

    return careless


@pytest.mark.parametrize(
    ("parameter", "found"),
    [
        ("width: Positive = 0", "has the default width = 0, which its own annotation refuses; expected a whole number"),
        (
            "width: int = None",
            "has the default width = None, which its own annotation refuses; expected a whole number",
        ),
        ("widths: Sequence[Positive] = (1, 0)", r"has the default widths = \(1, 0\), which its own annotation refuses"),
        ("rate: float = '0.1'", "has the default rate = '0.1', which its own annotation refuses; expected a number"),
        ("step: OptimizerTable = {'use': 'adamm'}", 'step use = "adamm": unknown optimizer. Did you mean "adam"'),
    ],
)
def test_a_default_that_its_own_annotation_refuses_is_a_mistake_where_it_applies(mistakes, careless, parameter, found):
    [(line, message)] = mistakes(careless(parameter))

    assert line == 5
    assert re.search(found, message)
    assert message.startswith(("[model] fake.careless ", "[model] step "))


def test_a_bad_default_does_not_matter_where_a_value_is_given(load, careless):
    assert load(careless("width: Positive = 0"), ["model.width=3"]).stage().model.values == {"freeze": None, "width": 3}


@pytest.mark.parametrize(
    ("parameter", "reason"),
    [
        ("width=3", "does not say the type of width"),
        ("width: Color = 3", "annotates width with Color, which is not understood"),
    ],
)
def test_a_value_that_cannot_be_checked_is_accepted_with_a_warning(load, careless, parameter, reason):
    text = careless(parameter)

    assert load(text).warnings == ()
    pipeline = load(text, ["model.width=[]"])
    assert pipeline.stage().model.values == {"freeze": None, "width": []}
    assert pipeline.warnings == (
        f"--set: [model] width = [] is not checked, since fake.careless {reason}; annotate it with types of Python, "
        "typing or dlpipe.fields",
    )


# Optimizers and schedules


def test_the_direction_of_reduce_on_plateau_cannot_be_set(mistakes):
    found = mistakes(GOOD, ["trainer.schedule={ use = 'reduce_on_plateau', mode = 'max' }"])

    assert found == [
        (
            0,
            '[trainer.schedule] mode = "max": the direction follows from the monitored metric; remove it, and set '
            "`goal` in [trainer] if the metric needs the other direction",
        )
    ]


def test_the_direction_of_reduce_on_plateau_is_not_filled_in(load):
    schedule = load(GOOD, ["trainer.schedule={ use = 'reduce_on_plateau' }"]).stages[""].trainer.values["schedule"]

    assert schedule["factor"] == 0.1
    assert "mode" not in schedule


def test_the_mode_of_a_cyclic_schedule_is_its_own(load):
    table = "{ use = 'cyclic', base_lr = 0.1, max_lr = 1.0, mode = 'exp_range' }"

    assert load(GOOD, [f"trainer.schedule={table}"]).stages[""].trainer.values["schedule"]["mode"] == "exp_range"


# Computed defaults


def test_a_default_that_is_a_constant_is_part_of_the_resolved_pipeline(load):
    values = load(GOOD, ["model.use=fake.sized"]).plain()["model"]

    assert values == {"use": "fake.sized", "width": 64, "rates": [0.5, 0.25]}


def test_a_relative_path_by_default_starts_from_the_working_directory(load, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pipeline = load(GOOD, ["callbacks.log.use=fake.note"])

    again = load(write(tomli_w.dumps(pipeline.plain()), "elsewhere/resolved.toml"))

    assert pipeline.plain()["callbacks"]["log"]["file"] == str(tmp_path / "notes.txt")
    assert again.plain() == pipeline.plain()


def test_a_key_of_an_inner_table_is_answered_with_its_path(mistakes):
    found = mistakes(GOOD, ["model.use=fake.stack", "model.size=3"])

    assert "[model] size: unknown key of fake.stack. It is a key of first: set model.first.size = 3." in str(found)
