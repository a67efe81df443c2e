"""The ``[sweep]`` table: the trials it means, and its mistakes."""

from __future__ import annotations

import pytest

from dlpipe.config.source import read_source
from dlpipe.errors import PipelineError
from dlpipe.sweep.axes import compact
from dlpipe.sweep.plan import count_trials, load_sweep

BASE = """\
name = "grid"
seed = 5
[data]
use = "fake.images"
[model]
use = "fake.net"
dropout = 0.25
sizes = [2]
[trainer]
use = "fake.fit"
epochs = 1
optimizer = { use = "sgd", lr = 0.5, momentum = 0.9 }
[evaluators.digits]
use = "fake.accuracy"
"""


@pytest.fixture
def sweep(fakes, write):
    """Plan the sweep of the base with a table."""

    def sweep(table, *assignments, base=BASE, **options):
        return load_sweep(write(base + table), fakes, assignments, **options)

    return sweep


@pytest.fixture
def mistakes(sweep):
    """Return the mistakes of a table, each with its line counted from ``[sweep]`` (1)."""

    def mistakes(table, *assignments, **options):
        with pytest.raises(PipelineError) as caught:
            sweep(table, *assignments, **options)
        above = BASE.count("\n")
        return [f"{p.line - above if p.line else p.file}: {p.message}" for p in caught.value.problems]

    return mistakes


def optimizer(trial):
    return trial.pipelines[0].stages[""].trainer.values["optimizer"]


def net(trial):
    return trial.pipelines[0].stages[""].model.values


# Trials


def test_the_grid_is_the_product_of_the_axes_in_the_order_of_the_file(sweep):
    trials = sweep('[sweep]\n"model.kind" = ["b", 3]\n"model.dropout" = [0.1, 0.2, 0.0]\n').trials

    assert [trial.label for trial in trials] == ["b, 0.1", "b, 0.2", "b, 0.0", "3, 0.1", "3, 0.2", "3, 0.0"]
    assert [(net(trial)["kind"], net(trial)["dropout"]) for trial in trials][1:4] == [("b", 0.2), ("b", 0.0), (3, 0.1)]
    assert trials[1].values == {"model.kind": "b", "model.dropout": 0.2}


def test_a_named_axis_sets_several_paths_together(sweep):
    table = '[sweep.size]\nsmall = { "model.sizes" = [1], "model.dropout" = 0.0 }\n"very large" = { "model.sizes" = [7, 7] }\n'

    small, large = sweep(table).trials

    assert (small.label, net(small)["sizes"], net(small)["dropout"]) == ("small", (1,), 0.0)
    assert (large.label, net(large)["sizes"], net(large)["dropout"]) == ("very large", (7, 7), 0.25)


def test_a_table_as_a_value_takes_the_place_of_the_one_that_was_there(sweep):
    table = '[sweep]\n"trainer.optimizer" = [{ use = "sgd", lr = 0.1 }, { use = "adam" }]\n'

    sgd, adam = sweep(table).trials

    assert (sgd.label, adam.label) == ('{ use = "sgd", lr = 0.1 }', '{ use = "adam" }')
    assert (optimizer(sgd)["lr"], optimizer(sgd)["momentum"]) == (0.1, 0)
    assert optimizer(adam)["use"] == "adam"


def test_an_axis_changes_the_default_optimizer_where_the_file_has_none(sweep):
    base = BASE.replace('optimizer = { use = "sgd", lr = 0.5, momentum = 0.9 }\n', "")

    trials = sweep('[sweep]\n"trainer.optimizer.lr" = [0.25, 0.125]\n', base=base).trials

    assert [(optimizer(trial)["use"], optimizer(trial)["lr"]) for trial in trials] == [("sgd", 0.25), ("sgd", 0.125)]


def test_an_axis_of_the_learning_rate_in_the_wrong_place_is_answered_with_the_right_one(mistakes):
    found = mistakes('[sweep]\n"trainer.lr" = [0.25]\n')

    assert found[0].startswith(
        "2: [trainer] lr: unknown key of fake.fit. It is a parameter of optimizer sgd: set trainer.optimizer.lr = 0.25."
    )


