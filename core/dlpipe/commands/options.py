"""Arguments that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

pipeline_file = click.argument("file", type=click.Path(path_type=Path))
run_folder = click.argument("run", type=click.Path(path_type=Path))
assignments = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="PATH=VALUE",
    help="Set a key of the pipeline, such as trainer.epochs=3 or model.cell=gru. May be given several times.",
)
runs = click.option(
    "--runs", default="runs", type=click.Path(path_type=Path), help="Keep run folders here instead of runs/."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
local_plugins = click.option(
    "--allow-local-plugins",
    is_flag=True,
    envvar="DLPIPE_ALLOW_LOCAL_PLUGINS",
    help="Run the Python files that the pipeline names in `plugins`.",
)
stage = click.option("--stage", metavar="NAME", help="Which stage of the run, if it has several; else the last one.")
checkpoint = click.option(
    "--checkpoint",
    default="best",
    show_default=True,
    metavar="best|last|STEP",
    help="Which checkpoint of the run.",
)
