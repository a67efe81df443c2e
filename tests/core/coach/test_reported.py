"""What the coach says, in the report of a run."""

from __future__ import annotations

import json
import re
import shutil
from html import unescape

import pytest
from click.testing import CliRunner

from dlpipe.api.run import Run
from dlpipe.cli import make_program
from dlpipe.coach.diagnosis import coach
from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import run
from dlpipe.errors import InputError
from dlpipe.registry.loading import load_plugins

#: Two stages that end early; the name of the second needs quotation marks in a path.
PIPELINE = "\n".join(
    f"""
[stages.{stage}.data]
use = "vision.digits"
limit = 200
[stages.{stage}.model]
use = "core.mlp"
hidden = [20]
{start}
[stages.{stage}.trainer]
use = "core.supervised"
steps = 30
log_every = 2
optimizer = {{ use = "adam", lr = 3e-4 }}
[stages.{stage}.evaluators.digits]
use = "core.classification"
compare_baselines = false
"""
    for stage, start in (("first", ""), ('"v1.0"', 'start = { stage = "first" }'))
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run of two stages."""
    folder = tmp_path_factory.mktemp("reported")
    (folder / "patient.toml").write_text(f'name = "patient"\nthreads = 1\n{PIPELINE}')
    return run(load_pipeline(folder / "patient.toml", load_plugins()), load_plugins(), folder / "runs").path


def report(folder, *options):
    registry = load_plugins()
    return CliRunner().invoke(make_program(registry), ["report", str(folder), *options], obj=registry)


def sections(page):
    """Return the texts of the sections by title, without tags, which are all there without a script."""
    static = re.sub(r"<script.*?</script>|<style>.*?</style>", "", page, flags=re.DOTALL)
    parts = [part.split("</h2>") for part in static.split("<h2>")[1:]]
    return {unescape(title): unescape(re.sub(r"<[^>]+>", " ", text)) for title, text in parts}


def test_every_stage_has_its_verdict_findings_and_options_above_the_metrics(trained):
    assert report(trained, "--coach").exit_code == 0

    found = sections((trained / "report.html").read_text())
    assert list(found)[:3] == ["v1.0: Diagnosis", "first: Diagnosis", "v1.0: Metrics"]
    for stage in ("v1.0", "first"):
        told, text = coach(trained, load_plugins(), stage=stage), found[f"{stage}: Diagnosis"]
        assert told.answer in text
        assert told.findings
        for finding in told.findings:
            assert f"{finding.title} [{finding.rule}]" in text
            assert f"found: {finding.evidence}" in text
            assert f"why: {finding.reason}" in text
            for remedy in finding.remedies:
                assert re.search(rf"{re.escape(remedy.name)}\s+{re.escape(told.options(remedy))}\s", text)
        for where, score in told.scores.reached().items():
            assert re.search(rf"{where}\s+{score:.4f}\s", text)
        assert f"--stage {stage} --sweep try.toml" in text


def test_the_options_in_the_summary_are_those_of_the_command(trained):
    result = report(trained, "--coach", "--markdown")

    told = coach(trained, load_plugins())
    assert result.output == (trained / "report.md").read_text()
    assert result.output.index("## first: Diagnosis") < result.output.index("## v1.0: Diagnosis")
    assert f"\n* {told.scores.metric}: {told.scores.words()}\n" in result.output
    for finding in told.findings:
        assert f"**{finding.title}** ({finding.rule}): " in result.output
        for remedy in finding.remedies:
            assert f"   {told.options(remedy)}  # {remedy.name}\n" in result.output


def test_a_report_is_the_same_when_it_is_written_again_and_nothing_else_is_written(trained):
    def files():
        report(trained, "--coach")
        return {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}

    first = files()

    assert files() == first


def test_without_the_option_nothing_is_examined(trained):
    report(trained, "--coach")

    assert report(trained).exit_code == 0
    assert "Diagnosis" not in (trained / "report.html").read_text() + (trained / "report.md").read_text()


def test_a_target_is_that_of_the_last_stage(trained):
    assert report(trained, "--coach", "--target", "0.15").exit_code == 0

    found = sections((trained / "report.html").read_text())
    assert "good on its training examples" in found["v1.0: Diagnosis"]
    assert "no rule found anything to change" in found["v1.0: Diagnosis"]
    assert "--stage v1.0 --target 0.15" in found["v1.0: Diagnosis"]
    assert "--stage first --sweep try.toml" in found["first: Diagnosis"]  # without a target


def test_options_of_the_examination_are_refused_without_it(trained):
    for options in (["--target", "0.5"], ["--allow-local-plugins"]):
        result = report(trained, *options)

        assert isinstance(result.exception, InputError)
        assert str(result.exception) == f"{options[0]} has no effect without --coach; leave it out"
    with pytest.raises(InputError, match=r"report: target=0.5 has no effect without coach=True; leave it out"):
        Run(trained).report(target=0.5)


def test_in_python_the_report_is_that_of_the_command(trained):
    report(trained, "--coach", "--target", "0.15")
    written = (trained / "report.html").read_bytes()
    report(trained)

    page = Run(trained).report(coach=True, target=0.15)

    assert page.path.read_bytes() == written


def test_a_stage_that_has_not_begun_has_no_diagnosis_and_a_run_without_any_is_refused(trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "run", symlinks=True)
    provenance = json.loads((folder / "provenance.json").read_text())
    begun = provenance["stages"]

    (folder / "provenance.json").write_text(json.dumps(provenance | {"stages": {"first": begun["first"]}}))
    assert report(folder, "--coach", "--target", "0.1").exit_code == 0
    found = sections((folder / "report.html").read_text())
    (folder / "provenance.json").write_text(json.dumps(provenance | {"stages": {}}))
    refused = report(folder, "--coach")

    assert [title for title in found if "Diagnosis" in title] == ["first: Diagnosis"]
    assert "--target 0.1" in found["first: Diagnosis"]  # the last one of those that have begun
    assert isinstance(refused.exception, InputError)
    assert "has not begun its training; train it first: dlpipe resume" in str(refused.exception)


def test_missing_packages_are_named_before_anything_is_examined(trained, monkeypatch):
    monkeypatch.setattr("dlpipe.report.page.find_spec", lambda name: None)
    monkeypatch.setattr("dlpipe.coach.reported.coach", lambda *_, **__: pytest.fail("examined"))

    result = report(trained, "--coach")

    assert "a report needs jinja2 and bokeh; install with: pip install" in str(result.exception)


RULE = """
from dlpipe import RuleSpec, hookimpl
from dlpipe.coach import Finding, Remedy

def finds(case):
    yield Finding("<b>it is bad</b>", "a_[number](x)", "a reason.", [Remedy("other layers", {"model.hidden": [8, 9]})])

@hookimpl
def dlpipe_rules():
    return [RuleSpec("bad", ":finds", "finds")]
"""


def test_a_rule_of_a_local_plugin_is_asked_if_it_is_allowed_and_its_texts_are_shown_as_they_are(tmp_path):
    (tmp_path / "mine.py").write_text(RULE)
    text = PIPELINE.partition('[stages."v1.0".data]')[0].replace("stages.first.", "")
    (tmp_path / "patient.toml").write_text(f'name = "patient"\nthreads = 1\nplugins = ["./mine.py"]\n{text}')
    pipeline = load_pipeline(tmp_path / "patient.toml", load_plugins(), allow_local_plugins=True)
    folder = run(pipeline, load_plugins(), tmp_path / "runs").path

    refused, allowed = report(folder, "--coach"), report(folder, "--coach", "--allow-local-plugins", "--markdown")

    assert "would run Python code; allow it with --allow-local-plugins" in str(refused.exception)
    assert re.search(
        r"\n1\. \*\*\\<b\\>it is bad\\</b\\>\*\* \(mine\.bad\): a_\\\[number\\\]\(x\)\. a reason\.\n", allowed.output
    )
    assert "   --set 'model.hidden=[8, 9]'  # other layers\n" in allowed.output
    page = (folder / "report.html").read_text()
    assert "<h3>1. &lt;b&gt;it is bad&lt;/b&gt; [mine.bad]</h3>" in page
    assert f"{folder.name} --allow-local-plugins --sweep try.toml" in page