def test_another_use_drops_the_parameters_before_other_axes_set_theirs(sweep):
    table = '[sweep]\n"trainer.optimizer.lr" = [0.25]\n"trainer.optimizer.use" = ["adam"]\n'

    (trial,) = sweep(table).trials

    assert (optimizer(trial)["use"], optimizer(trial)["lr"]) == ("adam", 0.25)
    assert "momentum" not in optimizer(trial)


def test_an_axis_may_be_named_like_a_table_of_the_file(sweep):
    trials = sweep('[sweep.model]\nas_it_is = {}\nthin = { "model.dropout" = 0.5 }\n').trials

    assert [trial.label for trial in trials] == ["as_it_is", "thin"]


def test_settings_and_whole_tables_can_be_axes(sweep):
    table = '[sweep]\nprecision = ["float32", "bfloat16"]\nmodel = [{ use = "fake.net", dropout = 0.5 }]\n'

    trials = sweep(table).trials

    assert [trial.pipelines[0].settings.precision for trial in trials] == ["float32", "bfloat16"]
    assert (net(trials[0])["dropout"], net(trials[0])["sizes"]) == (0.5, (3,))


def test_a_name_with_a_dot_is_quoted_in_a_path(sweep):
    base = BASE.replace("evaluators.digits", "evaluators.'v1.0'")

    (trial,) = sweep("[sweep]\n'evaluators.\"v1.0\".splits' = [['test']]\n", base=base).trials

    assert list(trial.pipelines[0].stages[""].evaluators) == ["v1.0"]
    assert trial.pipelines[0].stages[""].evaluators["v1.0"].values["splits"] == ["test"]


def test_seeds_count_from_that_of_the_file(sweep):
    table = "[sweep]\nseeds = 3\n"

    seeds = [[one.settings.seed for one in sweep(table, *more).trials[0].pipelines] for more in ([], ["seed=8"])]
    fewer = sweep(table, seeds=2).trials[0]

    assert seeds == [[5, 6, 7], [8, 9, 10]]
    assert len(fewer.pipelines) == 2
    assert fewer.label == "as it is"


def test_what_is_set_on_the_command_line_holds_for_all_trials(sweep):
    trials = sweep('[sweep]\n"model.dropout" = [0.1, 0.2]\n', "model.bias=false").trials

    assert [net(trial)["bias"] for trial in trials] == [False, False]


def test_what_is_set_on_the_command_line_holds_for_the_component_of_an_axis(sweep, mistakes):
    table = '[sweep]\n"trainer.optimizer.use" = ["sgd", "adam"]\n"model.dropout" = [0.1]\n'

    trials = sweep(table, "trainer.optimizer.lr=0.25", "model.bias=false").trials

    assert [(optimizer(trial)["use"], optimizer(trial)["lr"]) for trial in trials] == [("sgd", 0.25), ("adam", 0.25)]
    assert [(net(trial)["dropout"], net(trial)["bias"]) for trial in trials] == [(0.1, False)] * 2
    (refused,) = mistakes(table, "trainer.optimizer.nesterov=true")
    assert refused.startswith("--set: [trainer.optimizer] nesterov: unknown key of optimizer adam.")
    assert refused.endswith('(trial "adam, 0.1")')


def test_the_sweep_is_no_part_of_the_resolved_pipeline(sweep):
    (trial,) = sweep('[sweep]\n"model.dropout" = [0.1]\n').trials

    assert "sweep" not in trial.pipelines[0].plain()


def test_a_sweep_is_extended_like_other_tables(fakes, write):
    write(BASE + '[sweep]\nseeds = 2\n"model.dropout" = [0.1, 0.2]\n', "base.toml")

    planned = load_sweep(write('extends = "base.toml"\n[sweep]\n"model.dropout" = [0.3]\n'), fakes)

    assert [(trial.label, len(trial.pipelines)) for trial in planned.trials] == [("0.3", 2)]


def test_trials_can_be_counted_without_a_check(write):
    table = '[sweep]\nseeds = 2\n"a.b" = [1, 2, 3]\n[sweep.c]\nx = {}\ny = {}\n[sweep.reference.d]\nx = 1\n'

    assert count_trials(read_source(write(table)).values["sweep"]) == 6
    assert count_trials(read_source(write(table.replace("seeds = 2", 'average_over = ["c"]'))).values["sweep"]) == 3


