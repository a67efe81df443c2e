"""The tables of a stage: facts, required parameters, the end of the loop, and references between stages."""

from pathlib import Path

import pytest
import tomli_w

from dlpipe.config.pipeline import Reference

GOOD = (Path(__file__).parent / "good.toml").read_text(encoding="utf-8")
STAGES = (Path(__file__).parent / "stages.toml").read_text(encoding="utf-8")


# Facts and required parameters


def test_a_required_parameter_of_data_must_be_given(mistakes):
    found = mistakes(GOOD, ["data.use=fake.words"])

    assert found == [
        (3, "[data] missing key `must` of fake.words: expected a string"),
        (
            5,
            "[model] fake.net needs `num_classes`, which data fake.words does not provide; take data that does "
            "(core.table, fake.images, text.babi, text.labeled, text.reviews, text.stories), or set it here",
        ),
        (
            12,
            "[evaluators.right] fake.accuracy needs `num_classes`, which data fake.words does not provide; take data that "
            "does (core.table, fake.images, text.babi, text.labeled, text.reviews, text.stories), or set it here",
        ),
    ]


def test_a_fact_can_be_given_by_the_file_instead(load):
    text = GOOD.replace('use = "fake.net"', 'use = "fake.net"\nnum_classes = 3')

    pipeline = load(text, ["data.use=fake.words", "data.must=x", "evaluators.right.num_classes=3"])

    assert pipeline.stages[""].model.values["num_classes"] == 3


def test_facts_of_unknown_data_are_not_required(changed, mistakes):
    assert [line for line, _ in mistakes(changed(4, 'use = "fake.nothing"'))] == [4]


# What the loop needs


def test_an_invalid_budget_is_one_mistake_and_not_two(changed, mistakes):
    assert mistakes(changed(10, 'epochs = "ten"')) == [
        (10, '[trainer] epochs = "ten": expected a whole number above 0')
    ]


def test_a_monitored_evaluator_with_a_mistake_is_one_mistake_and_not_two(changed, mistakes):
    text = changed(13, 'use = "fake.acuracy"')

    assert [line for line, _ in mistakes(text, ["trainer.monitor=dev/right/accuracy"])] == [13]


def test_a_monitor_without_evaluators_is_reported(mistakes):
    text = "".join(GOOD.splitlines(True)[:11])

    assert mistakes(text, ["trainer.monitor=dev/right/accuracy"]) == [
        (
            0,
            '[trainer] monitor = "dev/right/accuracy": no evaluator runs on the dev split; add one to [evaluators], or remove monitor',
        )
    ]


def test_patience_without_evaluators_is_a_mistake(changed, mistakes):
    text = changed(10, "epochs = 1\npatience = 3").partition("[evaluators")[0]

    assert mistakes(text) == [
        (11, "[trainer] patience = 3: no evaluator runs on the dev split; add one to [evaluators], or remove patience")
    ]


def test_min_delta_without_patience_is_a_mistake(changed, mistakes):
    assert mistakes(changed(10, "epochs = 1\nmin_delta = 0.01")) == [
        (
            11,
            "[trainer] min_delta = 0.01 has an effect only with patience, and patience is not set; remove it or change patience",
        )
    ]


@pytest.mark.parametrize("key", ["patience = 2", 'monitor = "dev/right/accuracy"'])
def test_an_evaluator_that_skips_the_dev_split_cannot_be_monitored(mistakes, key):
    text = GOOD.replace("[trainer]\n", f"[trainer]\n{key}\n").replace(
        "[evaluators.right]\n", '[evaluators.right]\nsplits = ["test"]\n'
    )

    assert "no evaluator runs on the dev split; add one to [evaluators], or remove" in mistakes(text)[0][1]


# Stages


