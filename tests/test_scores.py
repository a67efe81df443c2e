"""The figures of the documentation: recorded with their commands, the same on the page, and compared when repeated."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from dlpipe.config.check import load_pipeline
from dlpipe.registry.loading import load_plugins
from dlpipe.sweep.plan import load_sweep

from .conftest import ROOT, needs_packages_of

sys.path.insert(0, str(ROOT / "benchmarks"))
import scores
from scoring.compare import bounds, follows_instructions, verdicts
from scoring.measure import FinishedRun, Machine, MeasureError, Place, fenced_block
from scoring.overview import covered, overview_page
from scoring.sheet import ALL_TRIALS, SEED, Figure, SheetError, pages, parse_sheet, read_sheet, shown, write_sheet
from scoring.text import expected_files, figures_in, filled, header_text, page_text

EXPERIMENTS = [
    pytest.param(page, name, id=f"{shown(page)}:{name}") for page in pages() for name in read_sheet(page).experiments
]


@pytest.fixture(scope="module")
def registry():
    return load_plugins()


VERSIONS = {"torch": "2.14.1", "numpy": "2.4.6"}


def measured(values, *, cpu="A", instructions="AVX512", versions=VERSIONS, figure="accuracy"):
    return {
        "date": "2026-11-29",
        "commit": "0123456789",
        "cpu": cpu,
        "instructions": instructions,
        "threads": 1,
        "versions": versions,
        "seconds": 21.4,
        "values": {figure: dict(zip(("1", "2", "3"), values, strict=False))},
    }


def sheet(*entries, **fields):
    """A sheet with one experiment, `cnn`, of one figure, `accuracy`."""
    experiment = {
        "command": "dlpipe run pipelines/cnn_digits.toml --set seed=SEED",
        "seeds": [1, 2, 3],
        "figures": {"accuracy": {"metric": "test/digits/accuracy", "step": 0.01, **fields.pop("figure", {})}},
        "measured": list(entries),
        **fields.pop("experiment", {}),
    }
    return parse_sheet(json.dumps({"experiments": {"cnn": experiment}, **fields}), "page.scores.json")


@pytest.mark.parametrize("page", pages(), ids=shown)
def test_a_page_and_its_pipelines_have_the_recorded_figures(page):
    # If this fails: python benchmarks/scores.py write
    for path, text in expected_files(page, read_sheet(page)).items():
        assert path.read_text(encoding="utf-8") == text, shown(path)


def test_the_table_of_pages_is_up_to_date():
    # If this fails: python benchmarks/scores.py write
    for path, text in overview_page().items():
        assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0.5 <!-- scores: a -->1.25, torch 2.14.1<!-- /scores --> 7", (1, 2)),
        ("```\n0.5\n```\n0.25 1,000.5", (0, 2)),
    ],
)
def test_decimal_numbers_of_a_page_are_counted_without_code_and_versions(text, numbers):
    assert covered(text) == numbers


@pytest.mark.parametrize(("other", "follows"), [([0.9, 0.8], False), ([0.9], False), ([0.9, 0.81], True), (None, None)])
def test_a_figure_follows_the_instruction_set_if_a_run_has_another_value(other, follows):
    entries = [measured([0.9, 0.8])] + ([measured(other, instructions="AVX2")] if other else [])

    assert follows_instructions(sheet(*entries).experiments["cnn"], "accuracy") is follows


@pytest.mark.parametrize("page", pages(), ids=shown)
def test_every_figure_is_on_its_page_or_in_a_header(page):
    known = read_sheet(page)
    templates = [line for lines in known.blocks.values() for line in lines]
    templates += [text for fields in known.headers.values() for text in fields.values()]

    assert figures_in("\n".join(templates), known) == {
        f"{name}.{figure}" for name, experiment in known.experiments.items() for figure in experiment.figures
    }


def test_the_readme_has_the_figures_of_the_pages():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [^|]+ \| [^|]*\.toml[^|]* \|( \[[^|]+\]\((docs/[^|)]+)\)[^|]* \|[^|]*)\|$", text, re.M)

    assert len(rows) >= 20
    for cells, page in rows:
        known = re.findall(r"\d+\.\d+", (ROOT / page).read_text(encoding="utf-8"))
        for number in re.findall(r"\d+\.\d+", cells):
            assert number in known, f"README.md has {number}, which is not on {page}"


@pytest.mark.parametrize(("page", "name"), EXPERIMENTS)
def test_a_figure_was_measured_and_its_bounds_hold_for_every_recorded_value(page, name):
    experiment = read_sheet(page).experiments[name]

    for figure, known in experiment.figures.items():
        values = experiment.values(figure)
        assert values, figure
        assert known.bounds == bounds(experiment, figure), figure
        low, high = known.bounds
        assert all(low <= value <= high for each in values.values() for value in each.values()), figure


@pytest.mark.parametrize(("page", "name"), EXPERIMENTS)
def test_a_command_has_no_mistakes_and_gives_its_figures(page, name, registry, tmp_path, monkeypatch):
    experiment = read_sheet(page).experiments[name]
    needs_packages_of(experiment.command)
    (tmp_path / "pipelines").symlink_to(ROOT / "pipelines")
    monkeypatch.chdir(tmp_path)
    for file, block in experiment.files.items():
        (tmp_path / file).write_text(fenced_block(page, block))
    words = shlex.split(experiment.command.replace(SEED, "1"))
    assignments = [value for option, value in itertools.pairwise(words) if option == "--set"]
    allowed = "--allow-local-plugins" in words

    if experiment.is_sweep:
        seeds = next((int(value) for option, value in itertools.pairwise(words) if option == "--seeds"), None)
        planned = load_sweep(words[2], registry, assignments, seeds=seeds, allow_local_plugins=allowed)
        assert {figure.trial for figure in experiment.figures.values()} <= {
            *(trial.label for trial in planned.trials),
            ALL_TRIALS,
            None if len(planned.trials) == 1 else "",
        }
        pipelines = planned.trials[0].pipelines
        assert list(dict.fromkeys(pipeline.settings.seed for pipeline in pipelines)) == experiment.seeds
        pipeline = pipelines[0]
    else:
        pipeline = load_pipeline(words[2], registry, assignments, allow_local_plugins=allowed)
    for figure in experiment.figures.values():
        source, evaluator = figure.metric.split("/")[:2]
        if source in ("test", "dev", "baselines"):
            stage = pipeline.stages[figure.stage] if figure.stage else list(pipeline.stages.values())[-1]
            assert evaluator in stage.evaluators
        else:
            assert source in experiment.after


def test_the_same_digits_agree_on_the_same_kind_of_cpu():
    known = sheet(measured([0.99, 0.98, 0.97]), figure={"bounds": [0.9, 1.0]})
    again = sheet(measured([0.99, 0.98])).experiments["cnn"].measured[0]

    found = verdicts("cnn", known.experiments["cnn"], again)

    assert [(each.name, each.run, each.agrees) for each in found] == [
        ("cnn.accuracy", "1", True),
        ("cnn.accuracy", "2", True),
    ]


@pytest.mark.parametrize(
    ("where", "value", "agrees", "expected"),
    [
        ({}, 0.981, False, "the same digits: the same kind of CPU and versions"),
        ({"cpu": "B"}, 0.981, True, "0.9 to 1"),
        ({"instructions": "AVX2"}, 0.981, True, "0.9 to 1"),
        ({"versions": {"torch": "2.13.0", "numpy": "2.4.6"}}, 0.981, True, "0.9 to 1"),
        ({"cpu": "B"}, 0.8999, False, "0.9 to 1"),
    ],
)
def test_another_value_is_compared_by_where_it_was_measured(where, value, agrees, expected):
    known = sheet(measured([0.98, 0.98, 0.97]), figure={"bounds": [0.9, 1.0]})
    again = sheet(measured([value], **where)).experiments["cnn"].measured[0]

    [found] = verdicts("cnn", known.experiments["cnn"], again)

    assert (found.recorded, found.found, found.expected, found.agrees) == (0.98, value, expected, agrees)


def test_a_value_whose_cpu_was_not_recorded_is_never_compared_digit_by_digit():
    known = sheet(measured([0.98, 0.98, 0.97], cpu=None), figure={"bounds": [0.9, 1.0]})
    again = sheet(measured([0.981], cpu=None)).experiments["cnn"].measured[0]

    assert [each.agrees for each in verdicts("cnn", known.experiments["cnn"], again)] == [True]


def test_bounds_are_a_prediction_interval_over_both_instruction_sets():
    experiment = sheet(
        measured([0.90, 0.92, 0.94]), measured([0.91, 0.93, 0.95], instructions="AVX2"), figure={"step": 0.001}
    ).experiments["cnn"]

    low, high = bounds(experiment, "accuracy")

    # Six values with mean 0.925 and deviation 0.0187083; t(0.995, 5) = 4.03214; sqrt(1 + 1/6) = 1.080123.
    assert low == pytest.approx(0.925 - 0.0814787 - 0.001, abs=2e-5)
    assert high == pytest.approx(0.925 + 0.0814787 + 0.001, abs=2e-5)


def test_values_that_instruction_sets_share_count_once():
    values = [0.90, 0.92, 0.94]
    experiment = sheet(measured(values), measured(values, instructions="AVX2"), figure={"step": 0.0}).experiments["cnn"]

    low, _ = bounds(experiment, "accuracy")

    # n = 3: t(0.995, 2) = 9.92484, deviation of the six values 0.0178885, sqrt(1 + 1/3) = 1.154701.
    assert low == pytest.approx(0.92 - 9.92484 * 0.0178885 * 1.154701, abs=2e-4)


def test_bounds_of_a_single_run_are_the_difference_of_the_instruction_sets():
    experiment = sheet(measured([0.90]), measured([0.94], instructions="AVX2")).experiments["cnn"]

    assert bounds(experiment, "accuracy") == (0.87, 0.97)


def test_bounds_leave_out_what_a_figure_cannot_be():
    experiment = sheet(measured([0.90, 0.92, 0.99]), figure={"limits": [0.5, 1.0]}).experiments["cnn"]

    assert bounds(experiment, "accuracy") == (0.5, 1.0)


def test_given_bounds_are_kept():
    chosen = {"rule": "given", "bounds": [0.5, 1.0], "because": "chance"}
    experiment = sheet(measured([0.90, 0.92]), figure=chosen).experiments["cnn"]

    assert bounds(experiment, "accuracy") == (0.5, 1.0)


def checked(monkeypatch, tmp_path, found, *options):
    """Return the answer of `scores.py check` about a page of which `found` is what its command gives now."""
    page = tmp_path / "page.md"
    page.write_text("<!-- scores: all -->0.980<!-- /scores -->\n")
    known = sheet(
        measured([0.98, 0.99, 0.97]), figure={"bounds": [0.9, 1.0]}, blocks={"all": ["[[cnn.accuracy at 1 3]]"]}
    )
    write_sheet(page, known)
    again = sheet(measured(found)).experiments["cnn"].measured[0]
    monkeypatch.setattr(scores, "this_machine", lambda _: Machine("A", "AVX512", VERSIONS, None, {}))
    monkeypatch.setattr(scores, "measure", lambda *_: again)
    return CliRunner().invoke(scores.main, ["check", str(page), *options])


def test_check_names_a_wrong_figure_and_ends_with_1(monkeypatch, tmp_path):
    answer = checked(monkeypatch, tmp_path, [0.98, 0.991, 0.97])

    assert answer.exit_code == 1
    assert "ok     cnn.accuracy, 1: recorded 0.98, now 0.98\n" in answer.output
    assert "WRONG  cnn.accuracy, 2: recorded 0.99, now 0.991; expected the same digits" in answer.output
    assert "3 values repeated, 1 wrong: cnn.accuracy\n" in answer.output


def test_check_ends_with_0_if_all_figures_agree(monkeypatch, tmp_path):
    answer = checked(monkeypatch, tmp_path, [0.98, 0.99, 0.97])

    assert (answer.exit_code, answer.output.splitlines()[-1]) == (0, "3 values repeated, 0 wrong")


def test_check_refuses_an_experiment_that_does_not_exist(monkeypatch, tmp_path):
    answer = checked(monkeypatch, tmp_path, [0.98], "--only", "cn")

    assert str(answer.exception) == "--only cn: no such experiment; there are cnn"


def test_check_names_a_page_with_other_figures_than_the_recorded_ones(monkeypatch, tmp_path):
    monkeypatch.setattr(scores, "expected_files", lambda page, _: {page: "other"})

    answer = checked(monkeypatch, tmp_path, [0.98, 0.99, 0.97])

    assert answer.exit_code == 1
    assert "page.md does not have the recorded figures; run `python benchmarks/scores.py write" in answer.output


def test_check_says_which_data_is_missing(monkeypatch, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("")
    command = "dlpipe run pipelines/cnn_mnist.toml --set data.path=FOLDER --set seed=SEED"
    write_sheet(page, sheet(measured([0.99]), experiment={"command": command, "needs": {"FOLDER": "mnist"}}))
    monkeypatch.setattr(scores, "this_machine", lambda _: Machine("A", "AVX512", VERSIONS, None, {}))

    answer = CliRunner().invoke(scores.main, ["check", str(page), "--data", str(tmp_path)])

    assert answer.exit_code == 1
    assert f"not repeated: FOLDER is mnist in the folder of data sets, {tmp_path}" in answer.output
    assert "not repeated for lack of data: cnn\n" in answer.output


def test_a_new_measurement_takes_the_place_of_that_with_its_instruction_set():
    known = sheet(measured([0.8]), measured([0.7], instructions="AVX2"))
    again = sheet(measured([0.9], cpu="B")).experiments["cnn"].measured[0]

    experiment = scores.with_measurement(known, "cnn", again).experiments["cnn"]

    assert [each.values["accuracy"] for each in experiment.measured] == [{"1": 0.9}, {"1": 0.7}]
    assert experiment.figures["accuracy"].bounds == (0.59, 1.01)


@pytest.mark.parametrize("instructions", ["AVX512", None])
def test_one_seed_that_is_measured_again_does_not_replace_the_values_of_several(instructions):
    known = sheet(measured([0.8, 0.7, 0.9], instructions=instructions))
    again = sheet(measured([0.8])).experiments["cnn"].measured[0]

    experiment = scores.with_measurement(known, "cnn", again).experiments["cnn"]

    assert [list(each.values["accuracy"].values()) for each in experiment.measured] == [[0.8, 0.7, 0.9], [0.8]]


@pytest.mark.parametrize(
    ("placeholder", "text"),
    [
        ("cnn.accuracy values 3", "0.987, −0.005, 1,234.500"),
        ("cnn.accuracy at 2 2", "−0.01"),
        ("cnn.accuracy at 2 1", "0.0"),
        ("cnn.accuracy mean 1", "411.8"),
        ("cnn.accuracy median 3", "0.987"),
        ("cnn.accuracy lowest 3", "−0.005"),
        ("cnn.accuracy highest 0", "1,234"),
        ("cnn.accuracy deviation 0", "712"),
        ("cnn.accuracy spread 0", "412 ± 712"),
        ("cnn.accuracy bounds 1", "−1.0 to 2,000.0"),
        ("cnn.accuracy values 0 @AVX2", "7"),
        ("cnn.accuracy millions 1 @AVX2", "0.0 million"),
        ("cnn.* median 4", "0.9935"),
        ("cnn.share count", "2 of 3"),
        ("cnn.share power", "10⁻²"),
        ("cnn command", "dlpipe run pipelines/cnn_digits.toml --set seed=SEED"),
        ("cnn seeds", "1, 2, 3"),
        ("cnn seconds", "21 s"),
        ("cnn machine", "A with AVX-512, one thread, torch 2.14.1, numpy 2.4.6, 29 November 2026"),
    ],
)
def test_a_placeholder_becomes_text(placeholder, text):
    measurement = measured([0.987, -0.005, 1234.5])
    measurement["values"]["share"] = {"1": 1.0, "2": 1.0, "3": 1e-5}
    figures = {
        "accuracy": {"metric": "test/digits/accuracy", "bounds": [-1, 2000]},
        "share": {"metric": "test/digits/share"},
    }
    known = sheet(measurement, measured([7], instructions="AVX2"), experiment={"figures": figures})

    assert filled(f"a [[{placeholder}]] b", known) == f"a {text} b"


@pytest.mark.parametrize(
    ("placeholder", "message"),
    [
        ("cnn", "expected a name and a form"),
        ("cn.accuracy mean 3", "no experiment 'cn'; there are cnn"),
        ("cnn.f1 mean 3", "no figure 'f1' of cnn; there are accuracy"),
        ("cnn.accuracy mean", "expected the number of decimal digits last"),
        ("cnn.accuracy meen 3", "'meen'; expected one of at RUN, bounds, count, power, values, mean"),
        ("cnn.accuracy mean 3 3", "'3' is not expected there"),
        ("cnn.accuracy at 4 3", "no run '4'; there are 1"),
        ("cnn.accuracy mean 3 @AVX2", "cnn.accuracy was not measured with AVX2; `scores.py record` does it"),
        ("cnn.accuracy count 3", "count takes nothing else, found '3'"),
        ("cnn machines", "'machines'; expected command, seeds, machine or seconds"),
    ],
)
def test_a_placeholder_with_a_mistake_is_refused(placeholder, message):
    with pytest.raises(SheetError, match=message):
        filled(f"[[{placeholder}]]", sheet(measured([0.9])))


def test_blocks_of_a_page_are_written_between_their_comments():
    known = sheet(
        measured([0.9]), blocks={"table": ["| a |", "| [[cnn.accuracy at 1 2]] |"], "word": ["[[cnn seeds]]"]}
    )
    text = "x\n<!-- scores: table -->\nold\n<!-- /scores -->\ny <!-- scores: word -->old<!-- /scores --> z"

    assert page_text(text, known, "page.md") == (
        "x\n<!-- scores: table -->\n| a |\n| 0.90 |\n<!-- /scores -->\ny <!-- scores: word -->1, 2, 3<!-- /scores --> z"
    )


def test_a_page_without_one_of_its_blocks_is_refused():
    known = sheet(measured([0.9]), blocks={"table": ["a"], "more": ["b"]})

    with pytest.raises(SheetError, match=r"page\.md has the blocks table; expected each of table, more"):
        page_text("<!-- scores: table --><!-- /scores -->", known, "page.md")


def test_a_header_of_a_pipeline_gets_its_score():
    known, fields = sheet(measured([0.9])), {"score": "accuracy [[cnn.accuracy at 1 3]]"}

    assert header_text("# docs: d\n# score: x\n", fields, known, "a.toml") == "# docs: d\n# score: accuracy 0.900\n"
    with pytest.raises(SheetError, match=r"a\.toml has no line `# score: …` in its header"):
        header_text("# docs: d\n", fields, known, "a.toml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"command": "python x.py"}, "command is 'python x.py'; expected `dlpipe run FILE …` or `dlpipe sweep FILE …`"),
        ({"command": "dlpipe run a.toml"}, r"with seeds \[1, 2, 3\]; a run with seeds contains SEED"),
        ({"needs": {"FOLDER": "mnist"}}, r"needs\.FOLDER is not a word of the command or of those in before"),
        ({"figures": {"accuracy": {"metric": "test/a/b", "trial": "x"}}}, "only a sweep has trials"),
        ({"figures": {"f1": {"metric": "test/a/b"}}}, r"measured\[0\]\.values has accuracy, which is no figure"),
        ({"figures": {"accuracy": {"metric": "a", "because": "so"}}}, "other rules take no reason"),
        (
            {"figures": {"accuracy": {"metric": "a", "bounds": [2, 1]}}},
            r"bounds are \[2\.0, 1\.0\]; expected the lower",
        ),
        (
            {"figures": {"accuracy": {"metric": "a", "limits": [1, 0]}}},
            r"limits are \[1\.0, 0\.0\]; expected the lower",
        ),
        ({"measured": [{**measured([1.0]), "threads": 0}]}, r"cnn\.measured\.0\.threads = 0: .*greater than 0"),
        ({"measured": [{**measured([1.0]), "gpu": "x"}]}, r"cnn\.measured\.0\.gpu = 'x': Extra inputs"),
        ({"seed": 1}, r"page\.scores\.json: experiments\.cnn\.seed = 1: Extra inputs are not permitted"),
    ],
)
def test_a_mistake_in_a_file_of_scores_is_refused_with_its_place(change, message):
    with pytest.raises(SheetError, match=message):
        sheet(measured([0.9]), experiment=change)


def test_a_data_set_may_be_needed_only_by_a_command_that_runs_before():
    unpacked = {"needs": {"digits.zip": "mnist/digits.zip"}, "before": ["python -m zipfile -e digits.zip digits"]}

    assert sheet(measured([0.9]), experiment=unpacked).experiments["cnn"].needs == unpacked["needs"]


def test_a_name_that_occurs_twice_in_a_file_of_scores_is_refused():
    with pytest.raises(SheetError, match="'experiments' occurs twice"):
        parse_sheet('{"experiments": {}, "experiments": {}}', "x")


def test_a_file_of_scores_that_is_no_json_is_refused_with_its_line():
    with pytest.raises(SheetError, match=r"x\.json:2: Expecting"):
        parse_sheet('{"experiments":\n}', "x.json")


def test_what_was_written_is_read_again(tmp_path):
    known = sheet(measured([0.9, 0.8]), figure={"bounds": [0, 1]}, blocks={"a": ["b"]})

    write_sheet(tmp_path / "page.md", known)

    assert read_sheet(tmp_path / "page.md") == known


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("test/digits/accuracy", 0.9),
        ("dev/digits/accuracy", 0.8),
        ("baselines/digits/accuracy", 0.6),
        ("last/digits/accuracy", 0.7),
    ],
)
def test_a_metric_is_that_of_the_split_of_a_baseline_or_of_a_further_command(metric, value, monkeypatch, tmp_path):
    run = SimpleNamespace(
        scores={"digits/accuracy": 0.9},
        best={"step": 3, "dev/digits/accuracy": 0.8},
        baselines={"digits/accuracy": 0.6},
    )
    monkeypatch.setattr("dlpipe.Run", lambda path, stage: run)
    finished = FinishedRun(tmp_path, {"last": {"digits": {"accuracy": 0.7}}})

    assert finished.metric(Figure(metric=metric)) == value
    with pytest.raises(MeasureError, match=rf"no metric {metric}s; from \w+ there are digits/accuracy"):
        finished.metric(Figure(metric=metric + "s"))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("python missing.py", r"`python missing\.py` ended with 2:\n.*missing\.py"),
        ("python given.py FOLDER", r"`python given\.py FOLDER` printed '/\S*/data\\n'; expected JSON"),
        ("ls", r"`ls`: expected a command of dlpipe or python"),
    ],
)
def test_a_command_that_fails_is_quoted(command, message, tmp_path):
    (tmp_path / "given.py").write_text("import sys\nprint(sys.argv[1])")
    place = Place(tmp_path, os.environ, {"FOLDER": str(tmp_path / "data")})

    with pytest.raises(MeasureError, match=message):
        place.json(command)


@pytest.mark.slow
def test_the_figures_of_a_page_can_be_repeated(root):
    command = [
        sys.executable,
        "benchmarks/scores.py",
        "check",
        "docs/vision/mlp.md",
        "--only",
        "logistic",
        "--seeds",
        "1",
    ]

    done = subprocess.run(command, cwd=root, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 values repeated, 0 wrong" in done.stdout