# Mistakes


@pytest.mark.parametrize(
    ("table", "found"),
    [
        (
            '[sweep]\n"model.dropout" = 3\n',
            '2: [sweep] "model.dropout" = 3: expected a list of the values to try, or a range such as { low = 1, high = 5 }',
        ),
        (
            '[sweep]\n"model.dropout" = []\n',
            '2: [sweep] "model.dropout" = []: expected a list of the values to try, or a range such as { low = 1, high = 5 }',
        ),
        ("[sweep]\nseed = [1, 2]\n", "2: [sweep] seed cannot be an axis; write seeds = 3 for three runs of each trial"),
        (
            "[sweep.a]\nb = { seed = 3 }\n",
            "2: [sweep] seed cannot be an axis; write seeds = 3 for three runs of each trial",
        ),
        ('[sweep]\nname = ["a", "b"]\n', "2: [sweep] name cannot be an axis, since it is the same for all trials"),
        ('[sweep]\n"model..x" = [1]\n', '2: [sweep] "model..x": expected a path such as trainer.optimizer.lr'),
        ("[sweep]\n'model.\"x' = [1]\n", '2: [sweep] "model.\\"x": expected a path such as trainer.optimizer.lr'),
        (
            "[sweep]\nsedes = [1]\n",
            '2: [sweep] sedes: unknown key. Did you mean "seeds"? An axis is a path, or a table',
        ),
        ("[sweep]\nseeds = 0\n", "2: [sweep] seeds = 0: expected a whole number above 0"),
        ("[sweep]\nseeds = true\n", "2: [sweep] seeds = true: expected a whole number above 0"),
        (
            "[sweep]\n",
            '1: [sweep] there is nothing to try; expected an axis such as "trainer.optimizer.lr" = [0.01, 0.1], or seeds',
        ),
        (
            "[sweep.net]\nsmall = 3\n",
            '2: [sweep] net.small = 3: expected a table of paths, such as { "model.width" = 10 }',
        ),
        (
            "[sweep]\ntrainer.optimizer.lr = [0.1, 0.2]\n",
            '2: [sweep] trainer is a table of the file; write a path in quotation marks: "trainer.optimizer.lr" = …',
        ),
        (
            "[sweep]\nmodel.dropout = { low = 0.1, high = 0.2 }\n",
            '2: [sweep] model is a table of the file; write a path in quotation marks: "model.dropout" = …',
        ),
        (
            "[sweep.net]\n",
            '1: [sweep] net is empty; expected choices such as "small" = { "model.width" = 10 }',
        ),
        (
            '[sweep]\n"model.dropout" = [0.1, 0.1]\n',
            '1: [sweep] 2 trials are called "0.1"; remove one, or name them: [sweep.NAME]',
        ),
        (
            '[sweep]\n"model.dropout" = [0.1]\n[sweep.d]\nx = { "model.dropout" = 0.2 }\n',
            "3: [sweep] model.dropout is set by two axes, model.dropout and d; keep one",
        ),
        (
            '[sweep]\n"model.dropout" = [0.1]\n\'model."dropout"\' = [0.2]\n',
            '3: [sweep] model."dropout" is set by two axes, model.dropout and model."dropout"; keep one',
        ),
        (
            '[sweep]\n"model.dropout" = [0.1]\n[sweep.reference.paper]\n"0.2" = 3\n',
            '4: [sweep] reference.paper."0.2": there is no such trial; there are "0.1"',
        ),
        (
            '[sweep]\n"model.dropout" = [0.1]\n[sweep.reference.paper]\n"0.1" = "3"\n',
            '4: [sweep] reference.paper."0.1" = "3": expected a number',
        ),
        (
            '[sweep]\nreference = { x = 3 }\n"model.dropout" = [0.1]\n',
            '2: [sweep] reference = {"x": 3}: expected tables such as [sweep.reference.paper]',
        ),
        (
            '[sweep]\nmetric = "test/digit/accuracy"\n"model.dropout" = [0.1]\n',
            '2: [sweep] metric = "test/digit/accuracy": expected dev/digits/…',
        ),
        (
            '[sweep]\n"model.dropout" = [0.1, 1.5]\n',
            '2: [model] dropout = 1.5: expected a number from 0 to 1 (trial "1.5")',
        ),
    ],
)
def test_a_mistake_is_told_with_its_line(mistakes, table, found):
    assert mistakes(table) == [found]