@pytest.mark.parametrize(
    ("line", "text", "expected"),
    [
        (8, 'model = { use = "fake.tuned", encoder = { stage = "frist" } }',
         (8, '[stages.second.model] encoder = { stage = "frist" }: there is no such stage. Did you mean "first"?')),
        (8, 'model = { use = "fake.tuned", encoder = { stage = "second" } }',
         (8, "[stages.second.model] encoder: the stages depend on each other in a circle: second → second")),
        (8, 'model = { use = "fake.tuned", encoder = 3 }',
         (8, '[stages.second.model] encoder = 3: expected a trained model: { stage = "…" } or { run = "…" }')),
        (8, 'model = { use = "fake.tuned", encoder = { stage = "first", run = "x" } }',
         (8, '[stages.second.model] encoder = {"stage": "first", "run": "x"}: expected a trained model')),
        (8, 'model = { use = "fake.tuned", encoder = { stage = "first" }, others = { stage = "first" } }',
         (8, '[stages.second.model] others = {"stage": "first"}: expected a list of trained models, each { stage = "…" }')),
        (8, 'model = { use = "fake.tuned", encoder = { stage = "first" }, others = [{ stage = "first" }, 3] }',
         (8, '[stages.second.model] others[1] = 3: expected a trained model: { stage = "…" }')),
        (8, 'model = { use = "fake.tuned", encoder = { stage = "first" }, others = [{ stage = "frist" }] }',
         (8, '[stages.second.model] others[0] = { stage = "frist" }: there is no such stage. Did you mean "first"?')),
        (8, 'model = { use = "fake.tuned" }',
         (8, "[stages.second.model] missing key `encoder` of fake.tuned: expected a trained model")),
        (4, 'model = { use = "fake.tuned", encoder = { stage = "second" } }',
         (4, "[stages.first.model] encoder: the stages depend on each other in a circle: first → second → first")),
        (4, 'model = { use = "fake.net", batch_size = 3 }',
         (4, "`batch_size` belongs to [stages.first.trainer], not to [stages.first.model]")),
        (5, 'modell = { use = "fake.fit" }', (5, '[stages.first] modell: unknown table. Did you mean "model"?')),
        (5, "", (2, "missing table [stages.first.trainer]; add it with")),
        (2, '[stages."../x"]', (2, '"../x" cannot be the name of a stage; expected letters, digits,')),
        (2, '[stages.""]', (2, '"" cannot be the name of a stage; expected letters, digits,')),
        (1, 'name = "x"\n[data]\nuse = "fake.images"', (2, "[data] is outside [stages]; write it as [stages.NAME.data]")),
        (1, 'name = "x"\nstages.third = 3', (2, "stages.third = 3: expected tables such as [stages.third.data]")),
    ],
)  # fmt: skip
def test_a_mistake_in_a_stage_is_reported_at_its_line(changed, mistakes, line, text, expected):
    found = mistakes(changed(line, text, STAGES))

    assert any(at == expected[0] and message.startswith(expected[1]) for at, message in found), found


def test_a_list_of_trained_models_is_kept_in_the_resolved_file(load):
    others = '[{ stage = "first" }, { run = "/runs/old" }]'
    pipeline = load(
        STAGES.replace('encoder = { stage = "first" }', f'encoder = {{ stage = "first" }}, others = {others}')
    )

    plain = pipeline.stages["second"].model.plain()

    assert plain["others"] == [{"stage": "first"}, {"run": "/runs/old"}]
    assert [str(reference) for reference in pipeline.stages["second"].references()] == [
        "stage first",
        "stage first",
        "run /runs/old",
    ]


def test_a_stage_cannot_start_from_a_later_one(mistakes):
    lines = STAGES.splitlines(True)
    text = "".join([lines[0], *lines[5:], *lines[1:5]])

    assert mistakes(text) == [
        (4, '[stages.second.model] encoder: stage "first" comes later in the file; move it before "second"')
    ]


def test_a_reference_to_a_stage_in_a_file_without_stages_is_reported(changed, mistakes):
    text = changed(6, 'use = "fake.tuned"').replace("dropout = 0.25", 'encoder = { stage = "first" }')

    assert mistakes(text) == [(7, '[model] encoder = { stage = "first" }: this file has no [stages]')]


def test_a_plain_table_that_looks_like_a_reference_stays_a_table(load):
    assert load(GOOD, ["data.table={ stage = 'x' }"]).stages[""].data.values["table"] == {"stage": "x"}


def test_stages_keep_the_order_of_the_file_and_refer_to_earlier_ones(load):
    pipeline = load(STAGES)

    assert list(pipeline.stages) == ["first", "second"]
    assert list(pipeline.stages["second"].references()) == [Reference(stage="first")]
    assert list(pipeline.stages["first"].references()) == []
    assert pipeline.stages["second"].model.table == "[stages.second.model]"


def test_a_model_can_start_from_a_finished_run(changed, load, tmp_path):
    text = changed(6, 'use = "fake.tuned"').replace("dropout = 0.25", 'encoder = { run = "runs/old" }')

    pipeline = load(text)

    assert list(pipeline.stages[""].references()) == [Reference(run=tmp_path / "runs" / "old")]


