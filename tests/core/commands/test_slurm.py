"""``dlpipe submit`` and ``dlpipe sweep --on slurm``: the scripts, and what is refused. tests/test_slurm.py runs them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from dlpipe.cli import make_program
from dlpipe.commands.slurm import Job
from dlpipe.errors import DlpipeError, InputError
from dlpipe.registry.loading import load_plugins

PIPELINE = """
name = "points"
[data]
use = "text.flights"
[model]
use = "text.rnn_tagger"
[trainer]
use = "core.supervised"
epochs = 3
[sweep]
"model.cell" = ["elman", "gru", "lstm"]
"""
SBATCH = """#!/bin/bash
cp "$2" submitted.sh; echo "$1" >> submitted.sh
[ -f refuse ] && { echo "sbatch: error: Invalid account" >&2; exit 1; }
echo "17;cluster"
"""


@pytest.fixture
def dlpipe(tmp_path, monkeypatch):
    """Run a command in a folder with a pipeline, beside an sbatch that keeps the script."""
    (tmp_path / "mine.toml").write_text(PIPELINE)
    (tmp_path / "sbatch").write_text(SBATCH)
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    program = make_program(load_plugins())

    def dlpipe(*arguments):
        done = CliRunner().invoke(program, arguments, obj=load_plugins(), standalone_mode=False, catch_exceptions=True)
        if done.exception:
            raise done.exception
        return done.stdout

    return dlpipe


def directives(script):
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH")]


def test_a_job_runs_one_process_for_each_gpu_and_resumes(dlpipe):
    script = dlpipe(
        "submit", "mine.toml", "--set", "model.cell=gru", "--set", "parallel=ddp", "--gpus", "8", "--nodes", "2", "--cpus", "6", "--mem", "64G",
        "--time", "1-02:00:00", "--partition", "a100", "--account", "us", "--setup", "module load cuda",
        "--sbatch", "--constraint=big", "--print",
    )  # fmt: skip

    assert directives(script) == [
        "--job-name=points",
        "--nodes=2",
        "--ntasks-per-node=4",
        "--gpus-per-node=4",
        "--cpus-per-task=6",
        "--mem=64G",
        "--time=1-02:00:00",
        "--partition=a100",
        "--account=us",
        f'--output="{Path.cwd()}/runs/points/slurm/%j.out"',
        "--open-mode=append",
        "--signal=USR1@120",
        "--requeue",
        "--constraint=big",
    ]
    command = script.index("srun --cpus-per-task=6 --wait=60 ")
    assert script.index("module load cuda") < command
    assert (
        script[command:]
        .splitlines()[0]
        .endswith("-m dlpipe run mine.toml --set model.cell=gru --set parallel=ddp --runs runs --resume auto")
    )


@pytest.mark.parametrize(
    ("code", "variables", "requeued"),
    [
        (75, {"SLURM_JOB_ID": "9"}, "requeue 9\n"),
        (138, {"SLURM_JOB_ID": "9"}, "requeue 9\n"),
        (75, {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "8", "SLURM_ARRAY_TASK_ID": "3"}, "requeue 8_3\n"),
        (0, {"SLURM_JOB_ID": "9"}, None),
        (1, {"SLURM_JOB_ID": "9"}, None),
    ],
)
def test_only_what_was_stopped_is_queued_again(tmp_path, code, variables, requeued):
    for name, line in {"srun": f"exit {code}", "scontrol": 'echo "$@" > requeued'}.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{line}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    script = Job().script("points", tmp_path, ["true"], each_gpu=True)

    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=variables | {"PATH": path})

    assert done.returncode == code
    said = tmp_path / "requeued"
    assert (said.read_text() if said.exists() else None) == requeued


def test_a_printed_script_needs_the_folder_of_its_output(dlpipe):
    told = "before sbatch: mkdir -p runs/points/slurm"

    first = CliRunner().invoke(make_program(load_plugins()), ["submit", "mine.toml", "--print"], obj=load_plugins())
    Path("runs/points/slurm").mkdir(parents=True)
    second = CliRunner().invoke(make_program(load_plugins()), ["submit", "mine.toml", "--print"], obj=load_plugins())

    assert told in first.stderr
    assert told not in second.stderr


def test_a_sweep_is_an_array_whose_tasks_share_the_trials(dlpipe):
    script = dlpipe("sweep", "mine.toml", "--on", "slurm", "--gpus", "2", "--seeds", "3", "--print")
    without = dlpipe("sweep", "mine.toml", "--on", "slurm", "--gpus", "0", "--tasks", "4", "--print")

    assert {"--array=1-5", "--gpus-per-node=2", "--ntasks-per-node=1"} <= set(directives(script))  # 9 runs, 2 at a time
    assert "-m dlpipe sweep mine.toml --runs runs --seeds=3 --no-wait\n" in script
    assert "--array=1-4" in directives(without)
    assert "gpus" not in without


def test_the_script_that_was_submitted_is_kept(dlpipe, tmp_path):
    assert dlpipe("submit", "mine.toml") == "17\n"

    (kept,) = tmp_path.glob("runs/points/slurm/*/job.sh")
    assert (tmp_path / "submitted.sh").read_text() == kept.read_text() + "--parsable\n"
    assert f'--output="{kept.parent}/%j.out"' in directives(kept.read_text())


def test_what_slurm_says_is_passed_on(dlpipe, tmp_path):
    (tmp_path / "refuse").touch()

    with pytest.raises(DlpipeError, match=r"^sbatch refused runs/.*/job.sh: sbatch: error: Invalid account$"):
        dlpipe("submit", "mine.toml")


def test_without_slurm_nothing_is_submitted(dlpipe, tmp_path):
    (tmp_path / "sbatch").unlink()

    for command in (["submit", "mine.toml"], ["sweep", "mine.toml", "--on", "slurm"]):
        with pytest.raises(InputError, match="^there is no Slurm here: sbatch is not on PATH. .* pass --print"):
            dlpipe(*command)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--time", "2:00"], '--time "2:00": expected H:MM:SS or D-HH:MM:SS, such as 2:00:00 for two hours'),
        (["--time", "0:02:00"], "--time 0:02:00: the job gets a signal 120 s before its end, .* at least 0:05:00"),
        (
            ["--gpus", "3", "--nodes", "2"],
            "--gpus 3 --nodes 2: each node has the same number of GPUs; .* multiple of 2",
        ),
        (["--partition", "a b"], '--partition "a b": expected one word, as sbatch takes it'),
        (
            ["--sbatch", "constraint"],
            '--sbatch "constraint": expected an option of sbatch, such as "--constraint=a100"',
        ),
        (
            ["--gpus", "4"],
            'mine.toml has parallel = "none", but the job would start 4 processes; expected parallel = "ddp" in the '
            "file, or --set parallel=ddp, or --gpus 1",
        ),
        (["--set", "model.cell=grue"], 'cell = "grue"'),
    ],
)
def test_mistakes_are_said_before_anything_is_submitted(dlpipe, tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        dlpipe("submit", "mine.toml", *arguments)

    assert not (tmp_path / "submitted.sh").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpus", "0"], "--gpus is for --on slurm"),
        (["--tasks", "2"], "--tasks is for --on slurm"),
        (["--print"], "--print is for --on slurm"),
        (["--on", "slurm", "--fresh"], "--fresh is for a sweep that runs here, without --on"),
        (["--on", "slurm", "--json"], "--json is for a sweep that runs here, without --on"),
    ],
)
def test_an_option_that_would_have_no_effect_is_refused(dlpipe, arguments, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        dlpipe("sweep", "mine.toml", *arguments)