def test_a_mistake_of_several_trials_is_told_once(mistakes):
    table = '[sweep]\n"model.dropuot" = [0.1]\n"model.kind" = ["a", "b", 3]\n'

    assert mistakes(table) == [
        '2: [model] dropuot: unknown key of fake.net. Did you mean "dropout"? (trial "0.1, a" and 2 more)'
    ]


def test_mistakes_of_the_pipeline_and_of_trials_are_told_together(mistakes):
    table = '[sweep]\nmetric = 3\n"model.dropout" = [7]\n"model.kind" = ["a", "c"]\n'

    found = mistakes(table, "trainer.epochs=0")

    assert [message.partition(":")[0] for message in found] == ["--set", "2", "3", "4"]
    assert all("(trial" not in message for message in found[:2])


def test_an_axis_that_is_set_on_the_command_line_is_a_mistake(mistakes):
    found = mistakes('[sweep]\n"model.dropout" = [0.1]\n', "model.dropout=0.2")

    assert found == ["--set: model.dropout is an axis of [sweep], which would win over --set; leave one of them out"]


def test_too_many_trials_are_refused_with_their_number(mistakes):
    values = str(list(range(1, 41)))
    table = f'[sweep]\n"trainer.batch_size" = {values}\n"trainer.steps" = {values}\n'

    assert mistakes(table) == ["1: [sweep] asks for 1,600 trials; expected at most 1,000"]


@pytest.mark.parametrize(("table", "found"), [("", "has no [sweep]"), ("sweep = 3\n", "sweep = 3")])
def test_a_file_without_the_table_is_told_what_it_looks_like(fakes, write, table, found):
    with pytest.raises(PipelineError, match=r"expected a table such as \[sweep\] \"trainer.optimizer.lr\"") as caught:
        load_sweep(write(table + BASE), fakes)

    assert f": {found}; expected" in str(caught.value)


def test_an_empty_choice_is_the_pipeline_as_it_is(sweep):
    plain, tuned = sweep('[sweep.net]\n"plain" = {}\n"tuned" = { "model.dropout" = 0.1 }\n').trials

    assert (plain.values, net(plain)["dropout"], net(tuned)["dropout"]) == ({}, 0.25, 0.1)


def test_several_seeds_need_no_table(sweep):
    (trial,) = sweep("", seeds=2).trials

    assert [pipeline.settings.seed for pipeline in trial.pipelines] == [5, 6]


AVERAGED = """
[sweep]
seeds = 2
average_over = ["part"]
"model.dropout" = [0.1, 0.2]
[sweep.part]
first = { "trainer.steps" = 1 }
second = { "trainer.steps" = 2 }
"""


def test_a_trial_has_a_run_for_each_choice_that_is_averaged_over_and_each_seed(sweep):
    planned = sweep(AVERAGED)

    assert [(trial.label, trial.choices, trial.values) for trial in planned.trials] == [
        (value, {"model.dropout": value}, {"model.dropout": float(value)}) for value in ("0.1", "0.2")
    ]
    runs = [(run.stages[""].options.steps, run.settings.seed) for run in planned.trials[0].pipelines]
    assert runs == [(1, 5), (1, 6), (2, 5), (2, 6)]
    assert [planned.trials[0].run_name(number) for number in range(4)] == [
        "part = first, seed 5",
        "part = first, seed 6",
        "part = second, seed 5",
        "part = second, seed 6",
    ]
    assert (planned.axes.keys(), planned.averaged) == ({"model.dropout"}, {"part": 2})
    (alone,) = sweep(AVERAGED.replace('"model.dropout" = [0.1, 0.2]', ""), seeds=1).trials
    assert [alone.run_name(number) for number in range(2)] == ["part = first", "part = second"]
    assert alone.label == "as it is"


