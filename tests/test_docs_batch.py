"""docs/batch.md: its scripts are what dlpipe writes, its shell parses, and its YAML says what the text says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from dlpipe.cli import make_program
from dlpipe.commands.slurm import Job, dlpipe_command
from dlpipe.registry.loading import load_plugins

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "batch.md").read_text()
RESTARTED = {75, 138, 140, 143}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


def test_the_script_is_the_one_that_dlpipe_submits():
    command = [*dlpipe_command("run", Path("slot_filling.toml"), [], Path("runs"), False), "--resume", "auto"]

    script = Job(gpus=1, time="2:00:00").script(
        "slot-filling", Path("/home/me/runs/slot-filling/slurm"), command, each_gpu=True
    )

    assert blocks("bash") == [script.replace(sys.executable, "python")]


@pytest.mark.parametrize("text", blocks("sh") + blocks("bash"))
def test_the_shell_parses(text):
    subprocess.run(["bash", "-n", "-c", text], check=True)


def commands():
    """Return the arguments of each command of dlpipe on the page."""
    shell = "\n".join(blocks("sh")).replace("\\\n", " ")
    shell = re.findall(r"(?:^|until |-m )dlpipe ([^;\n]*)", shell + "\n" + "\n".join(blocks("yaml")), re.M)
    listed = [match.replace(",", "") for match in re.findall(r"\[dlpipe, (.*?)\]", PAGE)]
    return [shlex.split(line) for line in shell + listed]


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_the_commands_take_these_options(arguments):
    program = make_program(load_plugins())
    command = program.get_command(click.Context(program), arguments[0])
    assert command is not None

    command.make_context(arguments[0], arguments[1:])


def test_the_yaml_restarts_what_was_stopped():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    kubernetes, sky = (yaml.safe_load(text) for text in blocks("yaml"))

    ignored, disrupted, failed = kubernetes["spec"]["podFailurePolicy"]["rules"]
    assert (
        set(ignored["onExitCodes"]["values"])
        == RESTARTED
        == set(sky["resources"]["job_recovery"]["recover_on_exit_codes"])
    )
    assert disrupted["onPodConditions"] == [{"type": "DisruptionTarget"}]
    assert failed["onExitCodes"]["values"] == [1, 2, 3]
    pod = kubernetes["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["name"] == ignored["onExitCodes"]["containerName"] == failed["onExitCodes"]["containerName"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert container["command"] == ["dlpipe", "run", "slot_filling", "--resume", "auto"]
