"""Fixtures for the tests of the core: a few made-up components, and pipeline files in one line."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from datetime import datetime
from importlib import metadata
from pathlib import Path

import pytest

from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import run
from dlpipe.engine.inference import open_run
from dlpipe.errors import PipelineError
from dlpipe.registry.loading import Plugin, Registry, load_plugins
from dlpipe.registry.specs import (
    CallbackSpec,
    ComponentSpec,
    DataSpec,
    EvaluatorSpec,
    ModelSpec,
    RegisteredComponent,
    TrainerSpec,
)
from dlpipe.runs.folder import LOCK, METRICS, PROVENANCE, RESOLVED, STATUS, RunFolder

# These components are parsed and never imported: `nowhere` does not exist.
PARTS = '''
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import nowhere
from pydantic import Field
from torch import nn

from dlpipe.fields import Fraction, NotWith, OnlyWith, OptimizerTable, Positive, ScheduleTable


def images(*, path: Path | None = None, files: list[Path] = [], pair: tuple[Path, Path] | None = None,
           size: Positive = 8, offline: bool = False, extra: Any = None, table: Mapping[str, Any] = {}):
    """Images."""


def words(*, must: str):
    """Words."""


class Net(nn.Module):
    """A net."""

    def __init__(self, num_classes: int, *, dropout: Fraction = 0.5, bias: bool = True, rate: float = 0.1,
                 sizes: tuple[int, ...] = (3,), kind: Literal["a", "b", 3] = "a", label: str | None = None) -> None: ...


class Layer(TypedDict, total=False):
    """A table within a table."""

    size: Positive
    kind: Literal["a", "b"]


class Tier(TypedDict):
    """A table whose keys must all be given."""

    height: Positive


class Stack(nn.Module):
    """A net of layers."""

    def __init__(self, *, layers: Sequence[Layer] = ({"size": 2},), first: Layer | None = None,
                 tiers: list[Tier] = []) -> None: ...


class Tuned(nn.Module):
    """A net on top of another."""

    def __init__(self, *, encoder: nn.Module, second: nn.Module | None = None,
                 others: Sequence[nn.Module] = ()) -> None: ...


class Fit:
    """A trainer."""

    def __init__(self, model, data, compute, seed: int, *, batch_size: Positive = 4,
                 optimizer: OptimizerTable = {"use": "sgd"}, schedule: ScheduleTable | None = None) -> None: ...


class Play:
    """A trainer that builds its own model."""

    def __init__(self, data, compute, seed: int, *, gamma: Fraction = 0.9) -> None: ...


class Related(nn.Module):
    """A net whose parameters depend on each other."""

    def __init__(self, num_classes: int, *, kind: Literal["a", "b", "c"] = "a", sizes: Sequence[Positive] = (),
                 pieces: Annotated[Positive, OnlyWith(kind="b")] = 2,
                 alpha: Annotated[Fraction, OnlyWith("sizes", kind=("a", "b"))] = 0.0,
                 share: Annotated[Fraction | None, NotWith("sizes")] = None,
                 label: Annotated[str, OnlyWith(num_classes=3)] = "") -> None: ...


WIDTH = 32


class Sized(nn.Module):
    """A net with computed defaults."""

    def __init__(self, *, width: Positive = 2 * WIDTH, rates: tuple[float, ...] = (1 / 2, 1 / 4)) -> None: ...


class Accuracy:
    """An evaluator."""

    def __init__(self, num_classes: int, top: Positive = 1) -> None: ...


class Watch:
    """A callback."""

    def __init__(self, num_classes: int, every: Positive = 1) -> None: ...


class Note:
    """A callback that writes to a file."""

    def __init__(self, num_classes: int = 0, file: Path = Path("notes.txt")) -> None: ...
'''


def offer(record: ComponentSpec, namespace: str = "fake") -> RegisteredComponent:
    return RegisteredComponent(record, namespace, f"dlpipe-{namespace} 1.0")


@pytest.fixture(scope="session")
def parts(tmp_path_factory):
    """Make the module `fake_parts` readable, without importing it."""
    folder = tmp_path_factory.mktemp("parts")
    (folder / "fake_parts.py").write_text(PARTS)
    sys.path.insert(0, str(folder))
    yield "fake_parts"
    sys.path.remove(str(folder))


@pytest.fixture
def fakes(parts) -> Registry:
    """The installed plugins' registry, and the components of `PARTS` as those of a plugin `fake`."""
    registry = load_plugins({"DLPIPE_PLUGINS": "core,text"})
    registry.plugins.append(Plugin("fake", parts, "dlpipe-fake 1.0"))
    for record in (
        DataSpec("images", f"{parts}:images", "images", facts=("num_classes", "image_shape")),
        DataSpec("words", f"{parts}:words", "words", renamed={"needed": "must"}),
        ModelSpec("net", f"{parts}:Net", "a net", formerly=("network", "elsewhere.net")),
        ModelSpec("stack", f"{parts}:Stack", "a net of layers", renamed={"layers.width": "layers.size"}),
        ModelSpec("related", f"{parts}:Related", "a net whose parameters depend on each other"),
        ModelSpec("sized", f"{parts}:Sized", "a net with computed defaults"),
        ModelSpec("tuned", f"{parts}:Tuned", "a net on another"),
        ModelSpec("far", f"{parts}:Net", "needs more", requires=("no-such-dist",), extra="dlpipe-fake[far]"),
        ModelSpec("gone", "nowhere_at_all:Net", "its module is missing"),
        TrainerSpec("fit", f"{parts}:Fit", "fits", renamed={"batch": "batch_size", "updates": "steps"}),
        TrainerSpec("play", f"{parts}:Play", "plays"),
        EvaluatorSpec("accuracy", f"{parts}:Accuracy", "counts"),
        CallbackSpec("watch", f"{parts}:Watch", "watches"),
        CallbackSpec("note", f"{parts}:Note", "takes notes"),
    ):
        known = offer(record)
        registry.components[record.kind][known.name] = known
    return registry