def test_what_is_averaged_over_is_no_part_of_the_pipeline_of_a_trial(sweep):
    trial = sweep(AVERAGED).trials[1]

    stage = trial.pipeline.stages[""]
    assert (stage.model.values["dropout"], stage.options.steps) == (0.2, None)


@pytest.mark.parametrize("names", ['["parts"]', '"part"', "[1]", '[["part"]]'])
def test_only_axes_can_be_averaged_over(mistakes, names):
    (told,) = mistakes(AVERAGED.replace('["part"]', names))

    assert told.endswith(f'average_over = {names}: expected a list of axes of this table ("model.dropout", "part")')


def test_a_long_list_of_equal_parts_is_short_in_a_label():
    assert compact([500] * 9) == "9 × 500"
    assert compact([3, 3, 5, 3]) == "[3, 3, 5, 3]"
    assert compact([3, 3]) == "[3, 3]"


def test_of_several_metrics_the_first_decides_and_the_others_are_shown(sweep, mistakes):
    table = '[sweep]\nmetric = ["test/digits/top", "dev/digits/other"]\n"model.dropout" = [0.1]\n'

    planned = sweep(table)

    assert (planned.metric, planned.further) == ("test/digits/top", ("dev/digits/other",))
    assert sweep(table.replace("dev/digits", "train/digits")).further == ("train/digits/other",)
    assert mistakes(table.replace("dev/digits", "dev/nobody")) == [
        '2: [sweep] metric = "dev/nobody/other": expected dev/digits/…'
    ]


def test_trials_are_not_compared_on_train(mistakes):
    table = '[sweep]\nmetric = "train/digits/top"\n"model.dropout" = [0.1]\n'

    assert mistakes(table) == [
        '2: [sweep] metric = "train/digits/top": trials are compared on examples that the model does not learn from; '
        "expected dev/digits/…"
    ]


# Searches

SEARCH = (
    '[sweep]\n"model.dropout" = { low = 0.0, high = 0.5 }\n"model.kind" = ["b", 3]\n[sweep.search]\nmethod = "tpe"\n'
)


def test_a_search_draws_no_choice_that_it_averages_over_and_cannot_prune_a_mean(sweep, mistakes):
    searched = SEARCH.replace("[sweep]", '[sweep]\naverage_over = ["model.kind"]', 1)

    planned = sweep(searched)

    assert (planned.averaged, "model.kind" in planned.axes) == ({"model.kind": 2}, False)
    assert [trial.averaged for trial in planned.trials[:1]] == [({"model.kind": "b"}, {"model.kind": "3"})]
    (told,) = mistakes(searched + 'pruner = "median"\n')
    assert told.endswith('search.pruner = "median": pruning needs one run per trial, but each has 2')


def test_both_ends_of_a_range_are_checked_with_all_choices(sweep):
    planned = sweep(SEARCH + "trials = 7\n")

    assert {trial.label for trial in planned.trials} == {"0, b", "0, 3", "0.5, b", "0.5, 3"}
    assert planned.search.trials == 7
    assert net(planned.make({"model.dropout": planned.axes["model.dropout"].choice(0.25)}))["dropout"] == 0.25


def test_a_range_of_whole_numbers_has_whole_ends(sweep):
    axis = sweep(SEARCH.replace("{ low = 0.0, high = 0.5 }", "{ low = 0, high = 1 }")).axes["model.dropout"]

    assert axis.whole
    assert [choice.name for choice in axis.ends] == ["0", "1"]


def test_choices_may_be_called_low_and_high(sweep):
    table = '[sweep.capacity]\nlow = { "model.dropout" = 0.5 }\nhigh = { "model.dropout" = 0.0 }\n'

    assert [trial.label for trial in sweep(table).trials] == ["low", "high"]


