"""``dlpipe submit``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dlpipe.commands import options
from dlpipe.commands.slurm import Job, dlpipe_command, given, job_options
from dlpipe.commands.slurm import submit as submit_script
from dlpipe.config.check import load_pipeline
from dlpipe.errors import InputError
from dlpipe.messages import relative
from dlpipe.registry.loading import Registry


@click.command(
    epilog="""\b
Examples:
  dlpipe submit mine.toml --gpus 1 --time 2:00:00
  dlpipe submit mine.toml --set parallel=ddp --gpus 4 --cpus 8 --setup "module load cuda"
  dlpipe submit mine.toml --print > job.sh        (to read, change and submit it by hand)
For the trials of a [sweep]:  dlpipe sweep mine.toml --on slurm"""
)
@options.pipeline_file
@options.assignments
@options.runs
@job_options
@options.local_plugins
@click.pass_obj
def submit(
    registry: Registry,
    /,
    file: Path,
    assignments: tuple[str, ...],
    runs: Path,
    allow_local_plugins: bool,
    print_script: bool,
    **resources: Any,
) -> None:
    """Train and evaluate a pipeline in a job of Slurm, with one process per GPU.

    The job resumes the latest unfinished run of the same pipeline, if there is one. When it is preempted or its time is
    over, it saves a checkpoint and is queued again.
    """
    pipeline = load_pipeline(file, registry, assignments, allow_local_plugins=allow_local_plugins)
    job = Job(**given(resources))
    if (processes := max(job.gpus, job.nodes)) > 1 and pipeline.settings.parallel == "none":
        raise InputError(
            f'{relative(file)} has parallel = "none", but the job would start {processes} processes; expected '
            'parallel = "ddp" in the file, or --set parallel=ddp, or --gpus 1'
        )
    command = [*dlpipe_command("run", file, assignments, runs, allow_local_plugins), "--resume", "auto"]
    name = pipeline.settings.name
    submit_script(name, runs, print_script, lambda folder: job.script(name, folder, command, each_gpu=True))