def started(start):
    """Return the text of a pipeline whose model starts from something."""
    return GOOD.replace('use = "fake.net"', f'use = "fake.net"\nstart = {start}')


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ('"runs/x"', '[model] start = "runs/x": expected a table such as { run = "runs/…" } or { file = "weights.pth" }'),
        ("{}", "[model] start: expected exactly one of run, stage, file, url, found none of them"),
        ('{ run = "a", file = "b" }', "[model] start: expected exactly one of run, stage, file, url, found run and file"),
        ('{ runs = "a" }', '[model] start.runs: unknown key. Did you mean "run"?'),
        ('{ url = "https://a/b" }', "[model] start: url needs sha256; a download is checked by its sha256"),
        (f'{{ run = "a", sha256 = "{"0" * 64}" }}', "[model] start: sha256 needs url; a download is checked by its sha256"),
        ('{ url = "a", sha256 = "0" }', '[model] start.url = "a": expected an address, such as "https://…/weights.pth"'),
        ('{ run = "a", skip = [] }', "[model] start.skip = []: expected a list of strings (at least 1)"),
        ('{ stage = "a" }', '[model] start = { stage = "a" }: this file has no [stages]'),
    ],
)  # fmt: skip
def test_mistakes_in_what_a_model_starts_from_are_named(mistakes, start, message):
    assert message in [text for _, text in mistakes(started(start))]


def test_a_start_is_a_reference_whose_paths_are_absolute(load, tmp_path):
    (tmp_path / "runs" / "old").mkdir(parents=True)
    (tmp_path / "runs" / "latest").symlink_to("old")

    run = load(started('{ run = "runs/latest", skip = ["head"] }')).stage().model.references["start"]
    file = load(started('{ file = "w.pth" }')).stage().model.references["start"]

    assert (run.run, run.skip) == (tmp_path / "runs" / "old", ("head",))
    assert file.file == tmp_path / "w.pth"


@pytest.mark.parametrize(
    "start",
    [
        '{ run = "/r", skip = ["a", "b"] }',
        '{ file = "/w.pth" }',
        f'{{ url = "https://a/b.pth", sha256 = "{"0" * 64}" }}',
    ],
)
def test_a_start_is_written_as_it_can_be_read(load, write, start):
    checked = load(started(start))

    again = load(write(tomli_w.dumps(checked.plain()), "again.toml"))

    assert again.stage().model.references == checked.stage().model.references


@pytest.mark.parametrize("option", ['start = { run = "/r" }', 'freeze = ["head"]'])
def test_a_trainer_that_computes_weights_anew_takes_neither_start_nor_freeze(mistakes, option):
    text = GOOD.replace('use = "fake.net"', f'use = "fake.net"\n{option}')

    name, fit = option.split()[0], '[trainer] use = "core.fit"'
    message = f"[model] {name} has no effect with {fit}, which computes all weights itself; remove it or choose another"
    assert any(text.startswith(message) for _, text in mistakes(text, ["trainer.use=core.fit"]))


# Training examples that are judged


def judged(line):
    return GOOD.replace("[evaluators.right]\n", f"[evaluators.right]\n{line}\n")


def test_an_evaluator_may_judge_training_examples(load):
    values = load(judged('splits = ["train", "dev"]\ntrain_examples = 5')).stages[""].evaluators["right"].values

    assert (list(values["splits"]), values["train_examples"]) == (["train", "dev"], 5)


def test_a_metric_on_train_cannot_choose_the_checkpoint(mistakes):
    text = judged('splits = ["train", "dev"]')

    assert mistakes(text, ["trainer.monitor=train/right/accuracy"]) == [
        (
            0,
            '[trainer] monitor = "train/right/accuracy": checkpoints are compared on examples that the model does not '
            "learn from; expected one of dev/right/…",
        )
    ]


def test_a_number_of_training_examples_needs_train_among_the_splits(mistakes):
    assert mistakes(judged("train_examples = 5")) == [
        (
            13,
            '[evaluators.right] train_examples = 5 has an effect only with "train" in splits; remove it, or set splits '
            '= ["train", "dev", "test"]',
        )
    ]


def test_an_evaluator_without_baselines_has_none_to_leave_out(load, mistakes):
    assert load(judged("compare_baselines = true"))
    assert mistakes(judged("compare_baselines = false")) == [
        (
            13,
            "[evaluators.right] compare_baselines = false has no effect: fake.accuracy has no simple predictors to "
            "compare with; remove it",
        )
    ]


def test_an_evaluator_that_cannot_judge_training_examples_says_why(mistakes):
    text = GOOD + '[evaluators.words]\nuse = "text.analogies"\nsplits = ["train", "test"]\n'

    assert mistakes(text) == [
        (
            19,
            '[evaluators.words] splits = ["train", "test"]: text.analogies cannot judge training examples: it judges '
            'the vectors of words, and these belong to no split; expected ["test"]',
        )
    ]


def test_another_split_is_none_of_the_three(mistakes):
    assert mistakes(judged('splits = ["training"]'))[0][1] == (
        '[evaluators.right] splits[0] = "training": expected one of "train", "dev", "test"'
    )
