"""Jobs for Slurm: the script that `dlpipe submit` and `dlpipe sweep --on slurm` pass to ``sbatch``.

A plain script, and not a library that pickles a function for the job: it can be read, changed and submitted by hand,
and nothing that is loaded from a file runs code.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from dlpipe.commands.terminal import echo
from dlpipe.errors import DlpipeError, InputError, RunFolderError
from dlpipe.messages import relative, shown
from dlpipe.runs.folder import new_folder

#: Seconds before the time limit at which Slurm sends the signal: enough for a step, a checkpoint and a slow disk.
WARNING = 120
#: Shorter jobs would be signaled when they have hardly begun, again and again.
SHORTEST = 5 * 60
#: Seconds that the other tasks of a job get to end after the first one has ended.
PATIENCE = 60
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<hours>\d+):(?P<minutes>[0-5]\d):(?P<seconds>[0-5]\d)")

SCRIPT = """\
#!/bin/bash
{directives}
{setup}
{command}
code=$?
case $code in
  75|138|140|143)  # stopped by a signal; queued again, it resumes. Of an array, only this task is.
    scontrol requeue "${{SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}}${{SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}}" ;;
esac
exit $code
"""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a job asks of Slurm.

    Args:
        gpus: of the whole job.
        time: limit, as ``H:MM:SS`` or ``D-HH:MM:SS``.
        setup: lines of shell that precede the command, such as ``module load cuda``.
        sbatch: further options of ``sbatch``, such as ``--constraint=a100``.

    Raises:
        InputError: a value cannot be what Slurm expects.
    """

    gpus: int = 1
    nodes: int = 1
    cpus: int | None = None
    mem: str | None = None
    time: str | None = None
    partition: str | None = None
    account: str | None = None
    setup: tuple[str, ...] = ()
    sbatch: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.gpus % self.nodes:
            raise InputError(
                f"--gpus {self.gpus} --nodes {self.nodes}: each node has the same number of GPUs; expected a multiple "
                f"of {self.nodes}"
            )
        if self.time is not None:
            _check_time(self.time)
        for name in ("mem", "partition", "account"):
            value = getattr(self, name)
            if value is not None and not re.fullmatch(r"[\w.,+@/-]+", value):
                raise InputError(f"--{name} {shown(value)}: expected one word, as sbatch takes it")
        for option in self.sbatch:
            if not re.fullmatch(r"--?\w[^\n\r]*", option):
                raise InputError(f'--sbatch {shown(option)}: expected an option of sbatch, such as "--constraint=a100"')

    def script(self, name: str, folder: Path, command: Sequence[str], *, each_gpu: bool, array: int = 0) -> str:
        """Return the script.

        Args:
            name: of the job.
            folder: for what the job prints.
            command: what it runs.
            each_gpu: run the command once for each GPU, instead of once.
            array: number of tasks of an array; 0 for a single job.
        """
        tasks = max(1, self.gpus // self.nodes) if each_gpu else 1
        log = str(folder.absolute()).replace("%", "%%") + ("/%A_%a.out" if array else "/%j.out")
        options = {
            "job-name": name,
            "array": f"1-{array}" if array else None,
            "nodes": self.nodes,
            "ntasks-per-node": tasks,
            "gpus-per-node": self.gpus // self.nodes or None,
            "cpus-per-task": self.cpus,
            "mem": self.mem,
            "time": self.time,
            "partition": self.partition,
            "account": self.account,
            "output": f'"{log}"',
            "open-mode": "append",
            "signal": f"USR1@{WARNING}",
        }
        directives = [f"#SBATCH --{option}={value}" for option, value in options.items() if value is not None]
        directives += ["#SBATCH --requeue", *(f"#SBATCH {option}" for option in self.sbatch)]
        # srun does not take --cpus-per-task from the job.
        cpus = [f"--cpus-per-task={self.cpus}"] if self.cpus else []
        return SCRIPT.format(
            directives="\n".join(directives),
            setup="".join(f"{line}\n" for line in self.setup),
            command=shlex.join(["srun", *cpus, f"--wait={PATIENCE}", *command]),
        )


def _check_time(time: str) -> None:
    parts = _TIME.fullmatch(time)
    if not parts:
        raise InputError(f"--time {shown(time)}: expected H:MM:SS or D-HH:MM:SS, such as 2:00:00 for two hours")
    days, hours, minutes, seconds = (int(number or 0) for number in parts.groups())
    if ((days * 24 + hours) * 60 + minutes) * 60 + seconds < SHORTEST:
        raise InputError(
            f"--time {time}: the job gets a signal {WARNING} s before its end, to save a checkpoint; expected at least "
            f"0:{SHORTEST // 60:02}:00"
        )


def job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `Job` to a command."""
    count = click.IntRange(min=1)
    for option in reversed(
        [
            click.option("--gpus", type=click.IntRange(min=0), help="GPUs of the job. By default, 1."),
            click.option("--nodes", type=count, help="Machines that share them evenly. By default, 1."),
            click.option("--cpus", type=count, help="CPU cores per process."),
            click.option("--mem", metavar="SIZE", help="Memory per machine, such as 32G."),
            click.option("--time", metavar="H:MM:SS", help="Time limit; a job that needs more is resumed in another."),
            click.option("--partition", metavar="NAME", help="Partition of the cluster."),
            click.option("--account", metavar="NAME", help="Account to charge."),
            click.option("--setup", multiple=True, metavar="LINE", help="Shell line to run first. Can be repeated."),
            click.option("--sbatch", multiple=True, metavar="OPTION", help="Other option of sbatch. Can be repeated."),
            click.option("--print", "print_script", is_flag=True, help="Print the script, submit nothing."),
        ]
    ):
        command = option(command)
    return command


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Return those of `job_options` that were given."""
    return {name: value for name, value in options.items() if value is not None and value is not False and value != ()}


def dlpipe_command(name: str, file: Path, assignments: Iterable[str], runs: Path, local_plugins: bool) -> list[str]:
    """Return a command of dlpipe for a job: by this Python, on the same pipeline, in the same folders."""
    changes = [part for assignment in assignments for part in ("--set", assignment)]
    allowed = ["--allow-local-plugins"] if local_plugins else []
    return [sys.executable, "-m", "dlpipe", name, str(file), *changes, "--runs", str(runs), *allowed]


def submit(name: str, runs: Path, print_script: bool, script: Callable[[Path], str]) -> None:
    """Submit a script to Slurm, and keep it and the output of the job in ``runs/NAME/slurm``; or only print the script.

    Args:
        name: of the pipeline.
        script: returns the script for a folder.

    Raises:
        InputError: there is no Slurm here.
        DlpipeError: Slurm refuses the job.
    """
    parent = runs / name / "slurm"
    if print_script:
        echo(script(parent), nl=False)
        if not parent.is_dir():  # without it the job fails, and says nothing
            told = "Slurm does not create the folder of the job's output"
            echo(f"{told}; before sbatch: mkdir -p {relative(parent)}", err=True)
        return
    if not shutil.which("sbatch"):
        raise InputError(
            "there is no Slurm here: sbatch is not on PATH. Submit from a machine of the cluster, or pass --print to "
            "see the script"
        )
    try:
        folder = new_folder(parent)
        (folder / "job.sh").write_text(script(folder), encoding="utf-8")
    except OSError as error:
        raise RunFolderError(f"{relative(parent)} cannot be written: {error.strerror}") from error
    answer = subprocess.run(["sbatch", "--parsable", str(folder / "job.sh")], capture_output=True, text=True)
    if answer.returncode:
        raise DlpipeError(f"sbatch refused {relative(folder / 'job.sh')}: {answer.stderr.strip()}")
    job = answer.stdout.strip().partition(";")[0]
    echo(job)
    echo(f"job {job}; its script and what it prints: {relative(folder)}; see it with: squeue --job {job}", err=True)