@pytest.mark.parametrize(
    ("axis", "found"),
    [
        ("{ low = 0.5, high = 0.1 }", '"model.dropout": low = 0.5 is not below high = 0.1'),
        ('{ low = 0, high = 1, scale = "log" }', '"model.dropout": low = 0: scale = "log" needs a number above 0'),
        ("{ low = 0.1, hihg = 1 }", '"model.dropout": unknown key hihg. Did you mean "high"?'),
        ('{ low = "a", high = 1 }', '"model.dropout": low = "a": expected a number'),
        ('{ low = 0.1, high = 1, scale = "ln" }', '"model.dropout": scale = "ln": expected "linear" or "log"'),
        (
            "{ low = 0, high = 4, step = 0.5 }",
            '"model.dropout": step = 0.5: expected a whole number, as both ends are; or write low = 0.0',
        ),
        (
            "{ low = 0.0, high = 0.5, step = 3 }",
            '"model.dropout": step = 3: expected a number above 0 and at most high - low = 0.5',
        ),
        (
            "{ low = 0, high = 4, step = 3 }",
            '"model.dropout": high = 4 is never reached from low = 0 in steps of 3; expected high = 3',
        ),
        (
            "{ low = 0, high = 0.5, step = 0.2 }",
            '"model.dropout": high = 0.5 is never reached from low = 0 in steps of 0.2; expected high = 0.4',
        ),
    ],
)
def test_a_mistake_in_a_range_is_told(mistakes, axis, found):
    told = mistakes(SEARCH.replace("{ low = 0.0, high = 0.5 }", axis))

    assert f"2: [sweep] {found}" in told


@pytest.mark.parametrize(("high", "step"), [(0.3, 0.1), (0.7, 0.1), (0.6, 0.2)])
def test_the_end_of_a_range_is_reached_whatever_the_rounding(sweep, high, step):
    axis = f"{{ low = 0.0, high = {high}, step = {step} }}"

    assert sweep(SEARCH.replace("{ low = 0.0, high = 0.5 }", axis)).axes["model.dropout"].high == high


def test_the_end_of_a_range_that_the_component_refuses_is_told(mistakes):
    told = mistakes(SEARCH.replace("high = 0.5", "high = 1.5"))

    assert told == ['2: [model] dropout = 1.5: expected a number from 0 to 1 (trial "1.5, b" and 1 more)']


def test_a_range_needs_a_search(mistakes):
    assert mistakes('[sweep]\n"model.dropout" = { low = 0.0, high = 0.5 }\n') == [
        '2: [sweep] "model.dropout" is a range, which only a search can draw from; list the values, or add '
        '[sweep.search] method = "tpe"'
    ]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("trials = 0", "search.trials = 0: expected a whole number of at least 1"),
        ("trails = 3", 'search.trails = 3: unknown key. Did you mean "trials"?'),
        ('pruner = "mean"', 'search.pruner = "mean": expected "none" or "median" or "hyperband"'),
        ('goal = "most"', 'search.goal = "most": expected "max" or "min", one for each metric'),
        (
            'metric = "test/digits/accuracy"',
            'search.metric = "test/digits/accuracy": a search compares on dev, so that the score on test stays honest; '
            'expected "dev/digits/accuracy"',
        ),
        (
            'metric = "train/digits/accuracy"',
            'metric = "train/digits/accuracy": trials are compared on examples that the model does not learn from; '
            "expected dev/digits/…",
        ),
        (
            'metric = ["dev/digits/accuracy", "seconds"]\npruner = "median"',
            'search.pruner = "median": pruning needs one metric, of the dev split',
        ),
    ],
)
def test_a_mistake_in_a_search_is_told(mistakes, line, found):
    assert found in [told.partition("[sweep] ")[2] for told in mistakes(SEARCH + line + "\n")]


@pytest.mark.parametrize("metric", ["dev/digits/accuracy", ""])
def test_trials_can_be_pruned_by_one_metric_of_the_dev_split(sweep, metric):
    line = f'metric = "{metric}"\n' if metric else ""

    assert sweep(f'{SEARCH}{line}pruner = "median"\n').search.pruner == "median"


def test_trials_cannot_be_pruned_by_their_time(mistakes):
    told = mistakes(SEARCH + 'metric = "seconds"\npruner = "median"\n')

    assert any("pruning needs one metric, of the dev split" in each for each in told)


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ('[sweep.search]\nmethod = "tpe"\n', "search: there is no axis to search"),
        (SEARCH.replace('["b", 3]', '["b", "b"]'), '"model.kind": two choices have the same name; remove one'),
    ],
)
def test_a_search_without_anything_to_choose_from_is_a_mistake(mistakes, table, found):
    assert any(found in told for told in mistakes(table))
