"""Exports of shipped pipelines for dlpipe itself answer as their runs did, after these and the data are gone."""

from __future__ import annotations

import json
import math
import shutil
import struct
import wave

import pytest
from click.testing import CliRunner
from PIL import Image

from dlpipe.cli import make_program
from dlpipe.registry.loading import load_plugins

#: By pipeline: changes to it, and what is given to `dlpipe predict`.
CASES = {
    "cnn_digits": ([], ["item.png", "--top", "3"]),
    "slot_filling": ([], ["leave taipei on november 2nd", "--top", "2"]),
    "spoken_digits": (["data.path={data}/fsdd/fsdd.tar"], ["item.wav", "--top", "10"]),
    "dcgan_digits": ([], ["--count", "5", "--output", "drawn-{number}.png"]),
    "dqn_cartpole": ([], []),
    "sentiment_pretrained": ([], ["not bad at all"]),
}


def dlpipe(*arguments):
    registry = load_plugins()
    done = CliRunner().invoke(make_program(registry), list(map(str, arguments)), obj=registry, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_export_of_a_pipeline_answers_without_run_and_data(name, root, request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes, items = CASES[name]
    if any("{data}" in change for change in changes):
        shutil.copytree(request.getfixturevalue("real_data") / "fsdd", tmp_path / "data" / "fsdd")
    Image.linear_gradient("L").resize((20, 20)).save("item.png")
    with wave.open("item.wav", "wb") as file:
        file.setparams((1, 2, 8000, 4000, "NONE", ""))
        tone = (round(9000 * math.sin(step / 3)) for step in range(4000))
        file.writeframes(b"".join(struct.pack("<h", sample) for sample in tone))
    chosen = [part for change in changes for part in ("--set", change.format(data=tmp_path / "data"))]
    dlpipe("run", root / "pipelines" / f"{name}.toml", "--fast", "--quiet", *chosen)
    folder = next((tmp_path / "runs").glob("*/latest"))

    exported = json.loads(dlpipe("export", folder, "--format", "dlpipe", "--output", "out", "--json"))
    expected = dlpipe("predict", folder, *(item.format(number=1) for item in items), "--json")
    states = [path.stat().st_size for path in folder.rglob("step-*/state.pt")]
    shutil.rmtree("runs")
    shutil.rmtree("data", ignore_errors=True)
    answered = dlpipe("predict", "out", *(item.format(number=2) for item in items), "--json")

    assert answered.replace("drawn-2.png", "drawn-1.png") == expected != ""
    assert not list((tmp_path / "out").rglob("state.pt"))
    assert exported["bytes"] < max(states)  # moments of Adam, which are twice the weights, are not in it
