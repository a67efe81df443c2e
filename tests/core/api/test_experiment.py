"""A pipeline in Python: it is checked without torch, never changes, runs as the command does, and can be stopped."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest
import torch

import dlpipe
from dlpipe.errors import InputError, Interrupted, PipelineError
from dlpipe.training.supervised import Supervised

from .conftest import TABLES


def test_load_and_check_import_neither_torch_nor_numpy():
    code = (
        "import dlpipe, sys; assert 'typing' not in sys.modules\n"
        "dlpipe.load('cnn_digits', 'trainer.epochs=3', {'seed': 2}).check().config\n"
        "print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    )

    answer = subprocess.run(
        [sys.executable, "-S", "-c", "import site; site.main()\n" + code], capture_output=True, text=True, check=False
    )

    assert answer.stdout.strip() == "[]", answer.stderr


def test_set_returns_another_experiment():
    first = dlpipe.load(TABLES)

    second = first.set({"trainer.epochs": 7}, "seed=2")

    assert first.config["trainer"]["epochs"] == 2
    assert second.config["trainer"]["epochs"] == 7
    assert second.origins["seed"] == "override"
    assert second.origins["trainer.epochs"] == "override"
    assert first.origins["trainer.epochs"] == "argument of load"
    assert first.origins["device"] == "default"
    assert dlpipe.load(TABLES, {"trainer": {"epochs": 7}, "seed": 2}).config == second.config


def test_the_text_of_a_file_is_the_same_pipeline(tmp_path):
    experiment = dlpipe.load(TABLES)
    (tmp_path / "small.toml").write_text(experiment.toml)

    assert dlpipe.load(tmp_path / "small.toml").config == experiment.config
    assert experiment.name == "small"
    assert repr(experiment) == "Experiment('small')"


def test_check_finds_mistakes_in_the_trials_of_a_sweep_too():
    experiment = dlpipe.load(TABLES, {"sweep": {"trainer.batch_size": [5, 0]}})

    assert experiment.set({"sweep": {"trainer.batch_size": [5, 6]}}).check()
    with pytest.raises(PipelineError, match="batch_size = 0"):
        experiment.check()


def test_a_notebook_shows_all_values_and_what_set_them():
    shown = dlpipe.load(TABLES, {"name": "a-b"})._repr_html_()

    assert "<td>name</td><td>&quot;a-b&quot;</td><td>override</td>" in shown
    assert "<td>trainer.warmup_steps</td><td>0</td><td>default</td>" in shown


def test_options_that_exclude_each_other_are_refused():
    experiment = dlpipe.load(TABLES)

    with pytest.raises(InputError, match='resume = "always": expected "auto" or "never"'):
        experiment.run(resume="always")
    with pytest.raises(InputError, match='fresh has no effect on a run that is resumed, as by resume="auto"; leave it'):
        experiment.run(fresh=True, resume="auto")
    with pytest.raises(InputError, match='accept_changes is for a run that is resumed; expected it with resume="auto"'):
        experiment.run(accept_changes=True)


def test_a_run_keeps_the_dict_as_a_file_with_what_set_each_value(small_run):
    assert (small_run.path / "pipeline.toml").read_text().startswith('name = "small"\n')
    assert json.loads((small_run.path / "origins.json").read_text())["trainer.epochs"] == "argument of load"


def comparable(run):
    left_out = ("time", "seconds", "steps_per_second")
    return [{name: value for name, value in row.items() if name not in left_out} for row in run.metrics]


def test_a_second_run_in_a_process_has_the_numbers_of_a_first_and_the_process_is_as_before(
    small_run, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(2)
    experiment = dlpipe.load(TABLES)
    experiment.set("seed=9", "deterministic=true", "trainer.epochs=1").run(quiet=True)
    assert torch.get_num_threads() == 2
    assert not torch.are_deterministic_algorithms_enabled()

    again = experiment.run(quiet=True, rehearsal=False)

    assert comparable(again) == comparable(small_run)


def test_ctrl_c_saves_a_checkpoint_and_the_run_ends_as_if_it_had_not_been_stopped(small_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGINT)
    stop_at(3, monkeypatch)

    with pytest.raises(
        Interrupted, match="stopped by SIGINT after step 3, with a checkpoint; resume it with: dlpipe resume"
    ):
        dlpipe.load(TABLES).run(quiet=True, rehearsal=False)

    assert signal.getsignal(signal.SIGINT) is handler
    run = dlpipe.Run("runs/small/latest")
    assert run.status == "interrupted"
    assert run.scores == {}
    assert run.resume(quiet=True).status == "finished"
    assert run.scores == small_run.scores


def stop_at(step, monkeypatch):
    """Let the process send itself SIGINT within a step."""
    original, count = Supervised._step, [0]

    def counted(self, batches):
        count[0] += 1
        if count[0] == step:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, batches)

    monkeypatch.setattr(Supervised, "_step", counted)


def test_ctrl_c_before_the_first_step_is_an_interruption_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def interrupted(*_, **__):
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()

    monkeypatch.setattr("dlpipe.engine.stage_run.build_for_training", interrupted)

    with pytest.raises(
        Interrupted, match="^stopped at once by Ctrl-C while building the model; resume it with: dlpipe resume"
    ):
        dlpipe.load(TABLES).run(quiet=True, rehearsal=False)

    assert dlpipe.Run("runs/small/latest").status == "interrupted"


def test_a_run_in_a_thread_leaves_signals_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = []
    thread = threading.Thread(target=lambda: found.append(dlpipe.load(TABLES).run(quiet=True, fast=True)))

    thread.start()
    thread.join()

    assert found[0].status == "finished"


def test_the_latest_unfinished_run_is_resumed_on_request(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stop_at(2, monkeypatch)
    experiment = dlpipe.load(TABLES)
    with pytest.raises(Interrupted):
        experiment.run(quiet=True, rehearsal=False)

    resumed = experiment.run(quiet=True, resume="auto")

    assert resumed.path == dlpipe.Run("runs/small/latest").path
    assert len(list((tmp_path / "runs/small").glob("2*"))) == 1


def test_a_dry_run_and_a_plan_keep_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment = dlpipe.load(TABLES)

    built, planned = experiment.dry_run(), experiment.plan()

    assert built["pipeline"]["model"] == "MLP"
    assert planned["stages"]["pipeline"]["run"]["steps"] == 8
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_a_pipeline_with_a_sweep_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.warns(UserWarning, match=r"the pipeline has a \[sweep\] of 2 trials; this runs it without"):
        dlpipe.load(TABLES, {"sweep": {"trainer.batch_size": [50, 60]}}).run(fast=True, quiet=True)


def test_a_file_with_components_of_ones_own_needs_permission(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from torch import nn\nfrom dlpipe import ModelSpec, hookimpl\n"
        "class Flat(nn.Module):\n"
        "    def __init__(self, num_classes: int):\n"
        "        super().__init__()\n"
        "        self.layer = nn.LazyLinear(num_classes)\n"
        "        self.layer(__import__('torch').zeros(1, 64))\n"
        "    def forward(self, images): return self.layer(images.flatten(1))\n"
        "@hookimpl\ndef dlpipe_models(): return [ModelSpec('flat', ':Flat', 'flat')]\n"
    )
    mine = {"plugins": ["./mine.py"], "model.use": "mine.flat"}

    with pytest.raises(PipelineError, match="would run Python code; allow it with --allow-local-plugins"):
        dlpipe.load(TABLES, mine).check()
    run = dlpipe.load(TABLES, mine, allow_local_plugins=True).run(quiet=True, fast=True)

    assert (run.path / "mine.py").is_file()
    assert type(run.model).__name__ == "Flat"
    with pytest.raises(PipelineError, match="would run Python code"):
        _ = dlpipe.Run(run.path).model
