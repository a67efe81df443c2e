"""Run folders made by an enemy: every command ends with success or a message, and nothing outside the folder changes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import torch

from dlpipe.cli import make_program
from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import run
from dlpipe.errors import DlpipeError
from dlpipe.registry.loading import load_plugins
from dlpipe.runs.checkpoint import STATE
from dlpipe.runs.manifests import MANIFEST
from dlpipe.runs.stage_cache import STAGE

SETTINGS = """
name = "small"
threads = 1
"""
TAGGER = """
[data]
use = "text.flights"
num_train = 12
num_dev = 4
num_test = 4
[model]
use = "text.feedforward_tagger"
embed_dim = 2
hidden_dim = 3
[trainer]
use = "core.supervised"
batch_size = 4
steps = 4
log_every = 2
evaluate_every = 2
checkpoint_every = 2
keep = 9
[evaluators.slots]
use = "text.slot_f1"
"""
GAN = """
[data]
use = "generative.gaussian_ring"
count = 60
[model]
use = "generative.gan"
hidden = [4]
latent_dim = 2
[trainer]
use = "generative.gan_trainer"
batch_size = 20
steps = 4
checkpoint_every = 2
[evaluators.judge]
use = "generative.modes"
count = 20
"""


def as_stage(name: str, tables: str) -> str:
    return tables.replace("\n[", f"\n[stages.{name}.")


PIPELINES = {"one stage": TAGGER, "two stages": as_stage("points", GAN) + as_stage("tags", TAGGER)}
#: What no file of dlpipe holds at most places: numbers of another size or type, text that a terminal obeys, depth.
STRANGE: list[Any] = [None, True, -1, 0, 1.5, 10**12, 10**30, "", "\x1b[2J", "../../x", [], {}, [[[]]], {"a": {"b": 1}}]
MEMORY, SECONDS = 2**32, 30


@pytest.fixture(scope="module", params=PIPELINES)
def original(request, tmp_path_factory) -> Path:
    """The folder of a run with steps left to train, and everything that a run leaves."""
    place = tmp_path_factory.mktemp("original")
    (place / "small.toml").write_text(SETTINGS + PIPELINES[request.param])
    registry = load_plugins()
    folder = run(load_pipeline(place / "small.toml", registry), registry, place / "runs").path
    (folder / "stages" / "tags" / STAGE).unlink(missing_ok=True)  # this stage is not finished
    shutil.rmtree(checkpoints_of(folder)[-1])
    (folder / "status.json").write_text('{"state": "interrupted"}')
    return folder


def retyped(value: Any, draw: random.Random) -> Any:
    """Return a JSON-like value in which one part is something else."""
    if isinstance(value, (dict, list)) and value and draw.random() < 0.85:
        place = draw.choice([*value]) if isinstance(value, dict) else draw.randrange(len(value))
        changed = type(value)(value)
        changed[place] = retyped(value[place], draw)
        return changed
    return draw.choice(STRANGE)


def sign(checkpoint: Path) -> None:
    """Make the manifest agree with the files."""
    manifest = json.loads((checkpoint / MANIFEST).read_text())
    for name in manifest["files"]:
        content = (checkpoint / name).read_bytes()
        manifest["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (checkpoint / MANIFEST).write_text(json.dumps(manifest))


def retype_state(folder: Path, outside: Path, draw: random.Random) -> None:
    checkpoint = draw.choice(checkpoints_of(folder))
    torch.save(retyped(torch.load(checkpoint / STATE, weights_only=True), draw), checkpoint / STATE)
    sign(checkpoint)


def retype_json(folder: Path, outside: Path, draw: random.Random) -> None:
    path = draw.choice(sorted(folder.rglob("*.json")))
    path.write_text(json.dumps(retyped(json.loads(path.read_text()), draw)))


def swap(folder: Path, outside: Path, draw: random.Random) -> None:
    one, other = draw.sample(files_of(folder), 2)
    one.write_bytes(other.read_bytes())


def damage(folder: Path, outside: Path, draw: random.Random) -> None:
    path = draw.choice([path for path in files_of(folder) if path.suffix != ".toml"])  # those are in test_fuzz.py
    content = bytearray(path.read_bytes())
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(content) + 1)
        content[at : at + draw.choice([0, 1, 20])] = draw.choice([b"", b"\x1b[2J", b"[" * 5000, draw.randbytes(3)])
    path.write_bytes(content)
    if path.parent.name.startswith("step-") and path.name != MANIFEST:
        sign(path.parent)


def replace_file(folder: Path, outside: Path, draw: random.Random) -> None:
    figures = next(folder.rglob("figures/slots"))
    missing = [folder / ".status.json", folder / ".lock", folder / "samples", figures / "new.csv"]
    path = draw.choice([*files_of(folder), *missing])
    path.unlink(missing_ok=True)
    kind = draw.choice(["link", "link", "dangling", "pipe", "folder", "nothing"])
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind != "nothing":
        path.symlink_to(outside / ("secret.txt" if kind == "link" else "nowhere"))


def replace_folder(folder: Path, outside: Path, draw: random.Random) -> None:
    path = draw.choice([path for path in sorted(folder.rglob("*")) if path.is_dir() and not path.is_symlink()])
    shutil.move(path, outside / "theirs")
    if draw.random() < 0.8:
        path.symlink_to(outside / "theirs")


def add_checkpoint(folder: Path, outside: Path, draw: random.Random) -> None:
    name = draw.choice(["step-²", "step--1", "step-00000009", "step-99999999999999999999", "step-", "step-\x1b[2J"])
    original = draw.choice(checkpoints_of(folder))
    target = original.with_name(name)
    shutil.copytree(original, target, dirs_exist_ok=True)
    if draw.random() < 0.5:
        (target / STATE).unlink()


ATTACKS: list[Callable[[Path, Path, random.Random], None]] = [
    retype_state,
    retype_json,
    swap,
    damage,
    replace_file,
    replace_folder,
    add_checkpoint,
]


def checkpoints_of(folder: Path) -> list[Path]:
    return sorted(folder.rglob("checkpoints/step-*"))


def files_of(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]


def content_of(folder: Path) -> dict[str, bytes | str]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else "folder" for path in folder.rglob("*")
    }


@contextlib.contextmanager
def limits() -> Iterator[io.StringIO]:
    """Yield what is printed; a command that hangs or takes gigabytes of memory fails."""

    def stop(number: int, frame: object) -> None:
        pytest.fail(f"the command did not end within {SECONDS} seconds")

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    told = io.StringIO()
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))
    try:
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            yield told
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def commands(folder: Path, original: Path) -> list[list[str]]:
    return [
        ["show", str(folder)],
        ["predict", str(folder), "leave taipei"],
        ["evaluate", str(folder), "--checkpoint", "last"],
        ["coach", str(folder), "--steps", "1", "--examples", "4"],
        ["report", str(folder), "--markdown"],
        ["compare", str(original), str(folder)],
        ["runs", "--runs", str(folder.parent.parent)],
        ["resume", str(folder)],
    ]


def check(original: Path, place: Path, attack: Callable[..., None], seed: int) -> int:
    """Attack a copy of a run, use it, and return how many commands ended with a message."""
    folder, outside = place / "run", place / "outside"
    shutil.rmtree(place, ignore_errors=True)
    outside.mkdir(parents=True)
    (outside / "secret.txt").write_text("secret")
    shutil.copytree(original, folder, symlinks=True)
    attack(folder, outside, random.Random(seed))
    before = content_of(outside)
    refused = 0
    program = make_program(registry := load_plugins())
    for command in commands(folder, original):
        with limits() as told:
            try:
                program.main(command, prog_name="dlpipe", standalone_mode=False, obj=registry)
            except (DlpipeError, click.ClickException) as error:
                refused += 1
                assert str(error)
        assert "\x1b" not in told.getvalue(), command
        assert content_of(outside) == before, command
    return refused


def test_an_undamaged_run_is_accepted_by_all_commands(original, tmp_path):
    assert check(original, tmp_path / "case", lambda *_: None, 0) == 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
@pytest.mark.parametrize("count", [4, pytest.param(24, marks=pytest.mark.slow)])
def test_a_run_folder_of_an_enemy_ends_commands_with_a_message_at_worst(original, tmp_path, attack, count):
    for seed in range(count):
        try:
            check(original, tmp_path / "case", attack, seed)
        except Exception as error:
            raise AssertionError(f"{attack.__name__}, seed {seed}") from error
