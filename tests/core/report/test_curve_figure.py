import json
import os

import pytest
from PIL import Image

from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import run
from dlpipe.errors import ComponentError
from dlpipe.registry.installation import install_command
from dlpipe.registry.loading import load_plugins
from dlpipe.report import curve_figure
from dlpipe.report.curve_figure import chosen_charts, is_drawn, write_curves
from dlpipe.report.recorded_run import RecordedStage

PIPELINE = """
name = "tiny"
threads = 1
[data]
use = "vision.digits"
[model]
use = "core.mlp"
hidden = [3]
[trainer]
use = "core.supervised"
steps = 5
log_every = 1
evaluate_every = 2
[evaluators.digits]
use = "core.classification"
"""


def stage(folder, records, judged_by="slots/f1", primary=()):
    folder.mkdir(exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    known = {"metric": judged_by, "goal": "max", "goals": dict.fromkeys(primary, "max")}
    return RecordedStage("", folder, {}, known, {})


def curve(*names, steps=(2, 4, 7)):
    """Return records in which each metric varies."""
    return [{"step": step, **{name: float(step) for name in names}} for step in steps]


def titles(view):
    return [chart.title for chart in chosen_charts(view)]


def test_the_loss_is_first_then_primary_metrics_the_learning_rate_and_what_the_trainer_measures(tmp_path):
    names = ["train/lr", "train/grad_norm", "train/loss", "dev/words/loss", "dev/slots/f1", "dev/slots/recall"]

    view = stage(tmp_path, curve(*names, "dev/noise/accuracy"), primary=["slots/f1", "noise/accuracy"])

    assert titles(view) == ["words/loss", "slots/f1", "noise/accuracy", "lr"]


def test_of_an_adversarial_trainer_both_losses_are_drawn(tmp_path):
    view = stage(tmp_path, curve("train/d_loss", "train/g_loss", "train/lr", "dev/balance/d_real"), "")

    assert titles(view) == ["d_loss", "g_loss", "lr"]


def test_what_the_trainer_measures_fills_up_the_figure_unless_it_is_constant(tmp_path):
    records = [
        record | {"train/length": 9.0} for record in curve("train/loss", "train/lr", "train/return", "dev/play/mean")
    ]

    assert titles(stage(tmp_path, records, "play/mean")) == ["loss", "play/mean", "lr", "return"]


def test_there_are_six_charts_at_most_and_the_learning_rate_is_one_of_them(tmp_path):
    losses = [f"train/part_{number}_loss" for number in range(9)]

    found = titles(stage(tmp_path, curve(*losses, "train/lr", "dev/slots/f1")))

    assert found == ["slots/f1", "part_0_loss", "part_1_loss", "part_2_loss", "part_3_loss", "lr"]


def test_a_stage_without_a_curve_has_no_figure(tmp_path):
    view = stage(tmp_path, curve("train/loss", steps=[5]))

    assert not write_curves(view)
    assert not (tmp_path / "figures").exists()


def test_a_curve_with_gaps_and_a_constant_one_are_drawn(tmp_path):
    records = [record | {"train/lr": 0.0} for record in curve("train/loss")]
    records += [{"step": 9, "train/loss": None, "train/lr": 0.0}]

    assert write_curves(stage(tmp_path, records))
    assert Image.open(tmp_path / "figures" / "curves.png").width > 900


def test_curves_are_drawn_again_if_they_are_others_whenever_the_file_was_written(tmp_path):
    records = curve("train/loss")
    write_curves(stage(tmp_path, records))
    os.utime(tmp_path / "figures" / "curves.png", (1, 1))

    assert is_drawn(stage(tmp_path, [record | {"time": 5.0} for record in records]))

    further = stage(tmp_path, [*records, {"step": 9, "train/loss": 1.0}])
    os.utime(tmp_path / "metrics.jsonl", (0, 0))
    assert not is_drawn(further)


def test_another_checkpoint_and_a_damaged_figure_are_drawn_again(tmp_path, monkeypatch):
    drawn = stage(tmp_path, curve("train/loss"))
    assert not is_drawn(drawn)
    write_curves(drawn)

    with monkeypatch.context() as patch:
        patch.setattr(RecordedStage, "best_step", 4)
        assert not is_drawn(drawn)
    assert is_drawn(drawn)
    for content in (b"", (tmp_path / "figures" / "curves.png").read_bytes()[:60]):
        (tmp_path / "figures" / "curves.png").write_bytes(content)
        assert not is_drawn(drawn)


@pytest.fixture
def pipeline(tmp_path):
    (tmp_path / "tiny.toml").write_text(PIPELINE)
    return load_pipeline(tmp_path / "tiny.toml", load_plugins())


def test_a_run_leaves_its_curves_and_the_chosen_checkpoint_is_marked(tmp_path, pipeline, monkeypatch):
    from matplotlib.axes import Axes

    marked, draw = [], Axes.axvline
    monkeypatch.setattr(Axes, "axvline", lambda self, x, **style: marked.append(x) or draw(self, x, **style))

    folder = run(pipeline, load_plugins(), tmp_path / "runs")

    best = (folder.path / "checkpoints" / "best").readlink().name
    assert {f"step-{step:08d}" for step in marked} == {best}
    assert (folder.path / "figures" / "curves.png").is_file()


def test_curves_that_cannot_be_drawn_take_nothing_from_the_run(tmp_path, pipeline, monkeypatch, capsys):
    def fail(stage):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dlpipe.engine.outcome.write_curves", fail)

    folder = run(pipeline, load_plugins(), tmp_path / "runs")

    assert folder.status()["state"] == "finished"
    assert "the curves could not be drawn: No space left on device" in capsys.readouterr().err


def test_without_matplotlib_a_run_says_once_that_there_are_no_curves(tmp_path, pipeline, monkeypatch, capsys):
    monkeypatch.setattr(curve_figure, "find_spec", lambda name: None)

    folder = run(pipeline, load_plugins(), tmp_path / "runs")

    said = f"without curves, for lack of matplotlib; install with: {install_command('dlpipe[report]')}"
    assert capsys.readouterr().err.count(said) == 1
    assert folder.status()["state"] == "finished"
    assert not (folder.path / "figures" / "curves.png").exists()


def test_a_run_that_fails_leaves_the_curves_as_far_as_it_came(tmp_path, pipeline, monkeypatch):
    monkeypatch.setattr("dlpipe.engine.stage_run.evaluate_stage", lambda *arguments: 1 / 0)

    with pytest.raises(ComponentError, match="division by zero"):
        run(pipeline, load_plugins(), tmp_path / "runs")

    assert (tmp_path / "runs/tiny/latest/figures/curves.png").is_file()