@pytest.fixture
def write(tmp_path):
    """Write a file of the test's own folder and return its path."""

    def write(text: str | bytes, name: str = "pipeline.toml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def load(write, fakes):
    """Check a pipeline text against the made-up components."""

    def load(text: str | Path, assignments=(), **options):
        file = text if isinstance(text, Path) else write(text)
        return load_pipeline(file, fakes, assignments, **options)

    return load


@pytest.fixture
def mistakes(load):
    """Return what is wrong with a pipeline text, as (line, message)."""

    def mistakes(text: str | Path, assignments=(), **options) -> list[tuple[int, str]]:
        with pytest.raises(PipelineError, match=r"\S: ") as caught:  # each message starts with its place
            load(text, assignments, **options)
        return [(problem.line, problem.message) for problem in caught.value.problems]

    return mistakes


class Distribution(metadata.Distribution):
    """An installed distribution with a name, a version, and perhaps the record of its source."""

    def __init__(self, name: str, version: str, direct_url: str | None = None) -> None:
        self._files = {
            "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            "direct_url.json": direct_url,
        }

    def read_text(self, filename: str) -> str | None:
        return self._files.get(filename)

    def locate_file(self, path):
        raise NotImplementedError


@pytest.fixture
def entry_point(tmp_path, monkeypatch):
    """Write a plugin module and return an entry point that refers to it."""
    monkeypatch.syspath_prepend(tmp_path)

    def entry_point(namespace: str, code: str, *, distribution: str = "") -> metadata.EntryPoint:
        module = f"plugin_{namespace}_{len(list(tmp_path.glob('plugin_*')))}"
        (tmp_path / f"{module}.py").write_text(f"from dlpipe import *\nfrom dlpipe import hookimpl\n{code}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)
        point = metadata.EntryPoint(namespace, module, "dlpipe.plugins")
        vars(point).update(dist=Distribution(distribution or f"dlpipe-{namespace}", "1.0"))
        return point

    return entry_point


@pytest.fixture
def project_of(tmp_path, monkeypatch):
    """Make a folder with a pipeline file and the local plugin that it uses, and work there."""

    def project_of(plugin: str, pipeline: str) -> Path:
        (tmp_path / "toy.py").write_text(plugin)
        (tmp_path / "points.toml").write_text(pipeline)
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return project_of


TOY_PLUGIN = """
from pathlib import Path
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from dlpipe import DataSpec, InputError, ModelSpec, hookimpl
from dlpipe.data import Columns, Ragged

class Words:
    facts, splits, paddings, text_items = {}, ("train", "dev"), {"tokens": 0}, True
    def split(self, name):
        lengths = torch.arange(40) * 3 % 7 + 1
        tokens = torch.randint(1, 9, (int(lengths.sum()),), generator=torch.Generator().manual_seed(3))
        return Columns({"tokens": Ragged(tokens, lengths), "points": torch.rand(40, 3), "targets": lengths % 2})
    def encode(self, item):
        if not item.strip("123456789 "):
            tokens = torch.tensor([int(part) for part in item.split()])
            return {"tokens": tokens, "points": torch.zeros(3)}
        raise InputError(f"{item!r}: expected numbers from 1 to 9")
    def present(self, item, prediction): return {"item": item, "label": prediction.tolist()}
    def state(self): return {"words": ["(padding)", "one"]}
    def restore(self, state): pass
    def fingerprint(self): return ""

class Files(Words):
    text_items = False
    def encode(self, item): return self.encode_content(item, Path(item).read_bytes())
    def encode_content(self, item, content): return super().encode(content.decode())

class Silent(Words):
    text_items = False

class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.net = nn.LSTM(4, 3, num_layers=2, bidirectional=True, batch_first=True)
        self.end = nn.GRU(6, 5, bidirectional=True, batch_first=True)
    def forward(self, tokens, lengths, points):
        packed = pack_padded_sequence(self.embed(tokens), lengths, batch_first=True, enforce_sorted=False)
        states = self.net(packed)[0]
        last = torch.cat(list(self.end(states)[1]), 1)
        return {"states": pad_packed_sequence(states, batch_first=True)[0], "last": last}
    def predict(self, outputs):
        return outputs["states"].argmax(2)

class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.score = nn.Linear(3, 2)
    def forward(self, points, targets=None):
        return self.score(points)

class Branch(Line):
    def forward(self, points):
        return self.score(points if points.sum() > 0 else -points)

class Rows(Line):
    def forward(self, points):
        return torch.stack([self.score(row) for row in points])

@hookimpl
def dlpipe_data(): return [DataSpec(name.lower(), f":{name}", name) for name in ("Words", "Files", "Silent")]
@hookimpl
def dlpipe_models():
    return [ModelSpec(name.lower(), f":{name}", name) for name in ("Tagger", "Line", "Branch", "Rows")]
"""
TOY_PIPELINE = """
name = "toy"
plugins = ["./toy.py"]
device = "cpu"
[data]
use = "toy.words"
[model]
use = "toy.line"
[trainer]
use = "core.no_training"
"""


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory):
    """Return a function that opens an untrained run of one of the models of `TOY_PLUGIN` on some data of it."""
    folder, runs = tmp_path_factory.mktemp("toy"), {}
    (folder / "toy.py").write_text(TOY_PLUGIN)
    (folder / "toy.toml").write_text(TOY_PIPELINE)

    def toy_run(model: str, data: str = "words"):
        if (model, data) not in runs:
            pipeline = load_pipeline(
                folder / "toy.toml",
                load_plugins(),
                [f'model.use="toy.{model}"', f'data.use="toy.{data}"'],
                allow_local_plugins=True,
            )
            runs[model, data] = run(pipeline, load_plugins(), folder / "runs").path
        return open_run(runs[model, data], allow_local_plugins=True)

    return toy_run


JUDGED = {
    "metric": "digits/accuracy",
    "goal": "max",
    "monitor": "dev/digits/loss",
    "monitor_goal": "min",
    "total_steps": 40,
}
#: What `RunFolder.lock` does, in a process that imports little.
HOLD = """
import fcntl, os, platform, sys
with open(sys.argv[1] + "/.lock", "a+") as file:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}")
    file.flush()
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def make_run(tmp_path):
    """Make the folder of a run below ``runs``."""

    def make_run(
        folder: str,
        state: str = "finished",
        *,
        fast: bool = False,
        resolved: str = 'name = "digits"\n',
        metrics=(),
        stages=None,
        host: str = platform.node(),
        locked_by: str | None = "process 1 on {host}",
        checkpoint: int | None = None,
        age: float = 0.0,
        began: str = "",
        **status,
    ) -> Path:
        path = tmp_path / "runs" / folder
        path.mkdir(parents=True)
        (path / RESOLVED).write_text(resolved)
        then = time.time() - age
        (path / STATUS).write_text(json.dumps({"state": state, "time": then, "pid": 1, **status}))
        record = {"fast": fast, "machine": {"host": host}, "stages": {"": JUDGED} if stages is None else stages}
        now = datetime.now().astimezone().isoformat()
        (path / PROVENANCE).write_text(json.dumps(record | {"time": began or now}))
        name = next(reversed(record["stages"]), "")
        metrics_file = RunFolder(path).stage(name) / METRICS
        metrics_file.parent.mkdir(parents=True, exist_ok=True)
        metrics_file.write_text("".join(json.dumps(record) + "\n" for record in metrics))
        if locked_by is not None:
            (path / LOCK).write_text(locked_by.format(host=host))
        if checkpoint is not None:
            place = RunFolder(path).stage(name) / "checkpoints" / "step-00000010"
            place.mkdir(parents=True)
            (place / "weights.safetensors").write_bytes(b"x" * checkpoint)
        for file in (path / STATUS, metrics_file):
            os.utime(file, (then, then))
        return path

    return make_run


@pytest.fixture
def hold():
    """Lock a run in another process, until the test ends."""
    started = []

    def hold(path: Path) -> int:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process.pid

    yield hold
    for process in started:
        process.communicate()
